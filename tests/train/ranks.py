"""What one process of several does: torchrun ... ranks.py FOLDER [RANK SIGNAL STEP], which sends itself a signal."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from glassformer.core.terminal import Progress
from glassformer.data import TextData
from glassformer.train.folder import RUN_FILE
from glassformer.train.loop import resume, train
from glassformer.train.parallel import joined
from glassformer.train.run import Run
from glassformer.train.step import Learner, Outcome
from tests.train import tiny

RANK, SIZE = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")


def signal_at(step: int, number: int) -> None:
    """Send this process a signal when a step begins."""
    plain = Learner.step

    def with_signal(self: Learner, batch: Any, **more: Any) -> Outcome:
        if more["number"] == step:
            os.kill(os.getpid(), number)
        return plain(self, batch, **more)

    Learner.step = with_signal  # type: ignore[method-assign]  # what a person or a machine would do from outside


def main(place: Path) -> Run:
    """Begin, or go on."""
    data = tiny.data(place.parent / f"text-{RANK}")
    with joined() as group:
        if group.agreed((place / RUN_FILE).is_file()):
            return resume(place, data=data, progress=Progress.silent())
        return begin(place, data)


def begin(place: Path, data: TextData) -> Run:
    """A run of ten steps."""
    plan = tiny.plan(steps=10, dropout=0.0, save_every=4, batch_tokens=112)  # seven rows: never even
    return train(tiny.model(), data, plan, out=place, progress=Progress.silent())


if __name__ == "__main__":
    torch.set_num_threads(1)
    place, (rank, number, step) = Path(sys.argv[1]), sys.argv[2:5] or ("", "0", "0")
    if rank == RANK and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        signal_at(int(step), int(number))
    run = main(place)
    weights = b"".join(weight.detach().numpy().tobytes() for weight in run.last().parameters())
    norms = [entry["norm"] for entry in run.entries]
    said = {"loss": run.loss, "norm": norms, "hash": hashlib.sha256(weights).hexdigest()}
    (place.parent / f"{place.name}-{SIZE}-{RANK}.json").write_text(json.dumps(said))
