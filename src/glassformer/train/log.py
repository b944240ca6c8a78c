"""``metrics.jsonl``: one object a step, so that a run can be followed, drawn and compared."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from glassformer.train.files import Files
from glassformer.train.folder import METRICS, disk_error

#: What a clock says; everything else in a line is the same in every repetition of a run.
TIMED = frozenset({"seconds", "tokens_per_second"})

Entry = dict[str, Any]


class MetricsLog:
    """The lines of a run, written as they come and kept in memory."""

    def __init__(self, run: Path, *, upto: int = 0, files: Files | None = None) -> None:
        """Open the log of a run that goes on after step ``upto``; later lines, and half of one, are taken away."""
        self.file = run / METRICS
        self.entries = [entry for entry in read_metrics(run) if entry["step"] <= upto]
        (files or Files()).replace_file(self.file, b"".join(map(_line, self.entries)))
        self._stream = self.file.open("ab", buffering=0)

    def append(self, entry: Entry) -> None:
        """Write one line.

        Raises:
            CheckpointError: The disk is full or fails.
        """
        self.entries.append(entry)
        try:
            self._stream.write(_line(entry))
        except OSError as error:
            raise disk_error(error, self.file) from error

    def sync(self) -> None:
        """Make sure that all lines are on the disk."""
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise disk_error(error, self.file) from error

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()


def read_metrics(run: Path) -> list[Entry]:
    """The whole lines of a run's log; what a crash left behind the last line break is not one."""
    file = run / METRICS
    if not file.exists():
        return []
    whole, _, _ = file.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]


def _line(entry: Entry) -> bytes:
    return (json.dumps(entry, allow_nan=False) + "\n").encode()
