"""Descriptions: trees of small frozen dataclasses that say the choices of a model, and nothing else.

A part ``X`` stands in one file with its ``XConfig``; ``config.build(...)`` makes the part. A description goes to JSON
and back: every object carries its ``kind``, and kinds are looked up in the table of classes that the package (or an
installed extension) defines, never imported from a file's strings.
"""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, dataclass_transform

from glassformer.core.discovery import load_all
from glassformer.core.errors import ConfigError, near

#: More than any description has, in depth and in a list of repeated items; bounds for files that come from outside.
MAX_DEPTH, MAX_ITEMS = 32, 10_000


@dataclass_transform(kw_only_default=True, frozen_default=True)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every description: a frozen, keyword-only dataclass that checks the types of its fields.

    Subclasses only list fields; validation that needs more than a type goes into ``check``. ``base=True`` marks a class
    that only groups others and is no kind of its own.

    Raises:
        ConfigError: a field has the wrong type or ``check`` refuses it; the path of the field is in the message.
    """

    kinds: ClassVar[dict[str, type[Config]]] = {}

    def __init_subclass__(cls, *, base: bool = False, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        if not base:
            Config.kinds[cls.__name__] = cls

    def __post_init__(self) -> None:
        for name, kind in _fields(type(self)).items():
            object.__setattr__(self, name, value := _adapted(getattr(self, name), kind))
            if not _fits(value, kind):
                got = reprlib.repr(value)
                raise ConfigError("wrong type", at=f"{type(self).__name__}.{name}", got=got, expected=_say(kind))
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float) and not math.isfinite(number):
                    at = f"{type(self).__name__}.{name}"
                    raise ConfigError("not a number that can be used", at=at, got=number, expected="a finite one")
        self.check()

    def check(self) -> None:
        """Refuse what cannot be built; subclasses override this."""

    def require(self, ok: bool, field: str, expected: str) -> None:
        """Raise a ``ConfigError`` about ``field`` unless ``ok``."""
        if not ok:
            value = getattr(self, field)
            got = type(value).__name__ if isinstance(value, Config) else reprlib.repr(value)
            raise ConfigError("cannot be built", at=f"{type(self).__name__}.{field}", got=got, expected=expected)

    def replace(self, **changes: Any) -> Self:
        """The same description with some fields changed; an unknown field is an error."""
        _refuse_unknown(type(self), changes, type(self).__name__)
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; fields at their defaults are left out, runs of equal items become repeat/of."""
        out: dict[str, Any] = {"kind": type(self).__name__}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING or value != field.default:
                out[field.name] = _pack(value)
        return out

    @classmethod
    def from_json(cls, data: Any, path: str = "config") -> Self:
        """The description that ``to_json`` wrote.

        Raises:
            ConfigError: unknown kind or field, wrong type, or a kind that is not a ``cls``; with the dotted path.
        """
        value = _unpack(data, path, 0)
        if not isinstance(value, cls):
            raise ConfigError("wrong kind", at=path, got=type(value).__name__, expected=cls.__name__)
        return value

    def save(self, path: str | Path) -> None:
        """Write the description as JSON text."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a description from a JSON file."""
        return cls.from_json(read_json(path), path=str(path))


