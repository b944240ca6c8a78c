"""Train a small model on text that Python carries, measure it, write with it and look inside: no file, no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glassformer.core.terminal import Progress, duration, print_json

if TYPE_CHECKING:
    from glassformer.lab.demo import Scores, Written
    from glassformer.train.run import Run

OUT = Path("runs/demo")
#: Of training; reading, the tokenizer and the measuring come on top.
MINUTES = 1.95
SEEN = 64  # tokens of the page


def main(*, minutes: float = MINUTES, out: Path | None = None, seed: int = 0, json: bool = False) -> int:
    """Train a small GPT on Python's own documentation, measure it beside two baselines, write with it, look inside.

    Args:
        minutes: How long to train.
        out: A new folder for the run; runs/demo, or runs/demo-2 and so on, when left out.
        seed: Decides the first weights and the order of the text.
        json: Print one JSON object instead of the report.
    """
    from glassformer.commands.train import EXIT_CODES
    from glassformer.lab import demo

    folder = out if out is not None else free_name(OUT)
    with Progress() as progress:
        data = demo.read(seed, progress)
        run = demo.train(data, minutes=minutes, out=folder, seed=seed, progress=progress)
        if not run.is_finished:
            return EXIT_CODES.get(run.stopped_by or "", 1)  # how to go on was said
        scores = demo.score(run, data, progress)
        written = demo.write(run, data)
        page = demo.draw(run, data, folder / "view.html", tokens=SEEN, progress=progress)
    if json:
        print_json(demo.summary(run, scores, page))
    else:
        report(run, scores, written, page)
    return 0


def free_name(wanted: Path) -> Path:
    """``runs/demo``, or the first of ``runs/demo-2``, ``-3`` … that does not exist: a run is never overwritten."""
    names = (wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}") for number in range(1, 10_000))
    return next(name for name in names if not name.exists())


def report(run: Run, scores: Scores, written: Written, page: Path) -> None:
    """What was reached, in plain words, on stdout."""
    model = run.folder
    size = f"{scores.parameters / 1e6:.2f} M parameters, {run.steps:,} steps"
    print(f"\n{size}, {run.tokens_per_second:,.0f} tokens/s, {duration(scores.seconds)} of training")
    print(f"loss  {curve(run.loss)}  {run.loss[0]:.2f} → {scores.last_loss:.2f} nats per token\n")
    print("bits per byte of held-out text, which no one has seen      topics   docstrings")
    for name, values in scores.rows():
        print(f"  {name:<54} {values['topics']:>8.3f} {values['docs']:>12.3f}")
    print("  (a strong compressor of high order, PPMd, stays ahead: about 1.53 on both)\n")
    print("What it writes is text like Python's documentation, locally English, not meaningful:\n")
    print("\n".join(f"  | {line}" for line in (written.prompt + written.text).splitlines()))
    print(f"\nThe model is a folder that transformers opens: {model}")
    print(f"The inside of it, reading a held-out text: {page}\n\nTry next")
    print(f'  glassformer generate {model} "The \\"for\\" statement" --temperature 0.5 --seed 1')
    print(f'  glassformer see {model} "Return a list of strings."')
    print(f"  glassformer show {model} --names")


def curve(losses: list[float], width: int = 40) -> str:
    """The losses as one row of bars."""
    bars = "▁▂▃▄▅▆▇█"
    size = max(1, len(losses) // width)
    means = [sum(losses[i : i + size]) / len(losses[i : i + size]) for i in range(0, len(losses), size)]
    low, high = min(means), max(means)
    return "".join(bars[round((mean - low) / ((high - low) or 1.0) * (len(bars) - 1))] for mean in means)
