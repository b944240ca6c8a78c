"""Continuing texts: prompts in, text out, whole or piece by piece.

gf.generate(model, tokenizer, "The capital of France is", max_tokens=20)
gf.generate(model, tokenizer, ["2+2=", "3+3="], max_tokens=4, stop=["\\n"])
for piece in gf.stream(model, tokenizer, "Once upon a time", temperature=0.8, seed=1):
    print(piece, end="")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack, overload

from glassformer.core.errors import DataError
from glassformer.data.batch import pad_rows
from glassformer.generate.decode import Decoding, edited
from glassformer.generate.prompt import check_max_tokens
from glassformer.generate.sampling import SamplingConfig
from glassformer.generate.stop import Reason, StopStrings
from glassformer.inside.edits import EditSpec
from glassformer.models.transformer import Transformer
from glassformer.tokenizers.tokenizer import Tokenizer, check_fits

#: Tokens of the prompt that the text of a new token may depend on, for instance whether it begins with a space.
BEFORE = 8

#: Prompts that are computed together.
BATCH_SIZE = 16


@dataclass
class Completion:
    """What follows a prompt: its text so far, the number of its tokens, and why it ended, None while it goes on."""

    prompt: str
    text: str = ""
    tokens: int = 0
    reason: Reason | None = None


class Options(TypedDict, total=False):
    """What may be said about a generation: how long, until which strings, and the fields of a ``SamplingConfig``."""

    max_tokens: int | None
    stop: str | Sequence[str]
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    seed: int | None


@overload
def generate(
    model: Transformer, tokenizer: Tokenizer, prompts: str, *, edits: Iterable[EditSpec] | None = ...,
    batch_size: int = ..., **options: Unpack[Options],
) -> str: ...  # fmt: skip


@overload
def generate(
    model: Transformer, tokenizer: Tokenizer, prompts: list[str] | tuple[str, ...], *,
    edits: Iterable[EditSpec] | None = ..., batch_size: int = ..., **options: Unpack[Options],
) -> list[str]: ...  # fmt: skip


def generate(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: str | list[str] | tuple[str, ...],
    *,
    edits: Iterable[EditSpec] | None = None,
    batch_size: int = BATCH_SIZE,
    **options: Unpack[Options],
) -> str | list[str]:
    """The text that follows a prompt, or the answer of an encoder-decoder; of several prompts a list.

    Without options the most probable tokens until the model ends the text, at most 256 · edits: made in every step ·
    batch_size: how many prompts are computed together, for speed alone · options: see ``Options``.

    Raises:
        ConfigError: an option out of its range, or a tokenizer with tokens that the model does not know.
        DataError: an empty prompt, or one that leaves no room for the new tokens.
    """
    found = completions(
        model, tokenizer, [prompts] if isinstance(prompts, str) else prompts, edits, batch_size, options
    )
    texts = [completion.text for completion in found]
    return texts[0] if isinstance(prompts, str) else texts


def stream(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    edits: Iterable[EditSpec] | None = None,
    **options: Unpack[Options],
) -> Iterator[str]:
    """The pieces of what ``generate`` returns, as soon as each is certain; never a part of a character."""
    made = list(edits or ())
    writing = Writing(model, tokenizer, [prompt], fast=not made, **options)  # refuses now, not when it is iterated

    def pieces() -> Iterator[str]:
        with edited(model, made):
            for _, piece in writing:
                yield piece

    return pieces()


def completions(
    model: Transformer, tokenizer: Tokenizer, prompts: Sequence[str], edits: Iterable[EditSpec] | None, batch_size: int,
    options: Options,
) -> list[Completion]:  # fmt: skip
    """What follows each prompt, with the number of tokens and the reason for ending."""
    found: list[Completion] = []
    with edited(model, edits):
        for writing in writings(model, tokenizer, prompts, batch_size, options):
            for _ in writing:
                continue
            found += writing.completions
    return found


def writings(
    model: Transformer, tokenizer: Tokenizer, prompts: Sequence[str], batch_size: int, options: Options
) -> Iterator[Writing]:
    """One ``Writing`` a batch; the number of a row, and so its draws, do not depend on the batches."""
    if batch_size < 1:
        raise DataError("batch_size", got=batch_size, expected="at least 1")
    for first in range(0, len(prompts), batch_size):
        yield Writing(model, tokenizer, prompts[first : first + batch_size], first_row=first, **options)


def understood(options: Options) -> tuple[SamplingConfig, tuple[str, ...], int | None]:
    """How tokens are chosen, the stop strings, and how many tokens there may be.

    Raises:
        ConfigError: a field of the sampling is out of its range.
        DataError: an empty stop string, or less than one token.
    """
    fields = {name: value for name, value in options.items() if name not in ("stop", "max_tokens")}
    stop, max_tokens = options.get("stop", ()), options.get("max_tokens")
    stops = StopStrings((stop,) if isinstance(stop, str) else stop).strings
    check_max_tokens(max_tokens)
    return SamplingConfig(**fields), stops, max_tokens  # type: ignore[arg-type]  # Options has the same names


class Writing:
    """Prompts, texts or their tokens, that are being continued as one batch; iterate for (row, piece of text).

    ``completions`` holds what there is so far. Arguments as in ``generate``.
    """

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, prompts: Sequence[str | list[int]], *, first_row: int = 0,
        fast: bool = True, **options: Unpack[Options],
    ) -> None:  # fmt: skip
        check_fits(tokenizer, model.config.vocab_size)
        sampling, stops, max_tokens = understood(options)
        rows = [_encoded(model, tokenizer, prompt, first_row + row) for row, prompt in enumerate(prompts)]
        before = [row if model.encoder is None else [] for row in rows]
        self.completions = [
            Completion(prompt if isinstance(prompt, str) else tokenizer.decode(prompt)) for prompt in prompts
        ]
        self.texts = [RowText(tokenizer, row[-BEFORE:], stops) for row in before]
        self.decoding = Decoding(
            model, pad_rows(rows), max_tokens=max_tokens, sampling=sampling, fast=fast, first_row=first_row
        )

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for new in self.decoding:
            for row, token in new.items():
                piece = self._push(row, token)
                if piece:
                    self.completions[row].text += piece
                    yield row, piece

    def cut(self) -> None:
        """Add what is held back to texts that are not done: it may be the beginning of a stop string."""
        for completion, text in zip(self.completions, self.texts, strict=True):
            if completion.reason is None:
                completion.text += text.stops.finish()

    def _push(self, row: int, token: int) -> str:
        """The text that a token makes certain."""
        completion, text = self.completions[row], self.texts[row]
        completion.tokens += 1
        piece = "" if token in self.decoding.ends else text.push(token)
        if text.stopped:
            self.decoding.stop(row)
        completion.reason = self.decoding.reasons[row]
        return piece if completion.reason in (None, "stop") else piece + text.finish()


class RowText:
    """The text of one row's new tokens, up to a stop string; ``before``: the last tokens of its prompt."""

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int], stops: Sequence[str]) -> None:
        self.tokenizer, self.decoder, self.stops = tokenizer, tokenizer.stream(), StopStrings(stops)
        for token in before:
            self.decoder.push(token)

    def push(self, token: int) -> str:
        """The text that this token makes certain; one that only the model's padded vocabulary has adds none."""
        return self.stops.push(self.decoder.push(token)) if self._is_known(token) else ""

    def finish(self) -> str:
        """What was held back, for a text that ends here."""
        return self.stops.push(self.decoder.finish()) + self.stops.finish()

    def _is_known(self, token: int) -> bool:
        try:
            self.tokenizer.token_content(token)
        except DataError:
            return False
        return True

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return self.stops.found is not None


def _encoded(model: Transformer, tokenizer: Tokenizer, prompt: str | list[int], row: int) -> list[int]:
    """The prompt's tokens; of an empty one the token with which texts start."""
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    if ids:
        return ids
    start = model.special.start if model.encoder is None else None
    if start is None:
        raise DataError("the prompt has no token", at=f"row {row}", do="give it at least one character")
    return [start]
