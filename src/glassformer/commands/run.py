"""Do with texts what a model is for: classify, tag, answer, translate ..."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from glassformer.commands.generate import load, visible
from glassformer.core.errors import DataError, UnsupportedError
from glassformer.core.terminal import Progress, print_json

if TYPE_CHECKING:
    from glassformer.data.examples import Example
    from glassformer.evaluate.task import Hand, Task

#: What is said to ``generate``, and the options that say something to some kinds of models only.
WRITING = ("max_tokens", "beams", "length_penalty")
SPECIAL = ("prefix", "top", *WRITING)
OPTIONS = {"write": {"prefix", *WRITING}, "continue": {"prefix", *WRITING}, "classify": {"top"}, "guess": {"top"}}
TEXT_FILES = (".txt", ".text")


def main(
    model: str,
    text: str | None = None,
    second: str | None = None,
    /,
    *,
    file: Path | None = None,
    field: tuple[str, ...] = (),
    prefix: str | None = None,
    top: int | None = None,
    max_tokens: int | None = None,
    beams: int | None = None,
    length_penalty: float | None = None,
    truncate: bool = False,
    adapter: Path | None = None,
    batch_tokens: int | None = None,
    json: bool = False,
    threads: int | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None,
    device: str = "cpu",
) -> None:
    """Do with texts what a model is for, as its folder says; one line a text, in the order of the texts.

    A class with its probability, a number, the tag of each word, an answer with its score, a translation or summary, a
    continuation, the words behind masks, or a vector. classify, tag, answer, translate and summarize are the same, for
    models of that kind alone.

    Args:
        model: A folder with config.json, weights and a tokenizer.
        text: The text, or the question; when left out texts are read from stdin, one a line.
        second: The second text of a pair, or the context of the question.
        file: A file of texts instead: .txt one a line, or .tsv, .csv, .jsonl and others with fields.
        field: Of a file with fields, WORD=NAME, such as text=review; a number is a column of a table without a header.
        prefix: Put this in front of each text that is to be answered by a text.
        top: Say so many classes of a text, or guesses of a mask.
        max_tokens: New tokens at most, of a model that writes.
        beams: Search the most probable text, continuing so many at once.
        length_penalty: With beams: more favours long texts.
        truncate: Cut texts that are longer than the model; without it they are refused.
        adapter: A folder of peft with low-rank changes of the model, which are merged into it.
        batch_tokens: Tokens computed at once, 4096.
        json: Print one JSON object a text.
        threads: Processor threads to compute with.
        dtype: Type to compute in; auto takes the fastest one of the device.
        device: Where to compute, for instance cuda.
    """
    work(dict(locals()))


def alias(word: str, says: str, *, second: bool = False) -> Callable[..., None]:
    """``run`` for the models of one task alone, with the arguments and options that say something to them."""
    import functools
    import inspect

    signature = inspect.signature(main)
    leaves_out = {*SPECIAL} - OPTIONS.get(word, set()) | (set() if second else {"second"})
    defaults: dict[str, Any] = {name: one.default for name, one in signature.parameters.items()}

    @functools.wraps(main)
    def only(model: str, text: str | None = None, second: str | None = None, /, **options: Any) -> None:
        work({**defaults, "model": model, "text": text, "second": second, **options}, word)

    _, _, arguments = (main.__doc__ or "").partition("    Args:")
    only.__doc__ = f"{says}\n\n    Args:{arguments}"
    kept = [one for name, one in signature.parameters.items() if name not in leaves_out]
    only.__dict__["__signature__"] = signature.replace(parameters=kept)
    return only


def work(said: dict[str, Any], word: str | None = None) -> None:
    """Load, read, predict, print."""
    from glassformer.core.machine import thread_count
    from glassformer.evaluate.task import task_of

    check(said)
    with Progress() as progress:
        progress.update(f"loading {said['model']} ...")
        loaded, tokenizer = load(said["model"], said["dtype"], said["device"], said["adapter"])
        task = task_of(loaded)
        refuse(task, said, word)
        examples = read(task, said)
        hand = hand_of(loaded, tokenizer, said, progress)
        with thread_count(said["threads"]):
            found = task.predict(examples, hand)
    for example, prediction in zip(examples, found, strict=True):
        if said["json"]:
            print_json({**asked(task, example), **prediction.said})
        else:
            print(visible(prediction.line))


def check(said: dict[str, Any]) -> None:
    """Refuse numbers below one."""
    for name in ("threads", "top", "batch_tokens", "draws"):
        if said.get(name) is not None and said[name] < 1:
            raise DataError(name.replace("_", "-"), got=said[name], expected="at least 1")


def hand_of(loaded: Any, tokenizer: Any, said: dict[str, Any], progress: Progress) -> Hand:
    """The model at hand, asked as the command line says."""
    from glassformer.evaluate.task import BATCH_TOKENS, Hand

    options: dict[str, Any] = {name: said[name] for name in WRITING if said[name] is not None}
    return Hand(
        loaded, tokenizer, said["truncate"], said.get("top"), said["prefix"] or "",
        said["batch_tokens"] or BATCH_TOKENS, options, progress,
    )  # fmt: skip


def refuse(task: Task, said: dict[str, Any], word: str | None = None) -> None:
    """Refuse a model of another kind than an alias is for, and options that say nothing to this kind.

    Raises:
        UnsupportedError: One of these.
    """
    if word is not None and word != task.WORD:
        raise UnsupportedError(f"this model can {task.WORD}", got=f"one is to {word}", do="use glassformer run")
    for name in SPECIAL:
        if said.get(name) is not None and name not in OPTIONS.get(task.WORD, ()):
            option = f"--{name.replace('_', '-')}"
            raise UnsupportedError(f"{option} says nothing to a model that can {task.WORD}", do="leave it out")


# -- texts in ----------------------------------------------------------------------------------------------------------


def read(task: Task, said: dict[str, Any]) -> list[Example]:
    """The texts of the command line, of a file or of stdin.

    Raises:
        DataError: Two of these, an empty line, or a field that is not there; with its place.
    """
    text, second, file = said["text"], said["second"], said["file"]
    if file is not None and text is not None:
        raise DataError("a text and a file of texts", expected="one of them")
    if said["field"] and file is None:
        raise DataError("--field is for a file with fields", got="no file")
    if second is not None and task.PAIR is None:
        raise DataError(f"a second text for a model that can {task.WORD}", expected="one text")
    if file is not None:
        is_plain = file.suffix in TEXT_FILES and not said["field"]
        return plain(task, content_of(file), file) if is_plain else fielded(file, said["field"])
    if text is None and sys.stdin.isatty():
        raise DataError("no text", do="write one behind the model, name a file with --file, or pipe texts in")
    return plain(task, sys.stdin.buffer.read(), "stdin") if text is None else [one(task, text, second)]


def content_of(file: Path) -> bytes:
    """The bytes of a file that must be there."""
    from glassformer.data.files import files_under, read_bytes

    ((found, _),) = files_under(file)
    return read_bytes(found)


def one(task: Task, text: str, second: str | None) -> Example:
    """The example of the command line."""
    from glassformer.data.examples import Example

    pair = {task.PAIR: second} if task.PAIR is not None and second is not None else {}
    return Example("the text", {task.FIELDS[0]: text, **pair})


def plain(task: Task, content: bytes, place: object) -> list[Example]:
    """One text a line."""
    from glassformer.data.examples import Example
    from glassformer.data.text import decode_utf8

    lines = decode_utf8(content, at=place).removesuffix("\n").split("\n")
    if lines == [""]:
        raise DataError("empty: there are no texts here", at=place)
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise DataError("an empty text", at=f"{place}, line {number}", expected="one text a line")
        found.append(Example(f"{place}, line {number}", {task.FIELDS[0]: line.removesuffix("\r")}))
    return found


def fielded(file: Path, field: Sequence[str]) -> list[Example]:
    """The examples of a file with fields."""
    from glassformer.commands._settings import fields_of
    from glassformer.data.examples import read_examples

    return list(read_examples(file, fields_of(tuple(field))))


def asked(task: Task, example: Example) -> dict[str, Any]:
    """What was asked, in front of what is said of it."""
    words = (*task.FIELDS, "text", task.PAIR)
    return {word: example.fields[word] for word in dict.fromkeys(words) if word is not None and word in example.fields}
