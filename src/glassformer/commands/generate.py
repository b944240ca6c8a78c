"""Continue a text with a model, or answer it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from glassformer.core.errors import DataError
from glassformer.core.terminal import Progress, is_live, print_json, styled

if TYPE_CHECKING:
    from glassformer.generate.text import AllOptions, Completion, Searching, Writing
    from glassformer.models.transformer import Transformer
    from glassformer.tokenizers.tokenizer import Tokenizer

#: Characters with which a text could steer a terminal; line break and tab are text.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

#: What beams call it in Python.
STOPPING: dict[str, bool | Literal["never"]] = {"yes": True, "no": False, "never": "never"}


def main(
    model: str,
    prompt: str | None = None,
    /,
    *,
    prompts: Path | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    no_repeat_ngram: int | None = None,
    seed: int | None = None,
    beams: int | None = None,
    length_penalty: float | None = None,
    n_best: int | None = None,
    early_stopping: Literal["yes", "no", "never"] | None = None,
    stop: tuple[str, ...] = (),
    edits: Path | None = None,
    adapter: Path | None = None,
    batch_size: int = 16,
    json: bool = False,
    threads: int | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None,
    device: str = "cpu",
) -> None:
    """Continue a text with a model, or answer it with an encoder-decoder; stdout gets the new text alone.

    The most probable token is taken each time, unless an option asks for drawing: temperature, top-k, top-p or min-p.

    Args:
        model: A folder with config.json, weights and a tokenizer.
        prompt: The text to continue; when left out it is read from stdin, without its last line break.
        prompts: A file of prompts, one a line; they are computed together, with the text that each gets alone.
        max_tokens: New tokens at most; when left out 256, or fewer where the model's longest text ends before.
        temperature: Draw, with scores divided by this; below 1 sharper, above 1 flatter, 0 draws nothing.
        top_k: Draw from so many of the best tokens.
        top_p: Draw from the best tokens that together reach this probability.
        min_p: Draw from the tokens with at least this share of the best one's probability.
        repetition_penalty: Divide the scores of tokens that are already there by this; 1 changes nothing.
        no_repeat_ngram: No so many tokens in a row a second time, the prompt included.
        seed: The same draws each time.
        beams: Search the most probable text, continuing so many at once; nothing is drawn.
        length_penalty: Divide the score of a text by its length to this power, 1 when left out; more favours long ones.
        n_best: Print so many of the best texts of each prompt, one a line behind its score.
        early_stopping: End a search when it has as many texts as beams (yes), when the best beam is worse than all of
            them (no, and when left out), or when no length can make it better (never).
        stop: End the text before this string; may be given several times.
        edits: A file of edits that are made to the model's values in every step.
        adapter: A folder of peft with low-rank changes of the model, which are merged into it.
        batch_size: How many prompts of a file are computed together.
        json: Print one JSON object a prompt, with the number of tokens and the reason for ending.
        threads: Processor threads to compute with.
        dtype: Type to compute in; auto takes the fastest one of the device.
        device: Where to compute, for instance cuda.
    """
    from glassformer.core.machine import thread_count
    from glassformer.generate.decode import edited
    from glassformer.generate.text import understood, writings
    from glassformer.inside.edits import load as load_edits

    texts = asked(prompt, prompts)
    if threads is not None and threads < 1:
        raise DataError("threads", got=threads, expected="at least 1")
    options: AllOptions = {
        "max_tokens": max_tokens, "stop": stop, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "min_p": min_p, "repetition_penalty": repetition_penalty, "no_repeat_ngram": no_repeat_ngram, "seed": seed,
        "beams": beams, "length_penalty": length_penalty, "n_best": n_best,
        "early_stopping": None if early_stopping is None else STOPPING[early_stopping],
    }  # fmt: skip
    understood(options)
    made = None if edits is None else load_edits(edits)
    with Progress() as progress:
        progress.update(f"loading {model} ...")
        loaded, tokenizer = load(model, dtype, device, adapter)
    with thread_count(threads), edited(loaded, made):
        batches = writings(loaded, tokenizer, texts, batch_size, options)
        ended = [write_one(next(batches), json)] if prompts is None else write_all(batches, len(texts), json)
    if max_tokens is None and not json:
        say_length(ended)


# -- prompts in --------------------------------------------------------------------------------------------------------


def asked(prompt: str | None, prompts: Path | None) -> list[str]:
    """The prompt of the command line, those of a file, or the text on stdin.

    Raises:
        DataError: none, two of them, an empty line in the file, or no UTF-8 text.
    """
    from glassformer.data.text import decode_utf8

    if prompts is not None:
        if prompt is not None:
            raise DataError("a prompt and a file of prompts", expected="one of them")
        return lines(decode_utf8(prompts.read_bytes(), at=prompts), prompts)
    if prompt is not None:
        return [prompt]
    if sys.stdin.isatty():
        raise DataError("no prompt", do="write one behind the model, name a file with --prompts, or pipe a text in")
    return [decode_utf8(sys.stdin.buffer.read(), at="stdin").removesuffix("\n").removesuffix("\r")]


def lines(text: str, file: Path) -> list[str]:
    """The prompts of a file, one a line."""
    found = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if "" in found:
        raise DataError("an empty prompt", at=f"{file}, line {found.index('') + 1}", expected="one prompt a line")
    return found


def load(model: str, dtype: str | None, device: str, adapter: Path | None = None) -> tuple[Transformer, Tokenizer]:
    """The model, an adapter merged into it, and its tokenizer; the tokenizer first, for it is the sooner to fail."""
    from glassformer.checkpoints.folder import load as load_model
    from glassformer.core.hub import local
    from glassformer.core.machine import compute_dtype
    from glassformer.models.adapters import merge
    from glassformer.tokenizers.tokenizer import Tokenizer

    place = local(model)
    tokenizer = Tokenizer.load(place)
    kind = compute_dtype(device) if dtype == "auto" else dtype
    loaded = load_model(place, dtype=kind, device=device, adapter=adapter)
    if adapter is not None:
        merge(loaded)
    return loaded, tokenizer


# -- texts out ---------------------------------------------------------------------------------------------------------


def write_one(writing: Writing | Searching, json: bool) -> Completion:
    """Print what follows one prompt: as it comes, or one JSON object at the end; also where Ctrl-C ends it."""
    completion, shown = writing.completions[0], 0
    try:
        for _, piece in writing:
            if not json:
                print(visible(piece), end="", flush=True)
                shown += len(piece)
    except KeyboardInterrupt:
        writing.cut()
        end_one(completion, shown, json)
        raise
    end_one(completion, shown, json)
    return completion


def end_one(completion: Completion, shown: int, json: bool) -> None:
    """Print what is left of a text of which so many characters were shown."""
    print_json(described(completion)) if json else print(visible(written(completion)[shown:]))


def written(completion: Completion) -> str:
    """The text, or of several one a line behind its score."""
    if not completion.n_best:
        return completion.text
    return "\n".join(f"{one.score:.4f}\t{one.text}" for one in completion.n_best)


def write_all(batches: Iterator[Writing | Searching], count: int, json: bool) -> list[Completion]:
    """Print what follows each of ``count`` prompts, batch by batch; also what there is where Ctrl-C ends it."""
    ended: list[Completion] = []
    start = time.monotonic()
    with Progress() as progress:
        for writing in batches:
            try:
                for _ in writing:
                    progress.update(state(ended + writing.completions, count, time.monotonic() - start))
            except KeyboardInterrupt:
                writing.cut()
                show_all(writing.completions, json)
                raise
            show_all(writing.completions, json)
            ended += writing.completions
    return ended


def state(completions: list[Completion], count: int, seconds: float) -> str:
    """``12 of 100 prompts · 340 tokens/s``."""
    done = sum(completion.reason is not None for completion in completions)
    tokens = sum(completion.tokens for completion in completions)
    return f"{done} of {count} prompts · {tokens / max(seconds, 1e-9):.0f} tokens/s"


def show_all(completions: list[Completion], json: bool) -> None:
    """Texts below their prompts, or one JSON object each."""
    for completion in completions:
        if json:
            print_json(described(completion))
        else:
            header = styled(f"> {visible(completion.prompt)}", "bold", stream=sys.stdout)
            print(f"{header}\n{visible(written(completion))}\n", flush=True)


def described(completion: Completion) -> dict[str, object]:
    """What ``--json`` says; a text that Ctrl-C ended is interrupted."""
    said = {"prompt": completion.prompt, **text_of(completion)}
    return {**said, "n_best": [text_of(one) for one in completion.n_best]} if completion.n_best else said


def text_of(completion: Completion) -> dict[str, object]:
    """A text, its length, why it ended and, of a beam, its score."""
    reason = completion.reason or "interrupted"
    said: dict[str, object] = {"text": completion.text, "tokens": completion.tokens, "reason": reason}
    return said if completion.score is None else {**said, "score": completion.score}


def visible(text: str) -> str:
    """A text as it is; on a terminal with its control characters to be seen and not to be obeyed."""
    return STEERING.sub(lambda found: f"‹{ord(found[0]):02x}›", text) if is_live(sys.stdout) else text


def say_length(completions: list[Completion]) -> None:
    """Tell on stderr that a text ended because nobody said how long it may be."""
    cut = [completion.tokens for completion in completions if completion.reason == "length"]
    if cut:
        which = "ended" if len(completions) == 1 else f"{len(cut)} of {len(completions)} texts ended"
        print(f"{which} after {max(cut)} tokens · --max-tokens N for another length", file=sys.stderr)
