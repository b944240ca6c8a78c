"""Disks that fail, people who press Ctrl-C and processes that die, at the nth operation of ``core.files``."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from glassformer.core import files

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Fault:
    """Calls ``strike`` at the ``nth`` operation that changes or syncs something; ``fired``: whether there was one."""

    def __init__(self, nth: int, strike: Callable[[], None]) -> None:
        self.left, self.strike, self.fired = nth, strike, False

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if self.left == 0 and not self.fired:
                self.fired = True
                self.strike()
            self.left -= 1
            return function(*arguments, **keywords)

        return call


class Writer:
    """A file whose writes are operations too."""

    def __init__(self, file: Any, fault: Fault) -> None:
        self.file, self.write = file, fault.around(file.write)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *failure: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@contextmanager
def fault_at(nth: int, strike: Callable[[], None]) -> Iterator[Fault]:
    """The fault is set for the block; removing what was staged is not an operation that fails."""
    fault = Fault(nth, strike)
    real = Path.open

    def opened(path: Path, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        file = real(path, mode, *arguments, **keywords)
        return Writer(file, fault) if "w" in mode else file

    system = SimpleNamespace(**{name: getattr(os, name) for name in ("O_RDONLY", "close", "getpid", "rename")})
    system.open, system.fsync = fault.around(os.open), fault.around(os.fsync)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "os", system)
        patch.setattr(Path, "mkdir", fault.around(Path.mkdir))
        patch.setattr(Path, "rename", fault.around(Path.rename))
        patch.setattr(Path, "open", opened)
        yield fault


def full_disk() -> None:
    raise FULL


def interrupted() -> None:
    raise KeyboardInterrupt


def killed() -> None:
    os._exit(9)


def every_fault(
    act: Callable[[], object], strike: Callable[[], None], expected: type[BaseException]
) -> Iterator[BaseException]:
    """``act`` with a fault at its first operation, its second and so on, until it ends without meeting one."""
    for nth in range(1_000):
        with fault_at(nth, strike) as fault:
            try:
                act()
            except expected as error:
                assert fault.fired
                yield error
            else:
                assert not fault.fired, f"operation {nth} failed, and nobody said so"
                return
    raise AssertionError("it never ended")
