"""Continuing texts: prompts in, text out, whole or piece by piece.

gf.generate(model, tokenizer, "The capital of France is", max_tokens=20)
gf.generate(model, tokenizer, ["2+2=", "3+3="], max_tokens=4, stop=["\\n"])
gf.generate(model, tokenizer, "Das Haus ist klein.", beams=5)
for piece in gf.stream(model, tokenizer, "Once upon a time", temperature=0.8, seed=1):
    print(piece, end="")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Unpack, overload

from glassformer.core.errors import ConfigError, DataError
from glassformer.data.batch import pad_rows
from glassformer.generate.beam_config import BeamConfig, BeamOptions, SearchOptions, beams_of
from glassformer.generate.decode import Decoding, edited, generate_tokens
from glassformer.generate.generated import Generated
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
    """What follows a prompt: its text so far, the number of its tokens, and why it ended, None while it goes on.

    score: of the text, with beams · n_best: the best texts, this one the first of them, where several were asked for.
    """

    prompt: str
    text: str = ""
    tokens: int = 0
    reason: Reason | None = None
    score: float | None = None
    n_best: list[Completion] = field(default_factory=list)


class Options(SearchOptions, total=False):
    """What may be said about a generation: how long, until which strings, and the fields of a ``SamplingConfig`` and of
    a ``BeamConfig``."""

    max_tokens: int | None
    stop: str | Sequence[str]
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    no_repeat_ngram: int | None
    min_tokens: int | None
    seed: int | None


class AllOptions(Options, total=False):
    """The options, and how many of the best texts come back."""

    n_best: int | None


class Asked(NamedTuple):
    """Options that were checked: how tokens are chosen, how texts are searched, stop strings, new tokens at most."""

    sampling: SamplingConfig
    search: BeamConfig | None
    stops: tuple[str, ...]
    max_tokens: int | None


@overload
def generate(
    model: Transformer, tokenizer: Tokenizer, prompts: str, *, n_best: None = ...,
    edits: Iterable[EditSpec] | None = ..., batch_size: int = ..., **options: Unpack[Options],
) -> str: ...  # fmt: skip


@overload
def generate(
    model: Transformer, tokenizer: Tokenizer, prompts: list[str] | tuple[str, ...], *, n_best: None = ...,
    edits: Iterable[EditSpec] | None = ..., batch_size: int = ..., **options: Unpack[Options],
) -> list[str]: ...  # fmt: skip


@overload
def generate(
    model: Transformer, tokenizer: Tokenizer, prompts: str, *, n_best: int, edits: Iterable[EditSpec] | None = ...,
    batch_size: int = ..., **options: Unpack[Options],
) -> list[str]: ...  # fmt: skip


@overload
def generate(
    model: Transformer, tokenizer: Tokenizer, prompts: list[str] | tuple[str, ...], *, n_best: int,
    edits: Iterable[EditSpec] | None = ..., batch_size: int = ..., **options: Unpack[Options],
) -> list[list[str]]: ...  # fmt: skip


def generate(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: str | list[str] | tuple[str, ...],
    *,
    n_best: int | None = None,
    edits: Iterable[EditSpec] | None = None,
    batch_size: int = BATCH_SIZE,
    **options: Unpack[Options],
) -> str | list[str] | list[list[str]]:
    """The text that follows a prompt, or the answer of an encoder-decoder; of several prompts a list.

    Without options the most probable tokens until the model ends the text, at most 256 · n_best: with beams, a list of
    so many of the best texts of each prompt · edits: made in every step · batch_size: how many prompts are computed
    together, for speed alone · options: see ``Options``.

    Raises:
        ConfigError: an option out of its range, or a tokenizer with tokens that the model does not know.
        DataError: an empty prompt, or one that leaves no room for the new tokens.
    """
    said: AllOptions = {**options, "n_best": n_best}
    found = completions(model, tokenizer, [prompts] if isinstance(prompts, str) else prompts, edits, batch_size, said)
    if n_best is not None:
        lists = [[one.text for one in completion.n_best] for completion in found]
        return lists[0] if isinstance(prompts, str) else lists
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
) -> Iterator[Writing | Searching]:
    """One ``Writing`` or ``Searching`` a batch; the number of a row, and so its draws, do not depend on the batches."""
    kind = Writing if understood(options).search is None else Searching
    if batch_size < 1:
        raise DataError("batch_size", got=batch_size, expected="at least 1")
    for first in range(0, len(prompts), batch_size):
        yield kind(model, tokenizer, prompts[first : first + batch_size], first_row=first, **options)


def understood(options: Options) -> Asked:
    """The options, checked.

    Raises:
        ConfigError: a field of the sampling or of the beams is out of its range, or two of them exclude each other.
        DataError: an empty stop string, or less than one token.
    """
    said: dict[str, Any] = dict(options)
    stop, max_tokens = said.pop("stop", ()), said.pop("max_tokens", None)
    stops = StopStrings((stop,) if isinstance(stop, str) else stop).strings
    check_max_tokens(max_tokens)
    beams: Any = {name: said.pop(name) for name in BeamOptions.__annotations__ if name in said}
    sampling = SamplingConfig(**said)
    search = beams_of(beams, sampling)
    if search is not None and stops:
        do = "leave stop out, and cut the text that comes back"
        raise ConfigError("a stop string ends a text while it is written, and beams are compared whole", do=do)
    return Asked(sampling, search, stops, max_tokens)


class Writing:
    """Prompts, texts or their tokens, that are being continued as one batch; iterate for (row, piece of text).

    ``completions`` holds what there is so far. Arguments as in ``generate``.
    """

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, prompts: Sequence[str | list[int]], *, first_row: int = 0,
        fast: bool = True, **options: Unpack[Options],
    ) -> None:  # fmt: skip
        sampling, search, stops, max_tokens = understood(options)
        if search is not None:
            do = "leave beams out, or call generate"
            raise ConfigError("which text of a beam is the best is known at its end; it cannot be streamed", do=do)
        rows, self.completions = _begun(model, tokenizer, prompts, first_row)
        self.texts = [RowText(tokenizer, _before(model, row), stops) for row in rows]
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


class Searching:
    """Prompts whose best texts are searched as one batch, with the face of a ``Writing``: iterate, then take
    ``completions``; the pieces are empty, for what a text is stands fast at its end."""

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, prompts: Sequence[str | list[int]], *, first_row: int = 0,
        **options: Unpack[Options],
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.first_row = model, tokenizer, first_row
        self.asked = understood(options)
        self.options: Any = {name: options.get(name) for name in BeamOptions.__annotations__}
        self.rows, self.completions = _begun(model, tokenizer, prompts, first_row)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        found = generate_tokens(
            self.model, pad_rows(self.rows), max_tokens=self.asked.max_tokens, sampling=self.asked.sampling,
            first_row=self.first_row, **self.options,
        )  # fmt: skip
        texts_of = self._texts(found)
        for row, (completion, texts) in enumerate(zip(self.completions, texts_of, strict=True)):
            best = texts[0]
            completion.text, completion.tokens = best.text, best.tokens
            completion.reason, completion.score = best.reason, best.score
            completion.n_best = texts if self.options["n_best"] is not None else []
            yield row, ""

    def cut(self) -> None:
        """Nothing is held back."""

    def _texts(self, found: Generated) -> Iterator[list[Completion]]:
        """The texts of each prompt, the best first."""
        assert found.scores is not None
        every = zip(found.rows(), found.reasons, found.scores.tolist(), strict=True)
        for row, completion in zip(self.rows, self.completions, strict=True):
            best = [next(every) for _ in range(found.n_best)]
            yield [self._text(completion.prompt, row, *one) for one in best if one[0]]

    def _text(self, prompt: str, row: list[int], tokens: list[int], reason: Reason, score: float) -> Completion:
        text = RowText(self.tokenizer, _before(self.model, row), ())
        said = [text.push(token) for token in tokens[: -1 if reason == "end" else None]]
        return Completion(prompt, "".join(said) + text.finish(), len(tokens), reason, score)


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


def _begun(
    model: Transformer, tokenizer: Tokenizer, prompts: Sequence[str | list[int]], first_row: int
) -> tuple[list[list[int]], list[Completion]]:
    """The tokens of each prompt, and a completion without a text."""
    check_fits(tokenizer, model.config.vocab_size)
    rows = [_encoded(model, tokenizer, prompt, first_row + row) for row, prompt in enumerate(prompts)]
    texts = [prompt if isinstance(prompt, str) else tokenizer.decode(prompt) for prompt in prompts]
    return rows, [Completion(text) for text in texts]


def _before(model: Transformer, row: list[int]) -> list[int]:
    """The tokens that the text of new ones may depend on: of an encoder-decoder's source none."""
    return row[-BEFORE:] if model.encoder is None else []


def _encoded(model: Transformer, tokenizer: Tokenizer, prompt: str | list[int], row: int) -> list[int]:
    """The prompt's tokens; of an empty one the token with which texts start."""
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    if ids:
        return ids
    start = model.special.start if model.encoder is None else None
    if start is None:
        raise DataError("the prompt has no token", at=f"row {row}", do="give it at least one character")
    return [start]
