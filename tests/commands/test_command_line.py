from __future__ import annotations

import os
import subprocess
import sys

import pytest

import glassformer as gf
from glassformer import commands
from glassformer.__main__ import main

SHOUT = '''"""Print a text in capitals."""
from pathlib import Path
from typing import Literal

from glassformer.core.errors import DataError


def main(text: str, folder: Path | None = None, /, *, times: int = 1, end: tuple[str, ...] = (),
         mark: Literal["!", "?"] = "!", dry_run: bool = False) -> int | None:
    """Print a text in capitals.

    Args:
        text: What to print.
        times: How many times.
    """
    match text:
        case "data":
            raise DataError("no letters", at="a.txt", got="7", do="write some")
        case "disk":
            raise OSError(28, "No space left on device", "out/model.safetensors")
        case "network":
            raise OSError("no route")
        case "missing":
            open("no/such/file")
        case "bug":
            raise RuntimeError("first line\\nsecond line")
        case "panic":
            raise type("PanicException", (BaseException,), {})("index out of bounds")
        case "exit":
            raise SystemExit(5)
        case "memory":
            raise MemoryError
        case "interrupt":
            raise KeyboardInterrupt
        case "code":
            return 7
        case "warn":
            import warnings
            warnings.warn("a library grumbles", stacklevel=1)
    print(text.upper() * times, folder, end, mark, dry_run)
'''

INSPECT = """
import sys, time
from glassformer.__main__ import main
code = main(sys.argv[1:])
print(f"\\n{code} {time.process_time()} {'torch' in sys.modules}", file=sys.stderr)
"""


@pytest.fixture
def shout(drop_in):
    drop_in("commands", "shout", SHOUT)


def seen(arguments: list[str]) -> tuple[int, float, bool, str]:
    """Exit code, CPU seconds of the whole process, whether torch was imported, and what was said."""
    run = subprocess.run([sys.executable, "-c", INSPECT, *arguments], capture_output=True, text=True, check=True)
    code, seconds, torch = run.stderr.splitlines()[-1].split()
    return int(code), float(seconds), torch == "True", run.stdout + run.stderr


QUICK = [
    ([], 0, "Usage: glassformer COMMAND"),
    (["--help"], 0, "Usage: glassformer COMMAND"),
    (["--version"], 0, f"glassformer {gf.__version__}"),
    (["doktor"], 2, "no command 'doktor' · did you mean doctor?"),
    (["--versoin"], 2, "no option '--versoin' · did you mean --version?"),
    *[([name, "--help"], 0, f"Usage: glassformer {name}") for name in commands.names()],
    *[([name, "--no-such"], 2, f"see glassformer {name} --help") for name in commands.names()],
]


@pytest.mark.parametrize(("arguments", "code", "words"), QUICK, ids=[" ".join(case[0]) or "nothing" for case in QUICK])
def test_help_and_typing_errors_are_instant_and_import_no_torch(arguments, code, words):
    seconds = []
    for _ in range(5):  # the promise is about the program; a busy machine may take several tries to show it
        found, spent, torch, said = seen(arguments)
        assert (found, torch) == (code, False), said
        assert words in said
        seconds.append(spent)
        if spent < 0.5:
            break
    assert min(seconds) < 0.5, f"CPU seconds: {seconds}"


def test_help_lists_every_command_with_its_first_line(capsys, shout):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split() for line in lines if line.startswith("  ") and line.split()[0] in commands.names()]
    assert [words[0] for words in listed] == list(commands.names())
    assert ["shout", "Print", "a", "text", "in", "capitals."] in listed
    assert all(len(words) > 3 for words in listed), "a command's file starts with a docstring of one sentence"


def test_examples_in_the_help_are_shown_only_for_commands_that_exist(capsys):
    main(["--help"])
    text = capsys.readouterr().out
    for name, example in commands.EXAMPLES.items():
        assert (example in text) == (name in commands.names())


def test_a_command_of_another_package_is_listed_without_importing_it(monkeypatch):
    class Point:
        name, dist = "savanna_walk", type("Distribution", (), {"name": "savanna"})

    monkeypatch.setattr(commands.discovery, "points", lambda package: (Point,))
    assert commands.summary("savanna-walk") == "from savanna"


