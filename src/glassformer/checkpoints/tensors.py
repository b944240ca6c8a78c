"""Tensors of a folder, mapped into memory or read one by one. Nothing is unpickled."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from glassformer.core.config import read_json
from glassformer.core.errors import CheckpointError, ConfigError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin", "model.pt", "pytorch_model.pt")
MAX_HEADER, MAX_TENSORS, MAX_RANK = 16 << 20, 200_000, 16
#: Bytes that are read at once where a tensor is converted; a multiple of every type's size.
PIECE = 16 << 20
#: The types of weights, by their names in safetensors files.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: where its bytes stand and what they mean."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Tensors:
    """The tensors of one or many safetensors files by name; ``entries`` is known without reading them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        self._mapped: dict[Path, Any] = {}
        self._scratch = torch.empty(0, dtype=torch.uint8)
        for path, expected in _shards(folder):
            header = read_header(path)
            if expected is not None and set(header) != expected:
                odd = sorted(set(header) ^ expected)
                raise CheckpointError("the index and the shard disagree", at=path, got=few(odd))
            self.entries |= header

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def mapped(self, name: str) -> Tensor:
        """One tensor whose pages come from the file when they are touched; changing it leaves the file as it is."""
        entry = self.entries[name]
        if entry.start % DTYPES[entry.dtype].itemsize:  # no tensor may begin there
            return self.read(name)
        try:
            if entry.path not in self._mapped:  # one mapping a file, however many tensors
                self._mapped[entry.path] = safe_open(entry.path, framework="pt")
            tensor: Tensor = self._mapped[entry.path].get_tensor(name)
            return tensor
        except SafetensorError as error:
            raise CheckpointError("a broken safetensors file", at=entry.path, got=error) from error

    def read(self, name: str) -> Tensor:
        """A copy of one tensor, in the type it is stored in."""
        return self.lent(name).clone()

    def lent(self, name: str) -> Tensor:
        """One tensor, in the type it is stored in, in memory that the next call uses again; to be converted."""
        entry = self.entries[name]
        raw = next(self._pieces(name, max(1, entry.end - entry.start)), self._scratch[:0])
        return raw.view(DTYPES[entry.dtype]).reshape(entry.shape)

    def copy(self, name: str, target: Tensor) -> None:
        """Fill a contiguous tensor of as many numbers, in its own type, a few megabytes at a time."""
        kind, flat, place = DTYPES[self.entries[name].dtype], target.view(-1), 0
        for raw in self._pieces(name, PIECE):
            piece = raw.view(kind)
            flat[place : place + len(piece)].copy_(piece)
            place += len(piece)

    def _pieces(self, name: str, most: int) -> Iterator[Tensor]:
        """The bytes of one tensor, so many at a time, each time in the same memory."""
        entry = self.entries[name]
        size = entry.end - entry.start
        if self._scratch.numel() < min(size, most):
            self._scratch = torch.empty(min(size, most), dtype=torch.uint8)
        with entry.path.open("rb") as file:
            file.seek(entry.start)
            for place in range(0, size, most):
                raw = self._scratch[: min(most, size - place)]
                held = file.readinto(raw.numpy().data)
                if held != raw.numel():
                    got = f"{place + held} bytes of {name}"
                    raise CheckpointError("the file shrank while it was read", at=entry.path, got=got)
                yield raw


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors that a safetensors file holds, checked against its size before anything is mapped."""
    if not path.is_file():  # a pipe would block for ever
        raise CheckpointError("not a plain file" if path.exists() else "no such file", at=path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if length < 2 or length > min(MAX_HEADER, size - 8):
            raise CheckpointError("not a safetensors file, or a truncated one", at=path, got=f"{size} bytes")
        raw = file.read(length)
    entries = _parsed(raw, path)
    _check_layout(entries, 8 + length, size, path)
    return entries


def _parsed(raw: bytes, path: Path) -> dict[str, Entry]:
    """The entries of a header, in the order of their bytes."""
    try:
        header = json.loads(raw, object_pairs_hook=_unique)
        header.pop("__metadata__", None)
        if len(header) > MAX_TENSORS:
            raise CheckpointError("too many tensors", at=path, got=len(header), expected=f"at most {MAX_TENSORS}")
        entries = {name: _entry(value, path, 8 + len(raw)) for name, value in header.items()}
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError("a broken safetensors header", at=path) from error
    return dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)))


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _entry(value: Any, path: Path, begin: int) -> Entry:
    dtype, shape, (start, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
    numbers = (*shape, start, end)
    if not isinstance(dtype, str) or len(shape) > MAX_RANK or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("not an entry")
    if dtype in DTYPES and math.prod(shape) * DTYPES[dtype].itemsize != end - start:
        raise ValueError("a shape and a size that disagree")
    return Entry(path, dtype, shape, begin + start, begin + end)


def _check_layout(entries: Mapping[str, Entry], begin: int, size: int, path: Path) -> None:
    """Refuse a file in which tensors overlap, or with bytes that belong to none."""
    place = begin
    for name, entry in entries.items():
        if entry.start != place or entry.end < entry.start:
            raise CheckpointError("a hole or an overlap in a safetensors file", at=path, got=f"at {name}")
        place = entry.end
    if place != size:
        raise CheckpointError("truncated or overlong", at=path, got=f"{size} bytes", expected=f"{place} bytes")


def check_finite(weight: Tensor, at: str) -> None:
    """Refuse a weight in which a number is NaN or infinite; one pass, since such a number spoils every sum."""
    if bool(weight.sum(dtype=torch.float32).isfinite()):
        return
    bad = weight.numel() - int(weight.isfinite().sum())
    if bad:
        got = f"{bad:,} of {weight.numel():,} in {str(weight.dtype).removeprefix('torch.')}"
        do = "get the file again, or say a dtype with more room"
        raise CheckpointError("numbers that are not finite", at=at, got=got, do=do)


def few(names: Sequence[str]) -> str:
    """The first names of a list, for the end of a message."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(name if len(name) < 100 else f"{name[:100]}…" for name in names[:3]) + more


