"""A file of ranks, tiktoken's format: on each line a token in base64 and its rank, which is its id."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.files import read_lines
from glassformer.tokenizers.pieces import byte_characters

_LINE = re.compile(rb"[A-Za-z0-9+/]*=* \d+\r?\n")
Ranks = dict[bytes, int]


def is_rank_file(file: Path) -> bool:
    """Whether it begins as ranks do; a SentencePiece model, whose name may be the same, does not."""
    with file.open("rb") as stream:
        return _LINE.match(stream.read(4096)) is not None


def read_ranks(file: Path) -> Ranks:
    """Bytes → rank.

    Raises:
        CheckpointError: a line is none, a token or a rank stands twice, or a byte is missing.
    """
    ranks: Ranks = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line:
            continue
        token, rank = _entry(line, at=f"{file}, line {number}")
        if token in ranks:
            raise CheckpointError("a token stands there twice", at=f"{file}, line {number}", got=repr(token))
        ranks[token] = rank
    if len(set(ranks.values())) < len(ranks):
        raise CheckpointError("a rank stands there twice", at=file)
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise CheckpointError("not every byte has a rank", at=file, got=f"none for byte 0x{missing[0]:02x}")
    return ranks


def _entry(line: str, *, at: str) -> tuple[bytes, int]:
    token, _, rank = line.partition(" ")
    try:
        if token == "=":  # Whisper's file holds one rank of nothing
            return b"", int(rank)
        return base64.b64decode(token, validate=True), int(rank)
    except (binascii.Error, ValueError):
        raise CheckpointError("not a token in base64 and its rank", at=at, got=repr(line)[:60]) from None


def as_bpe(ranks: Ranks) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The same as a byte-level vocabulary with merges: every way to join two tokens into one, the lowest rank first."""
    signs = byte_characters()
    written = {token: "".join(signs[byte] for byte in token) for token in ranks}
    splits = sorted(
        (rank, ranks[token[:cut]], ranks[token[cut:]], written[token[:cut]], written[token[cut:]])
        for token, rank in ranks.items()
        for cut in range(1, len(token))
        if token[:cut] in ranks and token[cut:] in ranks
    )
    return {written[token]: rank for token, rank in ranks.items()}, [(left, right) for *_, left, right in splits]
