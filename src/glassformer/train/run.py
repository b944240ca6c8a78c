"""A run that is over, or for now: what it reached, and its models."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassformer.checkpoints.folder import load
from glassformer.models.transformer import Transformer
from glassformer.train.folder import best, newest
from glassformer.train.log import Entry, read_metrics


@dataclass(frozen=True)
class Run:
    """The result of a training.

    Args:
        folder: Its folder, which is a model folder as well.
        entries: The lines of ``metrics.jsonl``.
        is_finished: Whether the whole budget was used.
        stopped_by: ``SIGINT`` or ``SIGTERM`` where one of them ended it early.
    """

    folder: Path
    entries: list[Entry]
    is_finished: bool
    stopped_by: str | None = None

    @property
    def steps(self) -> int:
        """Steps that were done."""
        return self.entries[-1]["step"] if self.entries else 0

    @property
    def loss(self) -> list[float]:
        """Nats per token of each step that was not skipped."""
        return [entry["loss"] for entry in self.entries if entry["loss"] is not None]

    @property
    def validation(self) -> list[tuple[int, dict[str, Any]]]:
        """Step and measures of the held-out text."""
        return [(entry["step"], entry["validation"]) for entry in self.entries if "validation" in entry]

    @property
    def tokens_per_second(self) -> float:
        """Tokens predicted a second, the median over the steps; 0 before the first."""
        return statistics.median([entry["tokens_per_second"] for entry in self.entries] or [0.0])

    def best(self) -> Transformer:
        """The model with the lowest validation loss; the newest where nothing was held out."""
        return load(best(self.folder, _say).folder)

    def last(self) -> Transformer:
        """The newest model."""
        return load(newest(self.folder, _say).folder)


def open_run(folder: str | Path) -> Run:
    """What a folder says about its run, without going on with it."""
    return Run(Path(folder), read_metrics(Path(folder)), is_finished=False)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
