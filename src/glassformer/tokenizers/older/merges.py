"""Byte-level BPE: ``vocab.json`` with ids and ``merges.txt`` with pairs in the order in which they are joined."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.files import read_lines
from glassformer.tokenizers.older._around import cls_and_sep, numbered, start_and_end
from glassformer.tokenizers.older._folder import Built, Folder, Named
from glassformer.tokenizers.older._vocab import read_vocab_json

FILES = "vocab.json and merges.txt"
_VOCAB, _MERGES = "vocab.json", "merges.txt"
_END = "<|endoftext|>"
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
#: As the code of the paper.
_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
#: Models whose class is GPT-2's, but whose merges were learnt with each digit a word of its own.
_BY_DIGITS = ("gpt_bigcode", "starcoder2")
_WORD_END = "</w>"


def found(folder: Folder) -> bool:
    return folder.file(_VOCAB) is not None and folder.file(_MERGES) is not None


def gpt2(folder: Folder) -> Built:
    """A text as it is (GPT-2, OPT, Phi and others); a start token where ``add_bos_token`` says so."""
    named = folder.named(unk_token=_END, bos_token=_END, eos_token=_END)
    backend = _byte_level(folder, named)
    by_digits = folder.model_type in _BY_DIGITS
    if by_digits:
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
    start_and_end(backend, folder, named, start=False)
    return Built(backend, named, generic=by_digits)


def gpt_neox(folder: Folder) -> Built:
    """As GPT-2, with texts composed (NFC) first."""
    named = folder.named(unk_token=_END, bos_token=_END, eos_token=_END, pad_token="<|padding|>")
    backend = _byte_level(folder, named)
    backend.normalizer = normalizers.NFC()
    start_and_end(backend, folder, named, start=False)
    around = folder.flag("add_bos_token", False) or folder.flag("add_eos_token", False)
    return Built(backend, named, generic=around)


def qwen2(folder: Folder) -> Built:
    """Composed texts, words by Qwen's rule: one digit a word, line ends by themselves."""
    named = folder.named(unk_token=_END, eos_token=_END, pad_token=_END)
    backend = _byte_level(folder, named)
    backend.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated")
    joined = pre_tokenizers.ByteLevel(add_prefix_space=folder.flag("add_prefix_space", False), use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, joined])
    start_and_end(backend, folder, named, start=False)
    return Built(backend, named)


def roberta(folder: Folder) -> Built:
    """``<s> A </s></s> B </s>``; the mask takes the space before it along."""
    named = folder.named(
        bos_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        cls_token="<s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
    )
    backend = _byte_level(folder, named)
    sep, cls = numbered(backend, named, "sep_token"), numbered(backend, named, "cls_token")
    trim, prefix = folder.flag("trim_offsets", True), folder.flag("add_prefix_space", False)
    backend.post_processor = processors.RobertaProcessing(sep, cls, trim, prefix)
    return Built(backend, named)


def deberta(folder: Folder) -> Built:
    """``[CLS] A [SEP] B [SEP]`` around GPT-2's tokens."""
    named = folder.named(
        bos_token="[CLS]",
        eos_token="[SEP]",
        sep_token="[SEP]",
        cls_token="[CLS]",
        unk_token="[UNK]",
        pad_token="[PAD]",
        mask_token=AddedToken("[MASK]", lstrip=True, special=True),
    )
    backend = _byte_level(folder, named)
    cls_and_sep(backend, named)
    return Built(backend, named, generic=True)


def clip(folder: Folder) -> Built:
    """Small letters, words that end in ``</w>`` (https://arxiv.org/abs/2103.00020), one text between start and end."""
    named = folder.named(unk_token=_END, bos_token="<|startoftext|>", eos_token=_END, pad_token=_END)
    model = _bpe(folder, end_of_word_suffix=_WORD_END, unk_token=named["unk_token"].content)
    backend = tokenizers.Tokenizer(model)
    steps = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    backend.normalizer = normalizers.Sequence(steps)
    words = pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    last = decoders.Replace(Regex(rf"{_WORD_END}\z"), "")
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), last, decoders.Replace(_WORD_END, " ")])
    folder.add(backend, named)
    end, start = numbered(backend, named, "eos_token"), numbered(backend, named, "bos_token")
    backend.post_processor = processors.RobertaProcessing(end, start, trim_offsets=False, add_prefix_space=False)
    return Built(backend, named)


def _byte_level(folder: Folder, named: Named) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(_bpe(folder))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=folder.flag("add_prefix_space", False))
    backend.decoder = decoders.ByteLevel()
    folder.add(backend, named)
    return backend


def _bpe(folder: Folder, *, end_of_word_suffix: str = "", unk_token: str | None = None) -> models.BPE:
    vocab = read_vocab_json(folder.path / _VOCAB)
    merges = read_merges(folder.path / _MERGES, vocab)
    return models.BPE(vocab, merges, unk_token=unk_token, end_of_word_suffix=end_of_word_suffix)


def read_merges(file: Path, vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """The pairs of a ``merges.txt``, behind its line with a version.

    Raises:
        CheckpointError: a line is no pair, or the vocabulary lacks a token of it.
    """
    merges = []
    for number, line in enumerate(read_lines(file), start=1):
        if line.startswith("#version"):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise CheckpointError("not a pair", at=f"{file}, line {number}", got=repr(line), expected="two tokens")
        for token in (*pair, "".join(pair)):
            if token not in vocab:
                expected = f"a token of {_VOCAB}"
                raise CheckpointError(
                    "a merge of no token", at=f"{file}, line {number}", got=repr(token), expected=expected
                )
        merges.append((pair[0], pair[1]))
    return merges


_LIKE_ROBERTA = ("Roberta", "Bart", "Longformer", "LED", "Mvp")
CLASSES = {f"{name}Tokenizer": roberta for name in _LIKE_ROBERTA}
CLASSES |= {"GPT2Tokenizer": gpt2, "GPTNeoXTokenizer": gpt_neox, "Qwen2Tokenizer": qwen2}
CLASSES |= {"DebertaTokenizer": deberta, "CLIPTokenizer": clip}
MODEL_TYPES = {name.lower(): f"{name}Tokenizer" for name in _LIKE_ROBERTA}
MODEL_TYPES |= dict.fromkeys(("gpt2", "gpt_neo", "gptj", "opt", "phi", *_BY_DIGITS), "GPT2Tokenizer")
MODEL_TYPES |= dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"), "Qwen2Tokenizer")
MODEL_TYPES |= dict.fromkeys(("gpt_neox", "mpt", "mamba", "olmo", "olmoe", "rwkv"), "GPTNeoXTokenizer")
MODEL_TYPES |= {"deberta": "DebertaTokenizer", "clip": "CLIPTokenizer"}
