"""Runs benchmarks and prints their table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path

import torch

import benchmarks
from benchmarks.paired import HEADER
from glassformer.core import machine

HELPERS = {"paired", "shapes", "__main__"}


def main() -> None:
    """The table of the benchmarks that were named, or of all."""
    known = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in HELPERS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="also write JSON lines to this file")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in known]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; known: {', '.join(known)}")
    torch.set_num_threads(chosen.threads)
    print(f"{_machine()}, {chosen.threads} threads, torch {torch.__version__}\n\n{HEADER}", flush=True)
    lines = []
    for name in chosen.names or known:
        for figure in importlib.import_module(f"benchmarks.{name}").figures():
            print(figure.line(), flush=True)
            lines.append(json.dumps(figure.to_json()))
    if chosen.json:
        chosen.json.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _machine() -> str:
    """The processor, whether it has bf16 units, and how busy the machine is."""
    units = [name for name in machine.instruction_sets() if "bf16" in name]
    return f"{machine.cpu_name()}, {' '.join(units) or 'no bf16 units'}, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
