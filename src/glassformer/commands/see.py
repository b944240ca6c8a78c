"""Look inside a model that reads a text: surprise, guesses of each layer, every head."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from glassformer.core.errors import CheckpointError
from glassformer.core.terminal import Progress, print_json

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from glassformer.inside.view import Guess, View

#: Layers between the embedding and the output that the table shows.
MIDDLE_LAYERS = 3
#: Guesses of the output that the table shows.
BEST = 3
UNSEEN = re.compile("[\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
NAMED = {"\n": "↵", "\t": "⇥"}


def main(
    model: str,
    text: str,
    /,
    *,
    target: str | None = None,
    html: Path | None = None,
    force: bool = False,
    json: bool = False,
) -> None:
    """Look inside a model that reads a text: what surprised it, what each layer would have said, where every head
    looks.

    Args:
        model: A folder with config.json, weights and a tokenizer.
        text: What it reads; at most 512 tokens.
        target: What an encoder-decoder writes for the text.
        html: Write one self-contained page to this file, for any browser, without a network.
        force: Overwrite the file.
        json: Print one JSON object with everything that the page shows.
    """
    if html is not None:
        check_writable(html, force)
    with Progress() as progress:
        view = look(model, text, target, progress)
        if html is not None:
            progress.update(f"writing {html}")
            write_whole(html, view.to_html(), force)
            progress.update(f"wrote {html} ({html.stat().st_size / 1e6:.1f} MB); open it in a browser")
    if json:
        print_json(view.to_json())
    else:
        show(view)


def look(model: str, text: str, target: str | None, progress: Progress) -> View:
    """Load a model and its tokenizer, and run it once."""
    progress.update(f"loading {model} ...")
    from glassformer.checkpoints.folder import load
    from glassformer.core.hub import local
    from glassformer.inside import view
    from glassformer.tokenizers.tokenizer import Tokenizer, check_fits

    place = local(model)
    loaded, tokenizer = load(place), Tokenizer.load(place)
    check_fits(tokenizer, loaded.config.vocab_size)
    return view.look(loaded, tokenizer, text, target=target, name=model, say=progress.update)


def check_writable(file: Path, force: bool) -> None:
    """Refuse a page that cannot be written, before the work.

    Raises:
        CheckpointError: it exists and is not to be overwritten, or its folder does not exist.
    """
    if not file.parent.is_dir():
        raise CheckpointError("no such folder", at=file.parent, do="make it, or name another file")
    if file.is_dir():
        raise CheckpointError("is a folder", at=file, expected="a file, for instance view.html")
    if file.exists() and not force:
        raise CheckpointError("exists already", at=file, do="name another file, or add --force")


def write_whole(file: Path, text: str, force: bool) -> None:
    """Write a file so that it is there whole or not at all; an existing one is replaced only with ``force``.

    Raises:
        CheckpointError: the disk refuses, or the file appeared during the work.
    """
    from glassformer.core.files import refused, sync

    draft = file.with_name(f".{file.name}.draft-{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        sync(draft)
        check_writable(file, force)
        draft.replace(file)
    except OSError as error:
        raise refused(error, file) from error
    finally:
        draft.unlink(missing_ok=True)


# -- the terminal ------------------------------------------------------------------------------------------------------


def show(view: View) -> None:
    """A table on stdout: one row a token; colours on a terminal only."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 10_000  # nothing is cut in a pipe
    console.print(f"{view.model}: {view.about}")
    if view.predicts != "nothing":
        console.print(table(view))
    console.print(closing(view))


def table(view: View) -> Table:
    """token · bits · the best guess of some layers · the best few of the output."""
    from rich.table import Table
    from rich.text import Text

    layers = middle_layers(len(view.lens))
    out = Table(box=None, pad_edge=False, header_style="dim")
    out.add_column("", justify="right", style="dim")
    out.add_column("token", no_wrap=True, max_width=18)
    out.add_column("bits", justify="right")
    for layer in layers:
        out.add_column(view.lens[layer].name, no_wrap=True, max_width=14)
    out.add_column(f"output, {view.lens[-1].name}")
    ends = range(len(view.tokens) + (view.predicts == "next"))
    for index in ends:
        is_text = index < len(view.tokens)
        bits = view.bits[index] if is_text else None
        token = visible(view.tokens[index]) if is_text else "(next)"
        actual = view.tokens[index] if is_text else None
        firsts = [best(view.guesses(layer, index)[:1], actual, with_share=False) for layer in layers]
        out.add_row(
            str(index) if is_text else "",
            Text(token, style=heat(bits, view.vocab_size) if is_text else "dim"),
            "" if bits is None else f"{bits:.2f}",
            *firsts,
            best(view.guesses(-1, index)[:BEST], actual, with_share=True),
        )
    return out


def middle_layers(count: int) -> list[int]:
    """Indices of a few layers, spread evenly between the first and the last of ``count``, which is left out."""
    between = min(MIDDLE_LAYERS, count - 1)
    return sorted({round(step * (count - 1) / between) for step in range(between)}) if between else []


def best(guesses: tuple[Guess, ...], actual: str | None, *, with_share: bool) -> Text:
    """Guesses in a row; the right one is green."""
    from rich.text import Text

    out = Text()
    for rank, guess in enumerate(guesses):
        out.append("   " if rank else "")
        out.append(visible(guess.token), style="green" if guess.token == actual else "")
        out.append(f" {guess.probability:.0%}" if with_share else "", style="dim")
    return out


def heat(bits: float | None, vocab_size: int) -> str:
    """The colour of a surprise: plain, yellow from a third of a blind guess, red from two thirds."""
    from math import log2

    share = 0.0 if bits is None else bits / log2(max(2, vocab_size))
    return "bold red" if share > 2 / 3 else "yellow" if share > 1 / 3 else ""


def visible(text: str) -> str:
    """A token with its spaces, line ends and control characters to be seen, on one line."""
    if text == "":
        return "∅"
    shown = UNSEEN.sub(lambda found: NAMED.get(found[0], f"‹{ord(found[0]):04x}›"), text)
    return re.sub(r"^ | $", "␣", shown)


def closing(view: View) -> str:
    """The mean surprise and what else there is to see."""
    known = [bits for bits in view.bits if bits is not None]
    heads = sum(layer.weights.shape[0] for group in view.patterns for layer in group.layers)
    mean = [f"{sum(known) / len(known):.2f} bits a token on average"] if known else []
    return " · ".join([*mean, f"{heads} attention heads: add --html FILE to see them"])