# Which files


def has_weights(folder: Path) -> bool:
    """Whether a folder holds safetensors weights."""
    return (folder / WEIGHTS).exists() or (folder / INDEX).exists()


def _shards(folder: Path) -> list[tuple[Path, set[str] | None]]:
    """The files of a folder, each with the names that the index gives it; one file wins over an index."""
    if (folder / WEIGHTS).exists():
        return [(folder / WEIGHTS, None)]
    if (folder / INDEX).exists():
        return _indexed(folder)
    pickles = [name for name in PICKLES if (folder / name).exists()]
    if pickles:
        do = "save it as safetensors with the program that wrote it (save_pretrained does)"
        raise CheckpointError("pickled weights can run code and are never read", at=folder / pickles[0], do=do)
    gguf = sorted(path.name for path in folder.glob("*.gguf"))
    if gguf:
        do = "use the safetensors folder of the model"
        raise CheckpointError("GGUF weights are not read", at=folder / gguf[0], do=do)
    raise CheckpointError("no weights", at=folder, expected=f"{WEIGHTS} or {INDEX}")


def _indexed(folder: Path) -> list[tuple[Path, set[str] | None]]:
    path = folder / INDEX
    try:
        index = read_json(path)
    except ConfigError as error:
        raise CheckpointError(error.what, at=error.at, got=error.got) from error
    table = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(table, dict) or not table or not all(isinstance(file, str) for file in table.values()):
        raise CheckpointError("no weight_map", at=path, expected="an object of tensor names and file names")
    shards: dict[str, set[str]] = {}
    for name, file in table.items():
        shards.setdefault(file, set()).add(name)
    for file in shards:
        if Path(file).name != file or not file.endswith(".safetensors") or any(sign in file for sign in "\\\0"):
            expected = "the plain name of a .safetensors file"
            raise CheckpointError("a shard outside of the folder", at=path, got=repr(file)[:200], expected=expected)
    return [(folder / file, names) for file, names in sorted(shards.items())]


# Writing


@dataclass(frozen=True)
class Outgoing:
    """A tensor to be written, made when its turn comes so that no second copy of a model is held."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def write(tensors: Sequence[Outgoing], folder: Path, max_shard_bytes: int) -> None:
    """model.safetensors, or shards with an index where the tensors do not fit into one file."""
    shards = _split(tensors, max_shard_bytes)
    if len(shards) == 1:
        write_file(shards[0], folder / WEIGHTS)
        return
    table: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_file(shard, folder / file)
        table |= {tensor.name: file for tensor in shard}
    index = {"metadata": {"total_size": sum(tensor.size for tensor in tensors)}, "weight_map": table}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _split(tensors: Sequence[Outgoing], most: int) -> list[list[Outgoing]]:
    """Runs of tensors of at most ``most`` bytes, or of one tensor."""
    shards: list[list[Outgoing]] = [[]]
    held = 0
    for tensor in tensors:
        if shards[-1] and held + tensor.size > most:
            shards.append([])
            held = 0
        shards[-1].append(tensor)
        held += tensor.size
    return shards


def write_file(tensors: Sequence[Outgoing], path: Path) -> None:
    """One safetensors file, a tensor at a time; the library's writer holds all of them, and its file is private."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    tensors = sorted(
        tensors, key=lambda tensor: -tensor.dtype.itemsize
    )  # so that each begins at a multiple of its size
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for tensor in tensors:
        if tensor.dtype not in names:
            raise CheckpointError(
                "cannot be written", at=tensor.name, got=tensor.dtype, expected=", ".join(names.values())
            )
        offsets = [place, place + tensor.size]
        header[tensor.name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        place += tensor.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            made = tensor.make().detach().to("cpu").contiguous()
            file.write(made.reshape(-1).view(torch.uint8).numpy().data)
