"""Tiny folders, and ways of spoiling them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassformer.checkpoints.folder import load, save
from glassformer.core.errors import CheckpointError
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.norm import LayerNormConfig
from tests.builders import bert_like, gpt_like, lively, llama_like, t5_like

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"


def as_bert() -> TransformerConfig:
    """What a config.json of BERT can say: one eps for all norms."""
    config = bert_like()
    head = config.head.replace(transform=config.head.transform.replace(norm=LayerNormConfig(eps=1e-12)))
    return config.replace(head=head)


def as_t5() -> TransformerConfig:
    """What a config.json of T5 can say: rows of any length."""
    return t5_like().replace(max_positions=None)


#: A description in the words of each published family.
SAID: dict[str, Callable[[], TransformerConfig]] = {
    "gpt2": gpt_like,
    "llama": llama_like,
    "bert": as_bert,
    "t5": as_t5,
}


def written(folder: Path, config: TransformerConfig | None = None, **saving: Any) -> Path:
    """A folder with a tiny model."""
    save(lively(config or gpt_like()), folder, **saving)
    return folder


def with_keys(folder: Path, **keys: Any) -> Path:
    """The folder with other keys in its config.json; ``...`` takes one out."""
    config = json.loads((folder / CONFIG).read_text("utf-8")) | keys
    (folder / CONFIG).write_text(json.dumps({key: value for key, value in config.items() if value is not ...}), "utf-8")
    return folder


def with_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """The folder with other tensors in its one file."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    return folder


def with_header(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The folder with another header in front of the same bytes."""
    raw = (folder / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    changed = change(header)
    text = json.dumps(header if changed is None else changed).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    return folder


def refusal(folder: Path, *parts: object, **loading: Any) -> str:
    """The one line with which loading a folder is refused; every part must be in it."""
    with pytest.raises(CheckpointError) as caught:
        load(folder, **loading)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 1500
    for part in parts:
        assert str(part) in line, line
    return line


def words(folder: Path) -> dict[str, Any]:
    """The config.json of a folder."""
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text("utf-8"))
    return config


def cannot_save(act: Callable[[], object], *parts: object) -> str:
    """The one line with which a save is refused; every part must be in it."""
    with pytest.raises(CheckpointError) as caught:
        act()
    line = str(caught.value)
    assert "\n" not in line
    for part in parts:
        assert str(part) in line, line
    return line


def same(one: Path, two: Path) -> bool:
    """Whether two folders load as models with equal tensors."""
    first, second = (dict(load(folder).named_parameters()) for folder in (one, two))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
