"""Tokenizers made on the spot: bytes, characters, and BPE trained on a text. Each is an ordinary ``tokenizer.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from glassformer.core.errors import ConfigError, DataError
from glassformer.data.text import refuse_surrogates
from glassformer.tokenizers.boundary import library_errors
from glassformer.tokenizers.pieces import byte_characters
from glassformer.tokenizers.tokenizer import Tokenizer

END = "<|endoftext|>"
UNKNOWN = "<|unknown|>"
_BYTES = 256
_MOST_SIGNS = 1000  # of an alphabet
_BERT = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_T5 = {"pad_token": "<pad>", "eos_token": "</s>"}
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
    backend, trainer = _byte_level(vocab_size, [END])
    with library_errors(DataError, "no tokenizer can be trained on these texts"):
        backend.train_from_iterator(_checked(texts), trainer)
    return Tokenizer(backend.to_str(), _SETTINGS)


def _byte_level(vocab_size: int, special: list[str]) -> tuple[tokenizers.Tokenizer, trainers.BpeTrainer]:
    """An empty byte-level BPE and what trains it."""
    least = _BYTES + len(special)
    if vocab_size < least:
        what = "the vocabulary is too small for byte-level BPE"
        raise ConfigError(what, got=vocab_size, expected=f"at least {least}")
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    alphabet = list(byte_characters().values())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    return backend, trainer


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """WordPiece of BERT's form, lower case: ``[CLS] text [SEP]``, with ``[MASK]`` and ``[PAD]``  (Devlin et al. 2019).

    Raises:
        DataError: A text holds a lone surrogate.
    """
    texts = [*_checked(texts)]
    backend = _wordpiece({})
    with library_errors(DataError, "no tokenizer can be trained on these texts"):
        vocab = _trained(backend, texts, vocab_size)
    whole = _wordpiece(vocab)
    whole.add_special_tokens(list(_BERT.values()))
    ends = [(token, vocab[token]) for token in ("[CLS]", "[SEP]")]
    whole.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return Tokenizer(whole.to_str(), _BERT)


def _wordpiece(vocab: dict[str, int]) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def _trained(backend: tokenizers.Tokenizer, texts: Sequence[str], vocab_size: int) -> dict[str, int]:
    """The vocabulary that a WordPiece learns.

    The library numbers single characters in the order of a hash table, which is another one each time, and breaks ties
    by these numbers; said as special tokens in our order they have the same numbers always.
    """
    counts = Counter("".join(map(backend.normalizer.normalize_str, texts)))
    alphabet = sorted(sign for sign, _ in counts.most_common(_MOST_SIGNS) if not sign.isspace())
    inside = [f"##{sign}" for sign in alphabet]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=[*_BERT.values(), *alphabet, *inside], initial_alphabet=alphabet,
        limit_alphabet=len(alphabet), show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator(texts, trainer)
    vocab: dict[str, int] = backend.get_vocab(with_added_tokens=False)
    return vocab


def train_sequences(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE with T5's special tokens: padding at 0, which begins a target, and ``</s>`` behind every text."""
    backend, trainer = _byte_level(vocab_size, list(_T5.values()))
    with library_errors(DataError, "no tokenizer can be trained on these texts"):
        backend.train_from_iterator(_checked(texts), trainer)
    end = _T5["eos_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, backend.token_to_id(end))]
    )
    return Tokenizer(backend.to_str(), _T5)


def make_tokenizer(wanted: str | Path, texts: Iterable[str]) -> Tokenizer:
    """``bytes``, or ``chars``, ``bpe:2048``, ``wordpiece:2048`` and ``sequences:2048``, which learn from ``texts``.

    A place with a ``tokenizer.json`` is read.

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
        case ["wordpiece", size] if size.isdecimal():
            return train_wordpiece(texts, int(size))
        case ["sequences", size] if size.isdecimal():
            return train_sequences(texts, int(size))
    expected = "bytes, chars, bpe:2048, wordpiece:2048, sequences:2048, or a folder with a tokenizer"
    raise ConfigError("no such tokenizer", got=wanted, expected=expected)


def _checked(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        refuse_surrogates(text)
        yield text
