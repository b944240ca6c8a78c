"""The mean of several checkpoints, number by number (Izmailov et al. 2018, https://arxiv.org/abs/1803.05407)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from glassformer.checkpoints.folder import describe, load
from glassformer.core.errors import CheckpointError
from glassformer.core.hub import local
from glassformer.tokenizers.tokenizer import TOKENIZER_FILE, load_tokenizer


@torch.no_grad()
def average(folders: Sequence[str | Path], out: str | Path) -> None:
    """Write the model whose weights are the means, in float32, of those of some model folders.

    Args:
        folders: Two or more; a tokenizer.json is that of the first.
        out: A folder that does not exist yet.

    Raises:
        CheckpointError: They are fewer, their descriptions differ, or the disk refuses.
    """
    if len(folders) < 2:
        raise CheckpointError("an average of models", got=f"{len(folders)} folders", expected="two or more")
    first, *others = folders
    for folder in others:
        _check_alike(first, folder)
    model = load(first, dtype="float32")
    for weight in model.parameters():
        weight.data = weight.data / len(folders)
    model.tie()
    for folder in others:
        theirs = dict(load(folder, dtype="float32").named_parameters())
        for name, weight in model.named_parameters():
            weight.data += theirs[name] / len(folders)
    has_tokenizer = (local(first) / TOKENIZER_FILE).is_file()
    model.save(out, tokenizer=load_tokenizer(first) if has_tokenizer else None)


def _check_alike(first: str | Path, other: str | Path) -> None:
    one, two = describe(first), describe(other)
    if one.config != two.config:
        raise CheckpointError("another description", at=other, expected=f"that of {first}")
    if one.special != two.special:
        raise CheckpointError("other special tokens", at=other, got=two.special, expected=f"{one.special}, as {first}")
