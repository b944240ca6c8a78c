"""Text made ready for a language model: token streams to train on, to validate with, and to measure at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from glassformer.core.errors import ConfigError, DataError
from glassformer.data.batch import Batch
from glassformer.data.packing import Packed
from glassformer.data.sampling import Cursor, Documents, Mixture, Part, Sampler, Windows
from glassformer.data.sources import EMBEDDED, Source, open_source
from glassformer.data.splits import Split, chosen_by_name
from glassformer.data.text import Document
from glassformer.data.tokens import TextTokenizer, TokenStream, encode_stream, end_token, refuse_short

#: A tokenizer, or what makes one from the training texts.
TokenizerOrMaker = TextTokenizer | Callable[[Iterable[str]], TextTokenizer]
Samples = Literal["windows", "documents", "packed"]


@dataclass(frozen=True)
class Share:
    """A place with documents and how often they are seen.

    Args:
        place: A file, a folder or ``embedded:NAME``.
        first: How often its tokens are seen at the start of the training, relative to the tokens of other places.
        last: The same at the end; in between it moves linearly. As at the start when left out.
        portion: Share of its training documents that is used, picked by their names.
    """

    place: str
    first: float = 1.0
    last: float | None = None
    portion: float = 1.0


@dataclass(frozen=True, eq=False)
class TextData:
    """What a training run reads.

    Args:
        tokenizer: What made the tokens.
        sampler: The training batches.
        held_out: Split → place → stream.
        tokens: Number of training tokens.
        length: Tokens to predict in a sample, where nothing else is said.
        recipe: What ``from_recipe`` needs to read the same data again.
    """

    tokenizer: TextTokenizer
    sampler: Sampler
    held_out: Mapping[Split, Mapping[str, TokenStream]]
    tokens: int
    length: int
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def batches(self, batch_size: int, *, length: int | None = None) -> Iterator[Batch]:
        """One epoch of training batches, rows of ``length`` tokens, for a loop of one's own.

        Raises:
            ConfigError: A row of one token has nothing to predict.
        """
        if (length or self.length) < 2:
            raise ConfigError("rows of one token have nothing to predict", got=f"length={length or self.length}")
        cursor: Cursor = self.sampler.start
        seen = 0
        while seen < self.tokens:
            batch, cursor = self.sampler.draw(cursor, batch_size, (length or self.length) - 1, seen / self.tokens)
            seen += batch.count - len(batch)
            yield batch

    def held_out_batches(self, tokens: int) -> Iterator[Batch]:
        """Windows of the validation text, each once."""
        for stream in self.validation.values():
            windows, rows = Windows(stream), max(1, tokens // self.length)
            count, cursor = windows.count(self.length), windows.start
            for first in range(0, count, rows):
                batch, cursor = windows.draw(cursor, min(rows, count - first), self.length)
                yield batch

    @property
    def validation(self) -> Mapping[str, TokenStream]:
        """Place → stream of the validation split."""
        return self.held_out.get("validation", {})

    @property
    def test(self) -> Mapping[str, TokenStream]:
        """Place → stream of the test split, which only the embedded corpora hold back."""
        return self.held_out.get("test", {})


def read_text(
    places: str | Path | Share | Sequence[str | Path | Share],
    tokenizer: TokenizerOrMaker,
    *,
    length: int = 128,
    field: str = "text",
    samples: Samples = "windows",
    seed: int = 0,
    train_on: Sequence[Split] = ("train",),
) -> TextData:
    """Read and encode text from one or several places.

    Args:
        places: Where the documents are; several are mixed.
        tokenizer: A tokenizer, or a function that makes one from the training texts.
        length: Tokens to predict in a sample.
        field: The field of JSON Lines that holds the text.
        samples: ``windows`` of the documents laid end to end, whole ``documents``, each a padded row, or documents
            ``packed`` into rows in which each keeps to itself.
        seed: Decides the order.
        train_on: The splits to train on; those that are not named are held out.

    Raises:
        DataError: A place is empty, holds no text, or too little of it.
    """
    shares = [_share(place) for place in ([places] if isinstance(places, str | Path | Share) else places)]
    if not shares:
        raise DataError("no place to read text from")
    readers = [_Reader(open_source(share.place, field=field), share, frozenset(train_on)) for share in shares]
    if callable(tokenizer):
        tokenizer = tokenizer(document.text for reader in readers for document in reader.documents("train"))
    streams = [refuse_short(reader.stream("train", tokenizer), reader.share.place) for reader in readers]
    recipe = {"places": [asdict(share) for share in shares], "length": length, "field": field, "samples": samples}
    return TextData(
        tokenizer=tokenizer,
        sampler=_mixed(streams, shares, samples, seed, end_token(tokenizer)),
        held_out={split: _held_out(readers, split, tokenizer) for split in ("validation", "test")},
        tokens=sum(map(len, streams)),
        length=length,
        recipe=recipe | {"seed": seed, "train_on": list(train_on)},
    )


def from_recipe(recipe: Mapping[str, Any], tokenizer: TextTokenizer) -> TextData:
    """The same data, read again."""
    shares = [Share(**share) for share in recipe["places"]]
    return read_text(shares, tokenizer, **{name: value for name, value in recipe.items() if name != "places"})


class TextFolder(TextData):
    """The text files of a folder: ``gf.data.TextFolder("corpus/", tokenizer, length=1024)``."""

    def __init__(self, folder: str | Path, tokenizer: TokenizerOrMaker, *, length: int = 128, seed: int = 0) -> None:
        if not Path(folder).is_dir():
            raise DataError("no such folder", at=folder, do="gf.data.read_text reads files and embedded corpora, too")
        data = read_text(folder, tokenizer, length=length, seed=seed)
        super().__init__(data.tokenizer, data.sampler, data.held_out, data.tokens, data.length, data.recipe)


class _Reader:
    """One place; corpora that cost seconds to read are read once."""

    def __init__(self, source: Source, share: Share, train_on: frozenset[Split]) -> None:
        self.source, self.share, self.train_on = source, share, train_on
        self._kept: list[tuple[Split, Document]] | None = None

    def documents(self, split: Split) -> Iterator[Document]:
        for found, document in self._split():
            role = "train" if found in self.train_on else found
            if role == split and (role != "train" or chosen_by_name(document.name, self.share.portion)):
                yield document

    def stream(self, split: Split, tokenizer: TextTokenizer) -> TokenStream:
        return encode_stream(self.documents(split), tokenizer)

    def _split(self) -> Iterable[tuple[Split, Document]]:
        if not self.share.place.startswith(EMBEDDED):
            return self.source.split()
        if self._kept is None:
            self._kept = list(self.source.split())
        return self._kept


def _share(place: str | Path | Share) -> Share:
    """With the place of a file made absolute, so that the recipe holds wherever a run is resumed from."""
    share = place if isinstance(place, Share) else Share(str(place))
    if not 0 < share.portion <= 1:
        raise ConfigError("portion of a place", at=share.place, got=share.portion, expected="above 0 and at most 1")
    if share.place.startswith(EMBEDDED):
        return share
    return replace(share, place=str(Path(share.place).absolute()))


def _mixed(streams: list[TokenStream], shares: list[Share], samples: Samples, seed: int, pad: int) -> Sampler:
    samplers = [_sampler(stream, samples, seed + place, pad) for place, stream in enumerate(streams)]
    if len(samplers) == 1:
        return samplers[0]
    parts = []
    for sampler, stream, share in zip(samplers, streams, shares, strict=True):
        last = share.first if share.last is None else share.last
        parts.append(Part(sampler, share.first * len(stream), last * len(stream)))
    return Mixture(parts)


def _sampler(stream: TokenStream, samples: Samples, seed: int, pad: int) -> Sampler:
    if samples == "windows":
        return Windows(stream, seed)
    return Documents(stream, seed, pad) if samples == "documents" else Packed(stream, seed, pad)


def _held_out(readers: list[_Reader], split: Split, tokenizer: TextTokenizer) -> dict[str, TokenStream]:
    """Streams by place; what is too short to measure with is left out."""
    streams = {reader.share.place: reader.stream(split, tokenizer) for reader in readers}
    return {place: stream for place, stream in streams.items() if stream.text_tokens >= 2}
