"""What a person sees while a command works: one live line on a terminal, plain lines in a pipe, JSON for machines."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import sys
import time
from typing import Any, TextIO

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


def is_live(stream: TextIO | io.TextIOBase) -> bool:
    """True where a line can be rewritten: a terminal that is not a dumb one."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str, *, stream: TextIO) -> str:
    """``text`` in one of ``STYLES`` if ``stream`` is a terminal and NO_COLOR is unset or empty."""
    if not is_live(stream) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"


def duration(seconds: float) -> str:
    """Seconds as a clock shows them: ``0:07``, ``1:15``, ``2:03:09``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def finite(value: Any) -> Any:
    """The same JSON value with ``null`` for every number that JSON cannot say (NaN, infinities)."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(value: Any) -> None:
    """One JSON value on one line of stdout."""
    print(json.dumps(finite(value), ensure_ascii=False, allow_nan=False), flush=True)


class Nowhere(io.TextIOBase):
    """A stream that forgets what is written."""

    def write(self, text: str) -> int:
        return len(text)


class Progress:
    """The state of a long job on stderr; a context, so that the last state is always shown.

    On a terminal ``update`` rewrites one line. In a pipe it prints a line at most every ``seconds``, and the last one.
    """

    def __init__(self, stream: TextIO | Nowhere | None = None, *, seconds: float = 10.0) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.live = is_live(self.stream)
        self.seconds = seconds
        self.text = ""
        self.is_shown = True
        self.due = 0.0

    @classmethod
    def silent(cls) -> Progress:
        """One that is shown nowhere, for the second process of a job and the others."""
        return cls(Nowhere())

    def update(self, text: str) -> None:
        """The job's state now, one line."""
        self.text, self.is_shown = text, False
        if time.monotonic() >= self.due:
            self.show()
            self.due = time.monotonic() + (0.1 if self.live else self.seconds)

    def note(self, text: str) -> None:
        """A line that stays, above the live one."""
        self.write(f"\r\x1b[K{text}\n" if self.live else f"{text}\n")
        if self.live and self.text:
            self.show()

    def show(self) -> None:
        self.is_shown = True
        if not self.live:
            return self.write(f"{self.text}\n")
        width = shutil.get_terminal_size().columns - 1
        return self.write(f"\r\x1b[K{self.text[:width]}")

    def write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *failure: object) -> None:
        if not self.is_shown:
            self.show()
        if self.live and self.text:
            self.write("\n")
