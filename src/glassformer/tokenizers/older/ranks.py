"""Byte-level BPE in tiktoken's files of ranks; what a word is follows from the name of the encoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.older._around import start_and_end
from glassformer.tokenizers.older._folder import Built, Folder
from glassformer.tokenizers.older._ranks import as_bpe, is_rank_file, read_ranks

FILES = "a *.tiktoken file"
_NAME = "tokenizer.model"
_END = "<|endoftext|>"
_FILL = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++\z|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_CAPITALS, _SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_CAPITALS}*{_SMALL}+{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?{_CAPITALS}+{_SMALL}*{_SHORT}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def found(folder: Folder) -> bool:
    model = folder.file(_NAME)
    return any(folder.path.glob("*.tiktoken")) or (model is not None and is_rank_file(model))


def encoding(words: str, special: Mapping[str, int], folder: Folder) -> Built:
    """An encoding of tiktoken: ranks, the rule for words, and special tokens at the ids of the encoding."""
    backend = _build(folder, words, special)
    backend.add_special_tokens(list(special))
    named = folder.named(eos_token=_END)
    folder.add(backend, named)
    return Built(backend, named, generic=True)


def in_a_folder(words: str, folder: Folder) -> Built:
    """Ranks in a folder that says its special tokens."""
    named = folder.named()
    backend = _build(folder, words, folder.declared_ids())
    folder.add(backend, named)
    start_and_end(backend, folder, named, start=False)
    return Built(backend, named, generic=True)


def _build(folder: Folder, words: str, special: Mapping[str, int]) -> tokenizers.Tokenizer:
    files = sorted(folder.path.glob("*.tiktoken")) or [folder.path / _NAME]
    if len(files) > 1:
        raise CheckpointError("more than one file of ranks", at=folder.path, got=", ".join(file.name for file in files))
    vocab, merges = as_bpe(read_ranks(files[0]))
    backend = tokenizers.Tokenizer(models.BPE(vocab | dict(special), merges, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(words), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    backend.decoder = decoders.ByteLevel()
    return backend


CLASSES: dict[str, Callable[[Folder], Built]] = {
    "gpt2": partial(encoding, _GPT2, {_END: 50256}),
    "r50k_base": partial(encoding, _GPT2, {_END: 50256}),
    "p50k_base": partial(encoding, _GPT2, {_END: 50256}),
    "cl100k_base": partial(
        encoding, _CL100K, {token: 100257 + n for n, token in enumerate((_END, *_FILL))} | {"<|endofprompt|>": 100276}
    ),
    "o200k_base": partial(encoding, _O200K, {_END: 199999, "<|endofprompt|>": 200018}),
    "GPT2Tokenizer": partial(in_a_folder, _GPT2),
    "WhisperTokenizer": partial(in_a_folder, _GPT2),
    "LlamaTokenizer": partial(in_a_folder, _LLAMA3),
    "PreTrainedTokenizer": partial(in_a_folder, _LLAMA3),
    "TokenizersBackend": partial(in_a_folder, _LLAMA3),
}
MODEL_TYPES: dict[str, str] = {}
