"""Measure a model on data: the metrics of its task, beside those of trivial answers."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from glassformer.commands.generate import load
from glassformer.commands.run import check, fielded, hand_of, refuse
from glassformer.core.terminal import Progress, print_json, styled

if TYPE_CHECKING:
    from glassformer.data.examples import Example
    from glassformer.evaluate.measure import Measured
    from glassformer.evaluate.task import Task


def main(
    model: str,
    data: str,
    /,
    *,
    field: tuple[str, ...] = (),
    metric: tuple[str, ...] = (),
    prefix: str | None = None,
    max_tokens: int | None = None,
    beams: int | None = None,
    length_penalty: float | None = None,
    truncate: bool = False,
    adapter: Path | None = None,
    draws: int = 1000,
    seed: int = 0,
    batch_tokens: int | None = None,
    json: bool = False,
    threads: int | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None,
    device: str = "cpu",
) -> None:
    """Measure a model on data: each metric with its 95 % interval, beside the same metric of trivial answers.

    The folder says the task. Fields are text (and pair) and label for classes and numbers; words and tags; question,
    context and answer; source and target; a decoder is measured on any text.

    Args:
        model: A folder with config.json, weights and a tokenizer.
        data: A file or a folder; for a decoder also embedded:NAME.
        field: WORD=NAME, such as label=stars; a number is a column of a table without a header.
        metric: Measure this instead of the usual: accuracy, macro_f1, matthews; spearman, pearson, absolute_error;
            entity_f1, tag_accuracy; squad_exact_match, squad_f1; bleu, chrf, ter, rouge_1, rouge_2, rouge_l,
            exact_match, wer, cer; bits_per_byte, perplexity. May be given several times.
        prefix: Put this in front of each source.
        max_tokens: New tokens at most, of a model that writes.
        beams: Search the most probable text, continuing so many at once.
        length_penalty: With beams: more favours long texts.
        truncate: Cut texts that are longer than the model; without it they are refused.
        adapter: A folder of peft with low-rank changes of the model, which are merged into it.
        draws: How many times the examples are drawn anew for an interval.
        seed: The same draws each time.
        batch_tokens: Tokens computed at once, 4096.
        json: Print one JSON object.
        threads: Processor threads to compute with.
        dtype: Type to compute in; auto takes the fastest one of the device.
        device: Where to compute, for instance cuda.
    """
    work(dict(locals()))


def work(said: dict[str, Any]) -> None:
    """Load, read, measure, print."""
    from glassformer.core.machine import thread_count
    from glassformer.evaluate.measure import measure
    from glassformer.evaluate.task import task_of

    check(said)
    begin = time.monotonic()
    with Progress() as progress:
        progress.update(f"loading {said['model']} ...")
        loaded, tokenizer = load(said["model"], said["dtype"], said["device"], said["adapter"])
        task = task_of(loaded, measures=True)
        refuse(task, said)
        examples = read(task, said)
        hand = hand_of(loaded, tokenizer, said, progress)
        with thread_count(said["threads"]):
            found, count = measure(task, examples, hand, said["metric"], draws=said["draws"], seed=said["seed"])
    seconds = time.monotonic() - begin
    if said["json"]:
        metrics = {one.metric: one.to_json() for one in found}
        print_json({"model": said["model"], "data": said["data"], "task": task.WORD, "examples": count,
                    "seconds": seconds, "metrics": metrics})  # fmt: skip
    else:
        print("\n".join([*table(found), f"{count:,} {noun(task)} · floor: {task.FLOOR} · {seconds:.1f} s"]))


def read(task: Task, said: dict[str, Any]) -> list[Example]:
    """The examples; for a decoder, the documents of any source of text."""
    from glassformer.commands._settings import fields_of
    from glassformer.data.examples import Example
    from glassformer.data.sources import open_source

    if task.KIND != "tokens":
        return fielded(Path(said["data"]), said["field"])
    source = open_source(said["data"], field=fields_of(said["field"]).get("text", "text"))
    return [Example(document.name, {"text": document.text}) for document in source.documents()]


def noun(task: Task) -> str:
    """What is compared one by one."""
    return "pieces" if task.KIND == "tokens" else "examples"


def table(found: list[Measured]) -> list[str]:
    """A line a metric: its value, its interval, its floor."""
    width = max(len(one.metric) for one in found)
    lines = []
    for one in found:
        value = styled(number(one.value), "bold", stream=sys.stdout)
        interval = f"[{number(one.low)}, {number(one.high)}]"
        lines.append(f"{one.metric:<{width}}  {value}  {interval}  floor {number(one.floor)}")
        lines += [] if one.signature is None else [f"{'':<{width}}  {one.signature}"]
    return lines


def number(value: float) -> str:
    """Four digits behind the point for shares, fewer for large numbers."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
