"""Loading a folder against reading its bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import shapes
from benchmarks.paired import Figure, interleave, median, ratio
from glassformer.checkpoints.folder import load

REPEATS = 9


def figures() -> Iterator[Figure]:
    """Seconds of reading the file / seconds of loading it and touching every weight; the aim is 1 / 1.2."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "model"
        shapes.ours(shapes.LARGE).save(folder)
        file = folder / "model.safetensors"
        cases = {"load": lambda: _touch(folder), "read": lambda: len(file.read_bytes())}
        times = interleave(cases, repeats=REPEATS)
        size = file.stat().st_size
    name, seconds = f"load a folder of {size / 1e6:.0f} MB", median(times, "load")
    share = median(times, "read") / seconds
    yield Figure(
        name,
        size / seconds / 1e9,
        "GB/s",
        "reading the file",
        ratio(times, "load", "read"),
        1 / 1.2,
        share,
        "file read rate",
    )


@torch.no_grad()
def _touch(folder: Path) -> None:
    """Load, and read one number of every page, so that a lazy mapping counts as well."""
    for weight in load(folder).parameters():
        weight.flatten()[::1024].sum()
