"""Loading a folder against reading its bytes, in time and in memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers

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
        peaks = [peak(folder, dtype) / size for dtype in ("float32", "bfloat16")]
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
    for dtype, held in zip(("as it is", "stored in bfloat16, computed in float32"), peaks, strict=True):
        yield Figure(f"peak memory of loading it, {dtype}", held, "x the weights", "the weights", 1 / held, 1 / 1.15)


#: Run in a process of its own: the memory of one that has loaded a tiny model, then with all pages of a large one.
PEAK = """
import re, sys
from pathlib import Path
from benchmarks.loading import _touch
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
_touch(sys.argv[2])
before = peak()
_touch(sys.argv[1])
print(1024 * (peak() - before))
"""


def peak(folder: Path, stored: str) -> int:
    """Bytes of memory at most while a folder is loaded and touched, stored in a type of 16 bit or as it is."""
    if stored == "bfloat16":
        half = folder.with_name("half")
        transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(half)
        folder = half
    tiny = folder.with_name("tiny")
    if not tiny.exists():
        shapes.ours(shapes.SMALL).save(tiny)
    command = [sys.executable, "-c", PEAK, str(folder), str(tiny)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@torch.no_grad()
def _touch(folder: Path) -> None:
    """Load, and read one number of every page, so that a lazy mapping counts as well."""
    for weight in load(folder).parameters():
        weight.flatten()[::1024].sum()
