"""The standard library of the running Python, one document a module, named by its file."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from glassformer.core.errors import DataError
from glassformer.data.text import Document

ABOUT = "the standard library's docstrings (part docs, repeats dropped) and source (part source), tests left out"
LICENCE = "PSF-2.0"

_LEFT_OUT_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_LEFT_OUT_STARTS = ("encodings/", "pydoc_data/", "config-", "_sysconfigdata")  # tables, help texts, what a build wrote
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docs() -> Iterator[Document]:
    """The docstrings of each module that has some; a docstring that an earlier module has is left out."""
    seen: set[str] = set()
    for name, text in modules():
        fresh = dict.fromkeys(found for found in docstrings(text) if found not in seen)
        seen.update(fresh)
        if fresh:
            yield Document(name, "\n\n".join(fresh), "docs")


def source() -> Iterator[Document]:
    """The source of each module."""
    return (Document(name, text, "source") for name, text in modules())


def modules() -> Iterator[tuple[str, str]]:
    """File name below the library's folder and source, in the order of the names.

    Raises:
        DataError: This Python came without the source of its library.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py"))
    wanted = [name for name in names if _is_wanted(name)]
    if not wanted:
        raise DataError("this Python has no source of its standard library", at="embedded:stdlib", got=root)
    texts = ((name, (root / name).read_text(encoding="utf-8")) for name in wanted)
    return ((name, text) for name, text in texts if text)


def docstrings(text: str) -> Iterator[str]:
    """Every docstring of a module, outer ones first."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _WITH_DOCSTRING) and (found := ast.get_docstring(node)):
            yield found


def _is_wanted(name: str) -> bool:
    return not name.startswith(_LEFT_OUT_STARTS) and _LEFT_OUT_FOLDERS.isdisjoint(name.split("/"))


PARTS = {"docs": docs, "source": source}
