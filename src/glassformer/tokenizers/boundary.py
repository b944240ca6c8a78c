"""The border to the `tokenizers` library: what goes wrong there, Rust panics included, becomes one error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from glassformer.core.errors import GlassformerError

_OURS_OR_A_STOP = (GlassformerError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError)


@contextmanager
def library_errors(
    kind: type[GlassformerError], what: str, *, at: object = None, do: str | None = None
) -> Iterator[None]:
    """Turn any error of the library into ``kind``; a Rust panic is a BaseException, hence the wide net."""
    try:
        yield
    except _OURS_OR_A_STOP:
        raise
    except BaseException as error:
        raise kind(what, at=at, got=error, do=do) from error
