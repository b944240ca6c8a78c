from __future__ import annotations

import io
import json
import math

import pytest

from glassformer.core import terminal
from glassformer.core.terminal import Progress, duration, print_json, styled


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


def test_a_pipe_gets_a_plain_line_now_and_then_and_the_last_one(clock):
    stream = io.StringIO()
    with Progress(stream, seconds=10) as progress:
        for second in range(26):
            clock[0] = second
            progress.update(f"step {second}")
            if second == 12:
                progress.note("saved")
    assert stream.getvalue() == "step 0\nstep 10\nsaved\nstep 20\nstep 25\n"


def test_a_state_that_was_shown_is_not_shown_twice(clock):
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.update("once")
    assert stream.getvalue() == "once\n"


def test_the_last_state_is_shown_also_after_an_error(clock):
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), Progress(stream) as progress:
        progress.update("a")
        progress.update("b")
        _ = 1 / 0
    assert stream.getvalue() == "a\nb\n"


def test_a_terminal_has_one_line_rewritten_and_notes_above_it(clock):
    stream = Terminal()
    with Progress(stream) as progress:
        progress.update("step 1")
        progress.update("step 2")  # too soon to be seen
        progress.note("saved")
        clock[0] = 1.0
        progress.update("x" * 100)
    shown = stream.getvalue().split("\r\x1b[K")
    assert shown == ["", "step 1", "saved\n", "step 2", "x" * 39 + "\n"]


def test_nothing_said_is_nothing_written():
    for stream in (io.StringIO(), Terminal()):
        with Progress(stream):
            pass
        assert stream.getvalue() == ""


def test_a_dumb_terminal_is_treated_as_a_pipe(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.is_live(Terminal())


def test_colour_only_on_a_terminal_without_no_color(monkeypatch):
    assert styled("hot", "red", stream=Terminal()) == "\x1b[31mhot\x1b[0m"
    assert styled("hot", "red", stream=io.StringIO()) == "hot"
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("hot", "red", stream=Terminal()) == "hot"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (75.2, "1:15"), (7389, "2:03:09"), (-1, "0:00")]
)
def test_durations_read_like_a_clock(seconds, text):
    assert duration(seconds) == text


def test_json_is_one_line_and_never_says_nan(capsys):
    print_json({"loss": math.nan, "rates": [1.5, math.inf, (2, "é")], "ok": True, "none": None})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"loss": None, "rates": [1.5, None, [2, "é"]], "ok": True, "none": None}
