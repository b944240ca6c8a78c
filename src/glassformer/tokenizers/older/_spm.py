"""A SentencePiece model file (https://arxiv.org/abs/1808.06226): a protobuf message; what counts of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tokenizers
from tokenizers import Regex, models, normalizers

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.files import read_bytes

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_MODELS = {1: "unigram", 2: "BPE", 3: "word", 4: "character"}
Value = int | bytes
Kind = TypeVar("Kind", int, bytes)
Scored = list[tuple[str, float]]


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class SentencePieceModel:
    """Pieces in the order of their ids, and how a text is normalised before."""

    pieces: tuple[Piece, ...]
    kind: str
    byte_fallback: bool
    charsmap: bytes
    dummy_prefix: bool
    collapse_spaces: bool

    @property
    def scored(self) -> Scored:
        """Pieces with their log probabilities."""
        return [(piece.text, piece.score) for piece in self.pieces]

    @property
    def unknown(self) -> int:
        """The id of the piece for what is not in the vocabulary."""
        return next(number for number, piece in enumerate(self.pieces) if piece.kind == UNKNOWN)

    def added(self, *, normalized: bool = False) -> list[tokenizers.AddedToken]:
        """Pieces that are taken out of a text before it is cut: control ones, which are special, and a user's own."""
        return [
            tokenizers.AddedToken(piece.text, normalized=normalized, special=piece.kind == CONTROL)
            for piece in self.pieces
            if piece.kind in (CONTROL, USER_DEFINED)
        ]

    def backend(self, pieces: Scored, unknown: int) -> tokenizers.Tokenizer:
        """The model over ``pieces``, which may stand at other ids than in the file; ``unknown`` is one of these ids."""
        if self.kind == "unigram":
            return tokenizers.Tokenizer(models.Unigram(pieces, unknown, self.byte_fallback))
        vocab = {text: number for number, (text, _) in enumerate(pieces)}
        named = {"unk_token": pieces[unknown][0], "fuse_unk": True, "byte_fallback": self.byte_fallback}
        return tokenizers.Tokenizer(models.BPE(vocab, self._merges(), **named))

    def normalizer(self) -> normalizers.Normalizer | None:
        """The character map of the file, and one space for many where the file says so."""
        steps = self.charsmap_steps
        if self.collapse_spaces:
            steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
        return normalizers.Sequence(steps) if steps else None

    @property
    def charsmap_steps(self) -> list[normalizers.Normalizer]:
        """The character map of the file, where it has one."""
        return [normalizers.Precompiled(self.charsmap)] if self.charsmap else []

    def _merges(self) -> list[tuple[str, str]]:
        """Every way to join two pieces into one, the piece with the highest score first, as SentencePiece joins."""
        scores = {piece.text: piece.score for piece in self.pieces if piece.kind == NORMAL}
        splits = (
            (-score, len(text), cut, text[:cut], text[cut:])
            for text, score in scores.items()
            for cut in range(1, len(text))
            if text[:cut] in scores and text[cut:] in scores
        )
        return [(left, right) for *_, left, right in sorted(splits)]


def read_sentencepiece(file: Path) -> SentencePieceModel:
    """Read a ``.model`` file.

    Raises:
        CheckpointError: it is cut off or none, or needs what cannot be done exactly.
    """
    try:
        model = _message(read_bytes(file))
        pieces = tuple(_piece(raw) for raw in model.get(1, []))
        trainer, normalizer = _message(_last(model, 2, b"")), _message(_last(model, 3, b""))
        kind, suffix, bytes_too = _last(trainer, 3, 1), _last(trainer, 24, 0), _last(trainer, 35, 0)
        charsmap, prefix = _last(normalizer, 2, b""), _last(normalizer, 3, 1)
        collapse, escape = _last(normalizer, 4, 1), _last(normalizer, 5, 1)
    except (ValueError, struct.error) as error:
        do = "is the download complete?"
        raise CheckpointError("not a SentencePiece model that can be read", at=file, got=error, do=do) from None
    if sum(piece.kind == UNKNOWN for piece in pieces) != 1:
        raise CheckpointError("not a SentencePiece model", at=file, got=f"{len(pieces)} pieces", expected="one unknown")
    odd = {
        f"{_MODELS.get(kind, 'other')} model": kind not in (1, 2),
        "spaces behind words": suffix,
        "spaces that are not escaped": not escape,
        "unused pieces": any(piece.kind == UNUSED for piece in pieces),
    }
    if found := ", ".join(name for name, is_so in odd.items() if is_so):
        expected = "a unigram or BPE model with spaces before words"
        raise CheckpointError("this SentencePiece model is not supported", at=file, got=found, expected=expected)
    return SentencePieceModel(pieces, _MODELS[kind], bool(bytes_too), charsmap, bool(prefix), bool(collapse))


def _piece(raw: Value) -> Piece:
    fields = _message(raw)
    (score,) = struct.unpack("<f", _last(fields, 2, bytes(4)))
    return Piece(_last(fields, 1, b"").decode(), score, _last(fields, 3, NORMAL))


def _last(fields: dict[int, list[Value]], number: int, default: Kind) -> Kind:
    """The value of a field that stands once; the kind of the default is that of the field."""
    value = fields.get(number, [default])[-1]
    if not isinstance(value, type(default)):
        raise ValueError(f"field {number} of a wrong kind")
    return value


def _message(raw: Value) -> dict[int, list[Value]]:
    """The fields of a protobuf message."""
    if isinstance(raw, int):
        raise ValueError("a number instead of a message")
    found: dict[int, list[Value]] = {}
    for number, value in _fields(raw):
        found.setdefault(number, []).append(value)
    return found


def _fields(raw: bytes) -> Iterator[tuple[int, Value]]:
    place = 0
    while place < len(raw):
        tag, place = _varint(raw, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(raw, place)
            yield tag >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"a field of kind {kind}")
        size, place = _varint(raw, place) if kind == 2 else (8 if kind == 1 else 4, place)
        if place + size > len(raw):
            raise ValueError("it ends inside a field")
        yield tag >> 3, raw[place : place + size]
        place += size


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the place behind it."""
    value = shift = 0
    while True:
        if place >= len(raw) or shift > 63:
            raise ValueError("it ends inside a number")
        value |= (raw[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if raw[place - 1] < 0x80:
            return value, place
