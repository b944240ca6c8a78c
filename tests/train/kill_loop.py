"""Kills a training again and again and goes on with it; prints what was found as JSON.

A program of its own: it imports everything once, then forks a child for each life of the run, which is as good as a
fresh process because nothing was computed before the fork. ``python -m tests.train.kill_loop FOLDER KILLS SEED [BUG]``.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # every optimizer imports it when it is made: here once, not in each child

from glassformer.core.terminal import Progress
from glassformer.train import loop
from glassformer.train.folder import newest
from glassformer.train.log import TIMED, read_metrics
from glassformer.train.optimizers import MuonConfig
from tests.train import tiny

STEPS = 40


def live(folder: Path, is_first: bool) -> None:
    """One life of the run, in a child."""
    torch.set_num_threads(1)
    progress = Progress(io.StringIO())
    torch.manual_seed(os.getpid())  # a resumed run must not lean on what the process happens to begin with
    if is_first:
        config = tiny.plan(
            steps=STEPS, save_every=5, eval_every=10, optimizer=MuonConfig(), batch_tokens=96, micro_tokens=48
        )
        loop.train(tiny.model(), tiny.data(folder / "text"), config, out=folder / "run", progress=progress)
    else:
        loop.resume(folder / "run", progress=progress)


def fork(folder: Path, is_first: bool) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            live(folder, is_first)
            code = 0
        finally:
            os._exit(code)
    return child


def run_through(folder: Path) -> None:
    _, status = os.waitpid(fork(folder, is_first=True), 0)
    assert status == 0, "the unbroken run failed"


def signs_of_life(run: Path) -> int:
    """Grows with everything that the child does."""
    log = run / "metrics.jsonl"
    entries = len(os.listdir(run)) if run.exists() else 0
    return (log.stat().st_size if log.exists() else 0) + entries


def kill_at_random(folder: Path, chance: random.Random) -> dict[str, int]:
    """Lives until one ends by itself; the others are killed after some progress, half of them during a save."""
    run = folder / "run"
    counts = {"lives": 0, "kills": 0, "kills_while_saving": 0}
    while True:
        child = fork(folder, is_first=not (run / "run.json").exists() or not list(run.glob("step-*")))
        counts["lives"] += 1
        at = signs_of_life(run) + chance.randrange(1, 2500)
        wants_saving = chance.random() < 0.5
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                assert status == 0, f"a life ended with {status}"
                return counts
            is_saving = run.exists() and any(run.glob(".staging-*"))
            if signs_of_life(run) >= at and (is_saving or not wants_saving):
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                if status == 0:
                    return counts
                counts["kills"] += 1
                counts["kills_while_saving"] += is_saving
                if not list(run.glob("step-*")):  # killed before anything was acknowledged: begin again
                    for path in sorted(run.rglob("*"), reverse=True):
                        path.rmdir() if path.is_dir() else path.unlink()
                break
            time.sleep(0.0005)


def difference(unbroken: Path, broken: Path) -> str:
    """The first difference between two runs; empty if there is none."""
    for one, other in zip(read_metrics(unbroken), read_metrics(broken), strict=False):
        kept = [{name: value for name, value in entry.items() if name not in TIMED} for entry in (one, other)]
        if kept[0] != kept[1]:
            return f"{kept[0]} is not {kept[1]}"
    if len(read_metrics(unbroken)) != len(read_metrics(broken)):
        return "not as many steps"
    models = [newest(run, print).folder / "model.safetensors" for run in (unbroken, broken)]
    return "" if models[0].read_bytes() == models[1].read_bytes() else "the weights differ"


def plant(bug: str) -> None:
    """Break the loop on purpose: what the test must notice."""
    if bug == "random state":
        loop.Learner.step.__globals__["mix"] = lambda *numbers: random.getrandbits(63)
    if bug == "data restarts":
        loop.State.from_json = classmethod(lambda cls, said, plain=loop.State.from_json: plain({**said, "cursor": [0]}))
    if bug == "moments forgotten":
        loop.Checkpoint.tensors = lambda self: {}


def main(folder: Path, kills: int, seed: int, bug: str) -> None:
    run_through(folder / "unbroken")
    plant(bug)
    chance = random.Random(seed)
    total = {"runs": 0, "lives": 0, "kills": 0, "kills_while_saving": 0}
    while total["kills"] < kills:
        total["runs"] += 1
        place = folder / f"broken-{total['runs']}"
        place.mkdir()
        for name, count in kill_at_random(place, chance).items():
            total[name] += count
        found = difference(folder / "unbroken/run", place / "run")
        if found:
            print(json.dumps({**total, "difference": found}))
            return
    print(json.dumps({**total, "difference": ""}))


if __name__ == "__main__":
    (folder,) = map(Path, sys.argv[1:2])
    (folder / "unbroken").mkdir(parents=True)
    main(folder, int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "")
