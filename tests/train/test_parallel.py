"""Several processes take the steps of one: loss, norm and weights, resumed with more or fewer, or after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer.train.run import open_run

ROOT = Path(__file__).parents[2]


def launch(place: Path, processes: int, *more: str, stops: tuple[int, int, int] | None = None) -> list[dict[str, Any]]:
    """What each process found, by its rank; ``stops``: the rank that is sent a signal, which, and in which step."""
    program = [str(Path(__file__).with_name("ranks.py")), str(place), *map(str, stops or ())]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *more]
    command = [sys.executable, *(launcher if processes > 1 else []), *program]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    files = [place.parent / f"{place.name}-{processes}-{rank}.json" for rank in range(processes)]
    return [json.loads(file.read_text()) for file in files]


def weights(place: Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in open_run(place).last().parameters()])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    place = tmp_path_factory.mktemp("alone") / "run"
    return place, launch(place, 1)[0]


def close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in ("loss", "norm"):
        assert len(found[name]) == len(expected[name]) == 10
        assert max(abs(a - b) for a, b in zip(found[name], expected[name], strict=True)) <= 2e-6 * max(expected[name])


def test_two_processes_take_the_same_steps(alone, tmp_path):
    first, second = launch(tmp_path / "run", 2)
    close(first, alone[1])
    assert first["hash"] == second["hash"]
    torch.testing.assert_close(weights(tmp_path / "run"), weights(alone[0]), rtol=0, atol=2e-5)
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 10  # one of them writes


def test_a_killed_process_costs_the_steps_since_the_last_checkpoint(alone, tmp_path):
    """Killed in step 6: torchrun begins all of them again, which go on from the checkpoint of step 4."""
    first, second = launch(tmp_path / "run", 2, "--max-restarts=3", stops=(1, signal.SIGKILL, 6))
    close(first, alone[1])
    assert first["hash"] == second["hash"]


def test_a_run_goes_on_with_fewer_and_with_more_processes(alone, tmp_path):
    place = tmp_path / "run"
    assert len(launch(place, 2, stops=(1, signal.SIGTERM, 2))[0]["loss"]) == 3
    assert len(launch(place, 1, stops=(0, signal.SIGTERM, 5))[0]["loss"]) == 6
    close(launch(place, 3)[0], alone[1])
