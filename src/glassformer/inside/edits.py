"""Edits as data: a closed set of kinds, numbers that are tensors, a file of JSON and safetensors.

    zero set scale add mean patch project clamp swap noise      on any value
    cut freeze temper                                           on patterns
    skip                                                        of a block, an attention or a feed-forward
    route                                                       of a mixture of experts

The same edits work in a forward call, in generation, in training; they never hold code.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glassformer.core.config import read_json
from glassformer.core.errors import CheckpointError, EditError, near
from glassformer.inside import selection, taps
from glassformer.inside.selection import Index, Selection
from glassformer.parts.rows import Frame

#: The tap of each kind and the numbers it takes; a None must be said.
KINDS: dict[str, tuple[type[taps.Edit], dict[str, float | None]]] = {
    "zero": (taps.Zero, {}),
    "set": (taps.Set, {"value": None}),
    "scale": (taps.Scale, {"factor": None}),
    "add": (taps.Add, {"value": None}),
    "mean": (taps.Mean, {}),
    "patch": (taps.Set, {"value": None}),
    "project": (taps.Project, {"direction": None, "keep": 0.0}),
    "clamp": (taps.Clamp, {"low": float("-inf"), "high": float("inf")}),
    "swap": (taps.Swap, {"first": None, "second": None}),
    "noise": (taps.Noise, {"std": None, "seed": 0}),
    "cut": (taps.Cut, {}),
    "freeze": (taps.Set, {"value": None}),
    "temper": (taps.Temper, {"temperature": None}),
    "skip": (taps.Skip, {}),
    "route": (taps.Route, {"force": None}),
}
ON_PATTERNS = frozenset({"cut", "freeze", "temper"})
#: What experts are chosen by; ``route`` changes nothing else.
PREFERENCE = ".preference"


@dataclass(frozen=True, eq=False)
class EditSpec:
    """One edit: what kind, where (an address or a glob), on which entries, with which numbers."""

    kind: str
    address: str
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    selection: Mapping[str, Index] = field(default_factory=dict)
    axis: str = ""

    @classmethod
    def of(
        cls, kind: str, address: str, numbers: Mapping[str, Any], said: Mapping[str, Index], axis: str = ""
    ) -> EditSpec:
        """A checked edit.

        Raises:
            EditError: no such kind, a missing or unknown number, a pattern edit elsewhere.
        """
        if kind not in KINDS:
            raise EditError("no such edit", got=repr(kind), expected=f"one of {near(kind, KINDS)}")
        takes = KINDS[kind][1]
        unknown = sorted(set(numbers) - set(takes))
        missing = sorted(name for name, value in takes.items() if value is None and name not in numbers)
        if unknown or missing:
            got, expected = ", ".join(numbers) or "none", ", ".join(takes) or "none"
            raise EditError(f"{kind}: its numbers", got=got, expected=expected)
        if kind in ON_PATTERNS and not address.endswith("pattern"):
            raise EditError(f"{kind} is for patterns", got=address, expected="an address that ends in .pattern")
        if kind == "route" and not address.endswith(PREFERENCE):
            raise EditError("route is for experts", got=address, expected=f"an address that ends in {PREFERENCE}")
        if (kind == "swap") != bool(axis):
            raise EditError("swap says along which axis" if not axis else f"{kind} has no axis", got=repr(axis))
        filled = {name: _tensor(numbers.get(name, value)) for name, value in takes.items()}
        return cls(kind, address, filled, dict(said), axis)

    def build(self, chosen: Selection) -> taps.Edit:
        """The tap of this edit on one value (``skip`` is built by the trace, for it needs two values)."""
        kind = KINDS[self.kind][0]
        if issubclass(kind, taps.Swap):
            return kind(chosen, dict(self.numbers), self.axis)
        return kind(chosen, dict(self.numbers))


def save(edits: Iterable[EditSpec], path: str | Path) -> None:
    """Write edits as ``path`` (JSON) and, for numbers that are more than one number, a .safetensors file beside it."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    entries = []
    for place, edit in enumerate(edits):
        numbers: dict[str, Any] = {}
        for name, number in edit.numbers.items():
            if number.ndim:
                tensors[f"{place}.{name}"] = number.detach().contiguous()
                numbers[name] = {"tensor": f"{place}.{name}"}
            else:
                numbers[name] = str(number.item()) if not torch.isfinite(number) else number.item()
        said = Selection(edit.selection, Frame()).to_json()
        entry = {"kind": edit.kind, "address": edit.address, "numbers": numbers, "selection": said, "axis": edit.axis}
        entries.append({name: value for name, value in entry.items() if value})
    file = Path(path)
    file.write_text(json.dumps({"edits": entries}, indent=1) + "\n", encoding="utf-8")
    if tensors:
        save_file(tensors, file.with_suffix(".safetensors"))


def load(path: str | Path) -> list[EditSpec]:
    """Read what ``save`` wrote.

    Raises:
        EditError: an entry that is no edit, or a tensor that is not in the file beside it; with the path.
    """
    file = Path(path)
    data = read_json(file)
    if not isinstance(data, dict) or set(data) != {"edits"} or not isinstance(data["edits"], list):
        raise EditError("no edits in this file", at=file, expected='{"edits": [...]}')
    tensors = _tensors(file.with_suffix(".safetensors"))
    return [_heard(entry, tensors, f"{file}: edits[{place}]") for place, entry in enumerate(data["edits"])]


def _heard(entry: Any, tensors: Mapping[str, Tensor], at: str) -> EditSpec:
    fields = {"kind", "address", "numbers", "selection", "axis"}
    if not isinstance(entry, dict) or not {"kind", "address"} <= set(entry) <= fields:
        raise EditError("an edit", at=at, expected="kind, address and optionally numbers, selection, axis")
    given = entry.get("numbers", {})
    if not isinstance(given, dict):
        raise EditError("the numbers of an edit", at=at, got=reprlib.repr(given), expected="an object")
    try:
        numbers = {name: _number(number, tensors) for name, number in given.items()}
        said = selection.from_json(entry.get("selection", {}))
        return EditSpec.of(str(entry["kind"]), str(entry["address"]), numbers, said, str(entry.get("axis", "")))
    except EditError as error:
        where = at if error.at is None else f"{at}: {error.at}"
        raise EditError(error.what, at=where, got=error.got, expected=error.expected, do=error.do) from error


def _tensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.exists():
        return {}
    try:
        tensors: dict[str, Tensor] = load_file(file)
        return tensors
    except SafetensorError as error:
        raise CheckpointError("not a safetensors file", at=file, got=error) from error


def _number(number: Any, tensors: Mapping[str, Tensor]) -> Tensor | float:
    """A number of a file: one that JSON has, an infinite one as a word, or the name of a tensor."""
    if isinstance(number, dict) and set(number) == {"tensor"}:
        if number["tensor"] not in tensors:
            raise EditError(f"no tensor {number['tensor']!r} beside the edits")
        return tensors[number["tensor"]]
    if number in ("inf", "-inf", "nan") or type(number) in (int, float):
        return float(number) if isinstance(number, str) else number
    raise EditError("a number of an edit", got=reprlib.repr(number), expected='a number or {"tensor": name}')


def _tensor(number: Any) -> Tensor:
    try:
        return number if isinstance(number, Tensor) else torch.as_tensor(number)
    except (TypeError, ValueError, RuntimeError) as error:  # torch's ways to say that these are no numbers
        raise EditError("a number of an edit", got=reprlib.repr(number), expected="a number or a tensor") from error
