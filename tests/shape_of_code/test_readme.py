"""What README and docs show is run.

- A ``python`` block runs; the blocks of one page share a namespace and an empty folder, top to bottom.
- ``<!-- not run: why -->`` on the line before leaves a block out; it must still be Python.
- In a ``console`` block, each ``$ glassformer ...`` must be a command line that parses, each ``$ make ...`` a target.
- ``<!-- run -->`` on the line before a ``console`` block runs its ``glassformer`` lines in the page's folder; what is
  printed must be what is shown, where ``...`` stands for anything.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from glassformer import commands
from glassformer.__main__ import main
from glassformer.core import discovery

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    line: int
    kind: str
    text: str
    mark: str


def snippets(page: str) -> list[Snippet]:
    found = BLOCK.finditer(page)
    return [Snippet(page.count("\n", 0, m.start("text")) + 1, m["kind"], m["text"], m["mark"] or "") for m in found]


def steps(text: str) -> Iterator[tuple[str, str]]:
    """(command line, output shown below it) of a console block; a trailing backslash continues a line."""
    for part in re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def parse(line: str) -> None:
    """Raise if a ``glassformer`` line has no such command, option or kind of value; nothing is run."""
    words = shlex.split(line.partition(" #")[0])
    words = words[: next((at for at, word in enumerate(words) if word in ("|", ">", ">>", "&&", "<")), None)]
    assert words[0] == "glassformer", line
    if len(words) > 1 and not words[1].startswith("-"):
        assert words[1] in commands.names(), f"no command {words[1]}: {line}"
        command = discovery.load("commands", words[1].replace("-", "_")).main
        commands.parser(words[1], command).parse_args(words[2:], print_error=False, exit_on_error=False)


def same(shown: str, printed: str) -> bool:
    """True if the output is the one shown, but for spaces at line ends and what ``...`` or ``…`` stands for."""
    shown, printed = ("\n".join(line.rstrip() for line in text.strip().splitlines()) for text in (shown, printed))
    pattern = "(?s:.*)".join(re.escape(piece) for piece in re.split(r"\.\.\.|…", shown))
    return re.fullmatch(pattern, printed) is not None


def run(line: str, shown: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(shlex.split(line)[1:])
    assert code == 0, line
    assert same(shown, out.getvalue()), f"$ {line}\n{out.getvalue()}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_page_shows_works(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    namespace: dict[str, object] = {"__name__": path.stem}
    for snippet in snippets(path.read_text("utf-8")):
        where = f"{path.name}:{snippet.line}"
        if snippet.kind == "python":
            tree = ast.parse(snippet.text, where)
            if not snippet.mark.startswith("not run: "):
                exec(compile(tree, where, "exec"), namespace)
        elif snippet.kind == "console":
            for line, shown in steps(snippet.text):
                if line.startswith("make "):
                    assert line.split()[1] in targets, where
                elif line.startswith("glassformer"):
                    parse(line) if snippet.mark != "run" else run(line, shown)


def test_there_are_pages_with_blocks():
    kinds = [snippet.kind for path in PAGES for snippet in snippets(path.read_text("utf-8"))]
    assert "python" in kinds
    assert "console" in kinds


def test_the_reader_of_pages_reads_marks_commands_and_output():
    page = "a\n<!-- run -->\n```console\n$ glassformer --version\nglassformer ...\n$ make \\\ntest\n```\n"
    console, python = snippets(page + "```python\n1\n```\n")
    assert (console.mark, console.kind, console.line) == ("run", "console", 4)
    assert [(line.split(), shown) for line, shown in steps(console.text)] == [
        (["glassformer", "--version"], "glassformer ...\n"),
        (["make", "test"], ""),
    ]
    assert (python.mark, python.text) == ("", "1\n")


def test_a_page_that_lies_is_caught():
    for line in ("glassformer doktor", "glassformer doctor --jason", "glassformer doctor extra"):
        with pytest.raises(Exception, match=r"no command doktor|--jason|extra"):
            parse(line)
    parse("glassformer doctor --json > report.json  # comment")
    run("glassformer --version", "glassformer ...")
    with pytest.raises(AssertionError):
        run("glassformer --version", "glassformer ... or so")
