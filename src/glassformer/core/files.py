"""Files that are whole or absent: a folder is written beside its place and moved there when everything is on the disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glassformer.core.errors import CheckpointError


@contextmanager
def staged_folder(final: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to write into; it takes the name ``final`` when the block ends well, and is gone when it does not.

    Every file and the folders are synced before the rename, so that a power cut leaves the old state or the new one.

    Raises:
        CheckpointError: ``final`` exists (and is not to be overwritten), or the disk refuses; with the path.
    """
    final = Path(final)
    if not overwrite and _is_taken(final):
        raise CheckpointError("the output folder exists", at=final, do="choose another name, or say overwrite")
    staging = final.with_name(f".{final.name}.staging-{os.getpid()}")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        yield staging
        for path in [*staging.rglob("*"), staging]:
            sync(path)
        _move(staging, final)
    except OSError as error:
        raise refused(error, final) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_taken(final: Path) -> bool:
    return final.exists() and (not final.is_dir() or any(final.iterdir()))


def _move(staging: Path, final: Path) -> None:
    """Rename, with what stood there set aside until the new folder is in place."""
    aside = final.with_name(f".{final.name}.replaced-{os.getpid()}")
    if final.exists():
        final.rename(aside)
    try:
        staging.rename(final)
    except OSError:
        if aside.exists():
            aside.rename(final)
        raise
    sync(final.parent)
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make sure that a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refused(error: OSError, path: Path) -> CheckpointError:
    """One line about a disk that refuses."""
    do = "free some space and try again; nothing was changed" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return CheckpointError("cannot be written", at=path, got=error.strerror or error, do=do)
