"""Folders with the files of older tokenizers, small and made on the spot."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece

from glassformer.tokenizers.kinds import train_bpe
from tests.tokenizers.hard_texts import hard_texts

LINES = [line for text in hard_texts() for line in text.replace("\0", "").split("\n") if line.strip()]
WORDS = [line for line in Path(__file__).read_text().split("\n") if line.strip()] * 3
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
RESIDUES = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]
MASK = {"lstrip": True, "rstrip": False, "normalized": False, "single_word": False}


def write(folder: Path, files: Mapping[str, str | bytes], name: str | None = None, **settings: Any) -> Path:
    """A folder with these files, whose ``tokenizer_config.json`` names a class."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    if name is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name} | settings))
    return folder


def mask_of(content: str) -> dict[str, str]:
    """A ``special_tokens_map.json`` in which the mask takes the space before it along, as those of the hub do."""
    return {"special_tokens_map.json": json.dumps({"mask_token": {"content": content} | MASK})}


@cache
def byte_bpe() -> tuple[dict[str, int], str]:
    """A byte-level vocabulary and its ``merges.txt``."""
    model = json.loads(train_bpe(LINES, 1500)._source)["model"]
    pairs = "\n".join(" ".join(pair) for pair in model["merges"])
    return model["vocab"], f"#version: 0.2\n{pairs}\n"


def merges_files(*special: str) -> dict[str, str]:
    """``vocab.json`` and ``merges.txt``, the vocabulary with some special tokens."""
    vocab, merges = byte_bpe()
    vocab = vocab | {token: len(vocab) + number for number, token in enumerate(special)}
    return {"vocab.json": json.dumps(vocab), "merges.txt": merges}


@cache
def word_list(*special: str) -> str:
    """A ``vocab.txt`` with characters, alone and inside words, and a few words."""
    signs = sorted({sign for line in LINES for sign in line.casefold() if sign.isprintable() and sign != " "})
    words = ["hello", "world", "fox", "##ox", "quick", "##ing"]
    return "\n".join([*special, *signs, *(f"##{sign}" for sign in signs), *words]) + "\n"


@cache
def spm(kind: str = "unigram", size: int = 400, without: str = "", **how: Any) -> bytes:
    """A SentencePiece model of the hard texts; no line holds ``without``."""
    stream = io.BytesIO()
    lines = [line for line in LINES * 2 + WORDS if not without or without not in line]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=stream,
        model_type=kind,
        vocab_size=size,
        hard_vocab_limit=False,
        character_coverage=0.99,
        num_threads=1,
        minloglevel=2,
        **how,
    )
    return stream.getvalue()


def plain_spm(kind: str, **how: Any) -> bytes:
    """A model as Llama's: every space counts, bytes for what is not in the vocabulary."""
    return spm(kind, 700, normalization_rule_name="identity", byte_fallback=True, remove_extra_whitespaces=False, **how)


def t5_spm() -> bytes:
    return spm(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


def albert_spm(without: str = "", own: str = "") -> bytes:
    how = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "pad_piece": "<pad>"}
    return spm(without=without, control_symbols="[CLS],[SEP]", user_defined_symbols=own, **how)


def deberta_spm(**how: Any) -> bytes:
    names = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    return spm(pad_id=0, bos_id=1, eos_id=2, unk_id=3, **names, **how)


def gemma_spm() -> bytes:
    names = {"bos_piece": "<bos>", "eos_piece": "<eos>", "user_defined_symbols": "<mask>,\n\n,▁▁,▁▁▁,[INST]"}
    return plain_spm("bpe", add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, **names)
