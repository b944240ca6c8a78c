"""What must not stand in the repository, whoever wrote it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".py", ".md", ".toml", ".txt", ".cpp", ".h", ".html", ".js", ".css", ".json", ".yml", ""}
#: Spelled in pieces, so that this file does not find itself.
FOUL = re.compile("|".join(["/wo" "rk/", "/ro" "ot/", "/ho" "me/[a-z]", "/fa" "rm/", "py" r"pi\.org", "python" "hosted",
                            "registry" r"\.npm", r"deb\.deb" "ian", "TO" "DO", "FIX" "ME"]))  # fmt: skip


def files() -> list[Path]:
    """Every text file that is or would be committed."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("git") else None
    if listed is not None and listed.returncode == 0:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
    else:  # an unpacked archive has no git
        paths = [path for name in ("src", "tests", "docs", "benchmarks") for path in (ROOT / name).rglob("*")]
    return [path for path in paths if path.is_file() and path.suffix in TEXT and "__pycache__" not in path.parts]


FILES = files()
PYTHON = [path for path in FILES if path.suffix == ".py"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_is_something_to_look_at():
    names = set(map(name, FILES))
    assert {"README.md", "Makefile", "pyproject.toml", "src/glassformer/__main__.py", "tests/conftest.py"} <= names


def test_no_path_of_one_machine_no_registry_host_no_note_to_self():
    found = []
    for path in FILES:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if FOUL.search(line):
                found.append(f"{name(path)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_no_error_disappears():
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
                empty = all(isinstance(line, ast.Pass) for line in node.body)
                assert not (broad and empty), f"{name(path)}:{node.lineno}"


def test_a_silenced_checker_is_explained():
    mark = re.compile(r"#\s*(?:type: ignore|noqa)(?:\[[\w, -]+\]|: [A-Z]+\d+)?(.*)")
    found = []
    for path in PYTHON:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            silenced = mark.search(line)
            if silenced and "src" in path.parts and len(silenced[1].strip("# -·")) < 5:
                found.append(f"{name(path)}:{number}: {line.strip()}")
    assert not found, "say why:\n" + "\n".join(found)
