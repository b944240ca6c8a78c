"""What every test stands on: one thread a worker, no network, and a command line to call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# Before torch is imported anywhere, here or in a child process.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)

# A busy machine is not a failure; a run of CI can be repeated exactly.
settings.register_profile("glassformer", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("glassformer")


@pytest.fixture
def glassformer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``glassformer("show", "folder", stdin=..., **environment)`` in a process of its own, in an empty folder."""

    def run(*arguments: object, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "glassformer", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "100", **environment},
            timeout=600,
        )

    return run


def pytest_terminal_summary(terminalreporter) -> None:
    """Say what became of the keys that the mutation test changed."""
    found: Counter[str] = Counter()
    called = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
    ]
    for report in called:
        found.update(dict(report.user_properties).get("mutations", {}))
    if found:
        said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.items()))
        terminalreporter.write_line(f"config.json keys changed in turn: {sum(found.values())} times; {said}")
    if (place := os.environ.get("GLASSFORMER_FAMILIES")) is not None:
        from tests.families.table import write

        write(called, Path(place))


@pytest.fixture
def drop_in(tmp_path: Path) -> Iterator[Callable[[str, str, str], None]]:
    """``drop_in("commands", "shout", source)``: a new file in a folder of the package, for one test."""
    import importlib

    from glassformer.core import discovery

    opened: list[tuple[list[str], str, str]] = []

    def forget() -> None:
        for found in (discovery.names, discovery.load_all, discovery.folder_names):
            found.cache_clear()

    def add(package: str, name: str, source: str) -> None:
        folder = tmp_path / "dropped" / package
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(source, "utf-8")
        search = importlib.import_module(f"glassformer.{package}").__path__
        search.append(str(folder))
        opened.append((search, str(folder), f"glassformer.{package}.{name}"))
        importlib.invalidate_caches()
        forget()

    yield add
    for search, folder, module in opened:
        search.remove(folder)
        sys.modules.pop(module, None)
    forget()
