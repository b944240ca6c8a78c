"""Two processes must not train in one folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glassformer.core.errors import CheckpointError

LOCK = ".lock"


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the folder of a run; the system lets go when the process ends, however it ends.

    Raises:
        CheckpointError: Another process holds it.
    """
    with (run / LOCK).open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = f"process {stream.read().strip() or '?'}"
            raise CheckpointError(
                "another process trains in this folder", at=run, got=holder, do="wait or stop it"
            ) from None
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield
