"""Turn texts into vectors with an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from glassformer.commands.generate import asked, load
from glassformer.core.errors import DataError
from glassformer.core.terminal import Progress, print_json

if TYPE_CHECKING:
    from torch import Tensor


def main(
    model: str,
    text: str | None = None,
    /,
    *,
    texts: Path | None = None,
    prompt: str | None = None,
    pool: Literal["first", "last", "mean", "mean_sqrt", "weighted", "max"] | None = None,
    truncate: bool = False,
    out: Path | None = None,
    threads: int | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None,
    device: str = "cpu",
) -> None:
    """Turn texts into vectors; stdout gets one JSON object a text, or a file gets all of them.

    Args:
        model: A folder of sentence-transformers, or of any encoder together with --pool.
        text: The text; when left out it is read from stdin, without its last line break.
        texts: A file of texts, one a line; they are computed together, with the vector that each gets alone.
        prompt: The name of one of the folder's prompts, or the text itself to put in front of each text.
        pool: How the vectors of tokens become one, for a folder that does not say it.
        truncate: Cut texts that are longer than the model; without it they are refused.
        out: Write the vectors to this new file instead, as a NumPy array (.npy) of texts by numbers.
        threads: Processor threads to compute with.
        dtype: Type to compute in; auto takes the fastest one of the device.
        device: Where to compute, for instance cuda.
    """
    from glassformer.core.machine import thread_count
    from glassformer.embed.vectors import embed

    if out is not None and (out.exists() or out.suffix != ".npy"):
        what, expected = ("the output file exists", None) if out.exists() else ("an unknown kind of file", "NAME.npy")
        raise DataError(what, at=out, expected=expected)
    if threads is not None and threads < 1:
        raise DataError("threads", got=threads, expected="at least 1")
    found = asked(text, texts)
    with Progress() as progress:
        progress.update(f"loading {model} ...")
        loaded, tokenizer = load(model, dtype, device)
        with thread_count(threads):
            vectors = embed(
                loaded, found, prompt=prompt, pool=pool, tokenizer=tokenizer, truncate=truncate, progress=progress
            )
    if out is None:
        for one, vector in zip(found, vectors.tolist(), strict=True):
            print_json({"text": one, "vector": vector})
    else:
        write(vectors, out)


def write(vectors: Tensor, out: Path) -> None:
    """A new .npy file, whole or not at all."""
    import numpy

    staging = out.with_name(f".{out.name}.part")
    try:
        with staging.open("xb") as file:
            numpy.save(file, vectors.numpy())
        staging.rename(out)
    except OSError as error:
        raise DataError("cannot be written", at=out, got=error.strerror) from error
    finally:
        staging.unlink(missing_ok=True)
