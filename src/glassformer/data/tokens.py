"""Documents as one array of token ids, two or four bytes a token, each document closed by an end token."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from glassformer.core.errors import DataError
from glassformer.data.text import Document

Ids = NDArray[Any]  # uint16 or int32

_AT_ONCE = 1 << 20  # characters handed to the tokenizer at once: bounds its memory, which is ~100 bytes a token
_LINE_START = re.compile(r"(?<=\S\n)(?=\S)")


class SpecialTokens(Protocol):
    """What a tokenizer says about its special tokens."""

    @property
    def end(self) -> int | None: ...
    @property
    def separator(self) -> int | None: ...
    @property
    def pad(self) -> int | None: ...


class TextTokenizer(Protocol):
    """What this room asks of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def special(self) -> SpecialTokens: ...
    @property
    def byte_level(self) -> bool: ...
    def encode(self, text: str) -> list[int]: ...
    def encode_documents(self, texts: list[str]) -> list[list[int]]: ...
    def token_bytes(self, token: int) -> bytes: ...
    def decode(self, ids: list[int]) -> str: ...
    def save(self, folder: str | Path) -> None: ...


@dataclass(frozen=True, eq=False)
class TokenStream:
    """Token ids of documents laid end to end.

    Args:
        ids: uint16 or int32; the last token of each document is its end token.
        starts: int64; where each document begins.
        text_bytes: UTF-8 bytes of the documents, and one for the end of each.
    """

    ids: Ids
    starts: NDArray[np.int64]
    text_bytes: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def text_tokens(self) -> int:
        """Tokens without the end tokens."""
        return len(self) - len(self.starts)

    @cached_property
    def digest(self) -> str:
        """sha256 of the ids, to notice that data changed."""
        total = hashlib.sha256(self.ids.astype("<i4").tobytes())
        total.update(self.starts.astype("<i8").tobytes())
        return total.hexdigest()

    def around(self, first: int, count: int) -> Ids:
        """``count`` ids from place ``first`` on a ring: what precedes the first document is the end of the last."""
        return self.ids.take(np.arange(first, first + count), mode="wrap")


def encode_stream(documents: Iterable[Document], tokenizer: TextTokenizer) -> TokenStream:
    """Encode documents into one stream.

    Raises:
        DataError: The tokenizer cannot close a document.
    """
    end = end_token(tokenizer)
    writer = _Writer(np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32), end)
    for pieces in _groups(_pieces(documents, can_cut=_may_be_cut(tokenizer))):
        writer.add(pieces, tokenizer.encode_documents([text for text, _ in pieces]))
    return writer.stream()


def refuse_short(stream: TokenStream, at: object) -> TokenStream:
    """The same stream.

    Raises:
        DataError: There is no token that could be predicted from another.
    """
    if stream.text_tokens < 2:
        tokens = f"{stream.text_tokens} token{'s' * (stream.text_tokens != 1)}"
        raise DataError("too little text to train on", at=at, got=tokens, expected="at least 2")
    return stream


def end_token(tokenizer: TextTokenizer) -> int:
    """The token that closes a document: the tokenizer's own, a separator, or its token for the zero byte.

    Raises:
        DataError: It has neither.
    """
    special = tokenizer.special
    for named in (special.end, special.separator):
        if named is not None:
            return named
    zero = tokenizer.encode("\0")
    if len(zero) == 1 and tokenizer.token_bytes(zero[0]) == b"\0":
        return zero[0]
    do = 'name its "eos_token" in tokenizer_config.json'
    raise DataError("the tokenizer has no token for the end of a text, nor one for the zero byte", do=do)


class _Writer:
    def __init__(self, kind: np.dtype[Any], end: int) -> None:
        self.kind, self.end = kind, end
        self.chunks: list[Ids] = []
        self.starts: list[int] = []
        self.count = self.text_bytes = 0
        self.is_inside = False

    def add(self, pieces: list[tuple[str, bool]], encoded: list[list[int]]) -> None:
        for (text, is_last), ids in zip(pieces, encoded, strict=True):
            if not self.is_inside:
                self.starts.append(self.count)
            if is_last and (not ids or ids[-1] != self.end):
                ids = [*ids, self.end]
            self.chunks.append(np.array(ids, dtype=self.kind))
            self.count += len(ids)
            self.text_bytes += len(text.encode()) + is_last
            self.is_inside = not is_last

    def stream(self) -> TokenStream:
        ids = np.concatenate([np.empty(0, self.kind), *self.chunks])
        return TokenStream(ids, np.array(self.starts, dtype=np.int64), self.text_bytes)


def _may_be_cut(tokenizer: TextTokenizer) -> bool:
    """Whether a text encodes the same in two pieces: plain byte-level tokenizers, cut at the start of a line."""
    nothing, letter = tokenizer.encode(""), tokenizer.encode("a")
    return tokenizer.byte_level and not nothing and b"".join(map(tokenizer.token_bytes, letter)) == b"a"


def _pieces(documents: Iterable[Document], *, can_cut: bool) -> Iterator[tuple[str, bool]]:
    """Texts with a mark at the last piece of each document; long ones in pieces, where that changes no token."""
    for document in documents:
        text = document.text
        while can_cut and len(text) > 2 * _AT_ONCE and (line := _LINE_START.search(text, _AT_ONCE)):
            yield text[: line.start()], False
            text = text[line.start() :]
        yield text, True


def _groups(pieces: Iterable[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    group: list[tuple[str, bool]] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += len(piece[0])
        if size >= _AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group
