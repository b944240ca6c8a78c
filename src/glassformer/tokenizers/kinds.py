"""Tokenizers made on the spot: bytes, characters, and BPE trained on a text. Each is an ordinary ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from glassformer.core.errors import ConfigError, DataError
from glassformer.data.text import refuse_surrogates
from glassformer.tokenizers.boundary import library_errors
from glassformer.tokenizers.pieces import byte_characters
from glassformer.tokenizers.tokenizer import Tokenizer

END = "<|endoftext|>"
UNKNOWN = "<|unknown|>"
_SMALLEST_BPE = 257  # every byte and the end
_SETTINGS = {"eos_token": END}


def byte_tokenizer() -> Tokenizer:
    """One token a byte, id = byte value; 256 is the end of a text."""
    backend = tokenizers.Tokenizer(
        models.BPE(vocab={sign: byte for byte, sign in byte_characters().items()}, merges=[])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([END])
    return Tokenizer(backend.to_str(), _SETTINGS)


def character_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """One token a character of the texts, in code point order; a character that is not in them is ``<|unknown|>``.

    Raises:
        DataError: There is no character.
    """
    characters = sorted(set().union(*texts))
    refuse_surrogates("".join(characters))
    if not characters:
        raise DataError("no text to take characters from")
    vocab = {sign: number for number, sign in enumerate([END, UNKNOWN, *characters])}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token=UNKNOWN))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([END, UNKNOWN])
    return Tokenizer(backend.to_str(), _SETTINGS | {"unk_token": UNKNOWN})


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909) with GPT-2's bytes and word rule.

    Id 0 is the end of a text. There are fewer than ``vocab_size`` tokens when the texts hold too few different pairs.

    Raises:
        ConfigError: The vocabulary has no room for all bytes.
        DataError: A text holds a lone surrogate.
    """
    if vocab_size < _SMALLEST_BPE:
        raise ConfigError(
            "the vocabulary is too small for byte-level BPE", got=vocab_size, expected=f"at least {_SMALLEST_BPE}"
        )
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    alphabet = list(byte_characters().values())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    with library_errors(DataError, "no tokenizer can be trained on these texts"):
        backend.train_from_iterator(_checked(texts), trainer)
    return Tokenizer(backend.to_str(), _SETTINGS)


def make_tokenizer(wanted: str | Path, texts: Iterable[str]) -> Tokenizer:
    """``bytes``, ``chars``, ``bpe:2048`` (the last two learn from ``texts``), or the place of a ``tokenizer.json``.

    Raises:
        ConfigError: It is none of these.
    """
    if (place := Path(wanted)).exists():
        return Tokenizer.load(place)
    match str(wanted).split(":"):
        case ["bytes"]:
            return byte_tokenizer()
        case ["chars"]:
            return character_tokenizer(texts)
        case ["bpe", size] if size.isdecimal():
            return train_bpe(texts, int(size))
    raise ConfigError("no such tokenizer", got=wanted, expected="bytes, chars, bpe:2048, or a folder with a tokenizer")


def _checked(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        refuse_surrogates(text)
        yield text