def read_json(path: str | Path, *, max_bytes: int = 64 << 20) -> Any:
    """JSON of a file that may come from anywhere: bounded in size and depth, no duplicate keys, no NaN.

    Raises:
        ConfigError: with the path and, where there is one, the line.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise ConfigError("no such file" if not file.exists() else "not a plain file", at=file)
        if file.stat().st_size > max_bytes:
            raise ConfigError(
                "too large for JSON of this kind",
                at=file,
                got=f"{file.stat().st_size} bytes",
                expected=f"at most {max_bytes}",
            )
        return json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error.msg}", at=f"{file}, line {error.lineno}") from error
    except UnicodeDecodeError as error:
        raise ConfigError("not JSON: not UTF-8 text", at=file) from error
    except RecursionError as error:
        raise ConfigError("JSON nested too deeply", at=file) from error
    except ConfigError as error:
        raise error if error.at is not None else ConfigError(error.what, at=file) from error
    except ValueError as error:  # Python's bound on the digits of a whole number
        raise ConfigError("not JSON: a number of too many digits", at=file) from error


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        twice = sorted(key for key in table if sum(key == other for other, _ in pairs) > 1)
        raise ConfigError(f"a key stands twice: {', '.join(twice)}")
    return table


def _refuse_constant(text: str) -> float:
    raise ConfigError(f"not a number in JSON: {text}")


def _fields(cls: type[Config]) -> dict[str, Any]:
    """Name → type of every field."""
    key: Any = cls  # a checker takes the hash of instances for that of the class
    return _hints(key)


@cache
def _hints(cls: type[Config]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _adapted(value: Any, kind: Any) -> Any:
    """Lists as tuples, and whole numbers as floats where only those fit."""
    value = tuple(value) if isinstance(value, list) else value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if _fits(value, kind):
        return value
    if origin in (typing.Union, types.UnionType):
        forms = ((_adapted(value, argument), argument) for argument in arguments)
        return next((form for form, argument in forms if _fits(form, argument)), value)
    if origin is tuple and isinstance(value, tuple) and arguments[1:] == (...,):
        return tuple(_adapted(item, arguments[0]) for item in value)
    return float(value) if kind is float and type(value) is int and abs(value) < 1 << 1000 else value


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments and any(type(value) is type(argument) for argument in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is ...:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if kind is int or kind is float:
        return isinstance(value, kind) and not isinstance(value, bool)
    return isinstance(value, kind)


def _say(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(kind)))
    return (
        kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind).replace("glassformer.", "")
    )


def _refuse_unknown(cls: type[Config], given: Mapping[str, Any], path: str) -> None:
    for name in given:
        if name not in _fields(cls):
            allowed = ", ".join(_fields(cls))
            raise ConfigError(f"no field {name!r} in {cls.__name__}", at=f"{path}.{name}", expected=f"one of {allowed}")


def _pack(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_json()
    if isinstance(value, tuple):
        return _pack_run(value)
    return value


def _pack_run(items: tuple[Any, ...]) -> list[Any]:
    """A tuple as a list in which the shortest repeating pattern is written once: ``{"repeat": 6, "of": [...]}``."""
    if items and isinstance(items[0], Config):
        for width in range(1, len(items) // 2 + 1):
            if len(items) % width == 0 and items == items[:width] * (len(items) // width):
                return [{"repeat": len(items) // width, "of": [_pack(item) for item in items[:width]]}]
    return [_pack(item) for item in items]


def _unpack(data: Any, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ConfigError("nested too deeply", at=path, expected=f"at most {MAX_DEPTH} levels")
    if isinstance(data, list):
        return tuple(_unpack_list(data, path, depth))
    if not isinstance(data, dict):
        return data
    if "kind" not in data:
        raise ConfigError("no kind", at=path, expected='an object with "kind"')
    cls = kind_named(data["kind"], path)
    given = {name: value for name, value in data.items() if name != "kind"}
    _refuse_unknown(cls, given, path)
    fields = {name: _unpack(value, f"{path}.{name}", depth + 1) for name, value in given.items()}
    missing = [
        field.name
        for field in dataclasses.fields(cls)
        if field.name not in fields and field.default is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{cls.__name__} lacks {', '.join(missing)}", at=path)
    try:
        return cls(**fields)
    except ConfigError as error:
        where = f"{path}.{str(error.at).partition('.')[2]}"
        raise ConfigError(error.what, at=where, got=error.got, expected=error.expected, do=error.do) from error


def _unpack_list(data: list[Any], path: str, depth: int) -> list[Any]:
    if depth > MAX_DEPTH:
        raise ConfigError("nested too deeply", at=path, expected=f"at most {MAX_DEPTH} levels")
    items: list[Any] = []
    for index, item in enumerate(data):
        at = f"{path}[{index}]"
        if isinstance(item, dict) and set(item) == {"repeat", "of"}:
            times = item["repeat"]
            if type(times) is not int or times < 1 or not isinstance(item["of"], list):
                raise ConfigError("repeat", at=at, got=reprlib.repr(times), expected='{"repeat": 1 …, "of": [...]}')
            run = _unpack_list(item["of"], at, depth + 1)
            if len(run) * times > MAX_ITEMS:
                raise ConfigError("repeat", at=at, got=f"{len(run)} x {times} items", expected=f"at most {MAX_ITEMS}")
            items += run * times
        else:
            items.append(_unpack(item, at, depth + 1))
    return items


def kind_named(name: Any, path: str) -> type[Config]:
    """The Config class of that name, from the closed table; parts and models are imported first so that it is whole."""
    for package in ("parts", "models"):
        load_all(package)
    if not isinstance(name, str) or name not in Config.kinds:
        known = near(str(name), Config.kinds)
        raise ConfigError("unknown kind", at=f"{path}.kind", got=repr(name), expected=f"one of {known}")
    return Config.kinds[name]
