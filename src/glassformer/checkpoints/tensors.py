"""Tensors of a folder, mapped into memory and read one by one. Nothing is unpickled."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glassformer.core.config import read_json
from glassformer.core.errors import CheckpointError, ConfigError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin", "model.pt", "pytorch_model.pt")
MAX_HEADER, MAX_TENSORS = 16 << 20, 200_000


class Tensors:
    """The tensors of one or many safetensors files by name; ``shapes`` and ``dtypes`` are known without reading them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        for path, expected in _shards(folder):
            header = read_header(path)
            if expected is not None and set(header) != expected:
                odd = sorted(set(header) ^ expected)
                raise CheckpointError("the index and the shard disagree", at=path, got=", ".join(odd[:3]))
            for name, entry in header.items():
                if name in self.files:
                    raise CheckpointError("a tensor stands in two files", at=path, got=name)
                self.files[name], self.shapes[name], self.dtypes[name] = path, tuple(entry["shape"]), entry["dtype"]

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def read(self, name: str) -> Tensor:
        """One tensor, in the type it is stored in; its pages come from the file when they are touched."""
        try:
            with safe_open(self.files[name], framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
                return tensor
        except (SafetensorError, OSError) as error:
            raise CheckpointError("a broken safetensors file", at=self.files[name], got=error) from error


def read_header(path: Path) -> dict[str, dict[str, object]]:
    """The names, types and shapes of a safetensors file, checked against its size before anything is mapped."""
    if not path.is_file():
        what = "not a plain file" if path.exists() else "no such file"
        raise CheckpointError(what, at=path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if length < 2 or length > min(MAX_HEADER, size - 8):
            raise CheckpointError("not a safetensors file, or a truncated one", at=path, got=f"{size} bytes")
        raw = file.read(length)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        entries = {name: {"dtype": entry["dtype"], "shape": entry["shape"]} for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CheckpointError("a broken safetensors header", at=path) from error
    if end + 8 + length != size:
        raise CheckpointError("truncated or overlong", at=path, got=f"{size} bytes", expected=f"{end + 8 + length} bytes")
    if len(entries) > MAX_TENSORS:
        raise CheckpointError("too many tensors", at=path, got=len(entries), expected=f"at most {MAX_TENSORS}")
    return entries


def has_weights(folder: Path) -> bool:
    """Whether a folder holds safetensors weights."""
    return (folder / WEIGHTS).exists() or (folder / INDEX).exists()


def _shards(folder: Path) -> list[tuple[Path, set[str] | None]]:
    """The files of a folder, each with the names that the index gives it."""
    if (folder / INDEX).exists():
        return _indexed(folder)
    if (folder / WEIGHTS).exists():
        return [(folder / WEIGHTS, None)]
    pickles = [name for name in PICKLES if (folder / name).exists()]
    if pickles:
        do = "save it as safetensors with the program that wrote it (save_pretrained does)"
        raise CheckpointError("pickled weights can run code and are never read", at=folder / pickles[0], do=do)
    gguf = sorted(path.name for path in folder.glob("*.gguf"))
    if gguf:
        raise CheckpointError("GGUF weights are not read", at=folder / gguf[0], do="use the safetensors folder of the model")
    raise CheckpointError("no weights", at=folder, expected=f"{WEIGHTS} or {INDEX}")


def _indexed(folder: Path) -> list[tuple[Path, set[str] | None]]:
    path = folder / INDEX
    try:
        index = read_json(path)
    except ConfigError as error:
        raise CheckpointError(error.what, at=error.at, got=error.got) from error
    table = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(table, dict) or not all(isinstance(file, str) for file in table.values()):
        raise CheckpointError("no weight_map", at=path)
    shards: dict[str, set[str]] = {}
    for name, file in table.items():
        shards.setdefault(file, set()).add(name)
    for file in shards:
        if Path(file).name != file or file in ("", ".", "..") or "\\" in file or not file.endswith(".safetensors"):
            raise CheckpointError("a shard outside of the folder", at=path, got=repr(file), expected="a plain .safetensors name")
    return [(folder / file, names) for file, names in sorted(shards.items())]


def write(tensors: dict[str, Tensor], folder: Path, max_shard_bytes: int) -> None:
    """model.safetensors, or shards with an index where the tensors do not fit into one file."""
    shards: list[dict[str, Tensor]] = [{}]
    held = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and held + size > max_shard_bytes:
            shards.append({})
            held = 0
        shards[-1][name] = tensor
        held += size
    names = [WEIGHTS] if len(shards) == 1 else [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _write_file(shard, folder / name)
    if len(shards) > 1:
        total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        table = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": total}, "weight_map": table}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_file(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, path, {"format": "pt"})
    except SafetensorError as error:  # the library wraps the system's refusal
        raise CheckpointError("cannot be written", at=path, got=error) from error


DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