def test_a_file_dropped_into_the_folder_is_a_command(capsys, shout):
    assert main(["shout", "hi", "here", "--times", "2", "--end", "a", "--end", "b", "--mark", "?", "--dry-run"]) == 0
    assert capsys.readouterr() == ("HIHI here ('a', 'b') ? True\n", "")


def test_its_help_comes_from_signature_and_docstring(capsys, shout):
    assert main(["shout", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage: glassformer shout TEXT [FOLDER] [OPTIONS]\n\nPrint a text in capitals.\n")
    for words in ("What to print. [required]", "--times INT", "How many times. [default: 1]", "choices: !, ?"):
        assert words in text
    assert "--no-dry-run" not in text
    assert "default: False" not in text
    assert "default: ()" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["data"], 2, "glassformer: a.txt: no letters · got 7 · write some"),
        (["disk"], 1, "glassformer: out/model.safetensors: No space left on device"),
        (["missing"], 1, "glassformer: no/such/file: No such file or directory"),
        (["network"], 1, "glassformer: OSError: no route · run again with --debug for the traceback"),
        (["bug"], 1, "glassformer: RuntimeError: first line second line · run again with --debug for the traceback"),
        (["panic"], 1, "glassformer: PanicException: index out of bounds · run again with --debug for the traceback"),
        (["memory"], 1, "glassformer: out of memory · choose a smaller model, batch or context"),
        (["interrupt"], 130, "glassformer: interrupted"),
        (["code"], 7, ""),
        ([], 2, "glassformer: shout: Parameter TEXT requires an argument · see glassformer shout --help"),
        (["a", "--time", "2"], 2, "Unknown option: --time. Did you mean --times? · see glassformer shout --help"),
        (["a", "--times", "x"], 2, 'Invalid value for --times: unable to convert "x" into int'),
        (["a", "--mark", "x"], 2, 'Invalid value "x" for --mark. Choose from: "!", "?"'),
        (["a", "b", "c"], 2, "Unused Tokens: ['c']"),
    ],
)
def test_errors_are_one_line_on_stderr_and_an_exit_code(capsys, shout, arguments, code, line):
    assert main(["shout", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == (1 if line else 0)


def test_a_command_may_leave_by_itself(shout):
    with pytest.raises(SystemExit) as left:
        main(["shout", "exit"])
    assert left.value.code == 5


@pytest.mark.parametrize("arguments", [["--debug", "shout", "bug"], ["shout", "bug", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(capsys, shout, arguments):
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert 'raise RuntimeError("first line' in err


def test_what_follows_two_dashes_is_text(capsys, shout):
    assert main(["shout", "--", "--debug"]) == 0
    assert capsys.readouterr().out.startswith("--DEBUG")


def test_library_warnings_stay_hidden_unless_asked_for(glassformer, tmp_path):
    script = tmp_path / "warner.py"
    script.write_text(
        "import sys, glassformer.commands as c, glassformer.__main__ as m, warnings\n"
        "c.dispatch = lambda tokens: warnings.warn('a library grumbles', UserWarning) or 0\n"
        "sys.exit(m.main(sys.argv[1:]))\n",
        "utf-8",
    )

    def grumbles(*flags: str, arguments: tuple[str, ...] = ()) -> bool:
        run = subprocess.run([sys.executable, *flags, script, *arguments], capture_output=True, text=True, check=True)
        return "a library grumbles" in run.stderr

    assert not grumbles()
    assert grumbles(arguments=("--debug",))
    assert grumbles("-W", "always")


def test_a_closed_pipe_is_quiet():
    command = f"{sys.executable} -m glassformer --help | head -n 0; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.returncode in (0, 1)  # 0 where the pipe took everything before its reader left


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line():
    command = f"{sys.executable} -m glassformer --version > /dev/full"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (1, "glassformer: No space left on device\n")


def test_module_and_script_are_the_same_program(glassformer):
    run = glassformer("--version")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"glassformer {gf.__version__}\n", "")
    run = glassformer("doktor")
    assert (run.returncode, run.stdout) == (2, "")


def test_help_has_no_escape_codes_in_a_pipe(glassformer):
    for environment in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in glassformer("doctor", "--help", **environment).stdout
