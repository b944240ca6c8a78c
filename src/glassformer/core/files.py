"""Files that are whole or absent: a folder is written beside its place and moved there once all of it is on disk."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glassformer.core.errors import CheckpointError


@contextmanager
def staged_folder(final: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to write into; it takes the name ``final`` when the block ends well, and is gone when it does not.

    Every file and the folders are synced before the rename, so that after a power cut what stands there is whole. What
    ``final`` held before is kept under ``.final.replaced-*`` from just before the rename until just after it.

    Raises:
        CheckpointError: ``final`` exists (and is not to be overwritten), or the disk refuses; with the path.
    """
    place = Path(final).resolve()  # behind a link, and with a name where it is "."
    if not place.name:
        raise CheckpointError("cannot be written", at=final, got="the root of all folders")
    mark = f"{os.getpid()}-{secrets.token_hex(3)}"  # two writers never share one
    staging, aside = (place.with_name(f".{place.name}.{word}-{mark}") for word in ("staging", "replaced"))
    try:
        if not overwrite:
            _refuse_taken(place, final)
        staging.mkdir(parents=True)
        yield staging
        for path in [*staging.rglob("*"), staging]:
            sync(path)
        if not overwrite:  # another writer may have been quicker
            _refuse_taken(place, final)
        _move(staging, place, aside)
    except OSError as error:
        raise refused(error, Path(final)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_taken(place: Path, final: str | Path) -> None:
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise CheckpointError("the output folder exists", at=final, do="choose another name, or say overwrite")


def _move(staging: Path, place: Path, aside: Path) -> None:
    """Rename, with what stood there set aside until the new folder is in place; put back if anything fails."""
    try:
        if place.exists():
            place.rename(aside)
        staging.rename(place)
        sync(place.parent)
    except BaseException:  # Ctrl-C too
        if not staging.exists():
            place.rename(staging)
        if aside.exists():
            aside.rename(place)
        raise
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


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """A block that reads files; what the system refuses becomes one line."""
    try:
        yield
    except OSError as error:
        raise CheckpointError("cannot be read", at=error.filename or path, got=error.strerror or error) from error


def refused(error: OSError, path: Path) -> CheckpointError:
    """One line about a disk that refuses."""
    do = "free some space and try again; nothing was changed" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return CheckpointError("cannot be written", at=str(path)[:500], got=error.strerror or error, do=do)
