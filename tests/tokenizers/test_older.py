"""Older files read here give the ids, places and text that transformers gives, and what we save it reads the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import transformers

from glassformer.core.errors import DataError
from glassformer.tokenizers.tokenizer import Tokenizer, load_tokenizer
from tests.tokenizers.hard_texts import hard_pairs, hard_texts
from tests.tokenizers.older_folders import (
    MASK,
    RESIDUES,
    ROBERTA,
    albert_spm,
    mask_of,
    merges_files,
    plain_spm,
    spm,
    t5_spm,
    word_list,
    write,
)

Files = Callable[[], dict[str, str | bytes]]
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SENTINELS = [f"<extra_id_{number}>" for number in range(5)]


def added(**tokens: int) -> dict[str, Any]:
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    return {str(number): {"content": f"<|{text}|>"} | plain for text, number in tokens.items()}


def added_behind(vocab: str) -> str:
    lines = vocab.count("\n")
    return json.dumps({"<|eos|>": lines, "hello world": lines + 1})


#: What it is called → the class, its files, its settings.
FOLDERS: dict[str, tuple[str, Files, dict[str, Any]]] = {
    "bert": ("BertTokenizer", lambda: {"vocab.txt": word_list(*BERT)}, {}),
    "bert cased": ("BertTokenizer", lambda: {"vocab.txt": word_list(*BERT)}, {"do_lower_case": False}),
    "bert accents": (
        "BertTokenizerFast",
        lambda: {"vocab.txt": word_list(*BERT)},
        {"do_lower_case": False, "strip_accents": True},
    ),
    "bert, Chinese words": (
        "BertTokenizer",
        lambda: {"vocab.txt": word_list(*BERT)},
        {"tokenize_chinese_chars": False, "strip_accents": False},
    ),
    "bert, another mask": (
        "BertTokenizer",
        lambda: {"vocab.txt": word_list(*BERT[:4], "<MASK>")},
        {"mask_token": {"__type": "AddedToken", "content": "<MASK>"} | MASK},
    ),
    "bert, more tokens": (
        "BertTokenizer",
        lambda: {"vocab.txt": word_list(*BERT), "added_tokens.json": added_behind(word_list(*BERT))},
        {"additional_special_tokens": ["<eo"]},
    ),
    "distilbert": ("DistilBertTokenizer", lambda: {"vocab.txt": word_list(*BERT)}, {}),
    "electra": ("ElectraTokenizer", lambda: {"vocab.txt": word_list(*BERT)}, {}),
    "mpnet": ("MPNetTokenizer", lambda: {"vocab.txt": word_list("<s>", "<pad>", "</s>", "[UNK]", "<mask>")}, {}),
    "gpt2": ("GPT2Tokenizer", lambda: merges_files(), {}),
    "gpt2, start, prefix": ("GPT2Tokenizer", lambda: merges_files(), {"add_bos_token": True, "add_prefix_space": True}),
    "gpt2, more tokens": (
        "GPT2Tokenizer",
        lambda: merges_files(),
        {"added_tokens_decoder": added(endoftext=0, startoftext=1500), "pad_token": "<|startoftext|>"},
    ),
    "gpt2, a token of its own": ("GPT2Tokenizer", lambda: merges_files(), {"image_token": "<unk>"}),
    "gpt-neox": ("GPTNeoXTokenizer", lambda: merges_files(), {}),
    "gpt-neox, end": ("GPTNeoXTokenizer", lambda: merges_files(), {"add_eos_token": True}),
    "qwen2": ("Qwen2Tokenizer", lambda: merges_files(), {}),
    "qwen2, prefix": ("Qwen2Tokenizer", lambda: merges_files("<|startoftext|>"), {"add_prefix_space": True}),
    "roberta": ("RobertaTokenizer", lambda: merges_files(*ROBERTA) | mask_of("<mask>"), {}),
    "roberta, untrimmed": (
        "RobertaTokenizer",
        lambda: merges_files(*ROBERTA) | mask_of("<mask>"),
        {"trim_offsets": False, "add_prefix_space": True},
    ),
    "bart": ("BartTokenizer", lambda: merges_files(*ROBERTA) | mask_of("<mask>"), {"add_prefix_space": True}),
    "t5": ("T5Tokenizer", lambda: {"spiece.model": t5_spm()}, {}),
    "t5, five sentinels": (
        "T5Tokenizer",
        lambda: {"spiece.model": t5_spm()},
        {"extra_ids": 5, "additional_special_tokens": SENTINELS},
    ),
    "albert": ("AlbertTokenizer", lambda: {"spiece.model": albert_spm(",")} | mask_of("[MASK]"), {}),
    "albert, cased": (
        "AlbertTokenizer",
        lambda: {"spiece.model": albert_spm(",")} | mask_of("[MASK]"),
        {"keep_accents": True, "do_lower_case": False},
    ),
    "xlm-r": ("XLMRobertaTokenizer", lambda: {"sentencepiece.bpe.model": spm()} | mask_of("<mask>"), {}),
    "camembert": ("CamembertTokenizer", lambda: {"sentencepiece.bpe.model": spm()}, {}),
    "llama": ("LlamaTokenizer", lambda: {"tokenizer.model": plain_spm("bpe")}, {"add_bos_token": True}),
    "llama, digits": (
        "LlamaTokenizer",
        lambda: {"tokenizer.model": plain_spm("bpe", split_digits=True)},
        {"add_bos_token": False, "add_eos_token": True},
    ),
    "llama, legacy": (
        "LlamaTokenizer",
        lambda: {"tokenizer.model": plain_spm("bpe")},
        {"add_bos_token": True, "legacy": True},
    ),
    "llama, no prefix": (
        "LlamaTokenizerFast",
        lambda: {"tokenizer.model": plain_spm("bpe")},
        {"add_bos_token": True, "add_prefix_space": False},
    ),
    "esm": ("EsmTokenizer", lambda: {"vocab.txt": "\n".join(RESIDUES)}, {}),
}
#: Where transformers' text is poorer than ours: it puts spaces between residues.
OTHER_TEXT = {"esm"}


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    name, files, settings = FOLDERS[request.param]
    return request.param, write(tmp_path_factory.mktemp("older"), files(), name, **settings)


@pytest.fixture(scope="module")
def ours(folder: tuple[str, Path]) -> Tokenizer:
    return load_tokenizer(folder[1])


@pytest.fixture(scope="module")
def theirs(folder: tuple[str, Path]) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder[1])


def wrong(texts: Sequence[Any], ours: Callable[[Any], Any], theirs: Callable[[Any], Any]) -> list[Any]:
    return [text for text in texts if ours(text) != theirs(text)][:5]


def test_texts_and_pairs_have_the_ids_of_transformers(ours: Tokenizer, theirs: Any) -> None:
    assert wrong(hard_texts(), ours.encode, lambda text: theirs(text)["input_ids"]) == []
    assert wrong(hard_pairs(), ours.encode, lambda pair: theirs(*pair)["input_ids"]) == []
    plain = {"add_special_tokens": False}
    assert (
        wrong(
            hard_texts(200),
            lambda text: ours.encode(text, add_special=False),
            lambda text: theirs(text, **plain)["input_ids"],
        )
        == []
    )


def test_tokens_stand_where_transformers_says(ours: Tokenizer, theirs: Any) -> None:
    if not theirs.is_fast:
        pytest.skip("transformers gives no places for this class")
    places = {"return_offsets_mapping": True}
    assert wrong(hard_texts(), ours.offsets, lambda text: theirs(text, **places)["offset_mapping"]) == []
    assert wrong(hard_pairs(200), ours.offsets, lambda pair: theirs(*pair, **places)["offset_mapping"]) == []


def test_segments_and_special_tokens_are_those_of_transformers(ours: Tokenizer, theirs: Any) -> None:
    pairs = hard_pairs(60)
    batch = ours.encode_batch(pairs)
    assert batch.segments is not None
    types = [theirs(*pair, return_token_type_ids=True)["token_type_ids"] for pair in pairs]
    assert [row[: len(kept)] for row, kept in zip(batch.segments.tolist(), types, strict=True)] == types
    for ours_id, their_id in (
        (ours.special.start, theirs.bos_token_id),
        (ours.special.end, theirs.eos_token_id),
        (ours.special.pad, theirs.pad_token_id),
        (ours.special.mask, theirs.mask_token_id),
        (ours.special.first, theirs.cls_token_id),
        (ours.special.separator, theirs.sep_token_id),
    ):
        assert ours_id == their_id
    assert ours.vocab_size >= len(theirs)


def test_decoding_gives_the_text_of_transformers(folder: tuple[str, Path], ours: Tokenizer, theirs: Any) -> None:
    if folder[0] in OTHER_TEXT:
        pytest.skip("judged in test_older_judged.py")
    rows = [ours.encode(text) for text in hard_texts(400)]
    assert wrong(rows, ours.decode, lambda row: theirs.decode(row, skip_special_tokens=True)) == []


def test_what_we_save_transformers_reads(folder: tuple[str, Path], ours: Tokenizer) -> None:
    ours.save(folder[1] / "saved")
    theirs = transformers.AutoTokenizer.from_pretrained(folder[1] / "saved")
    assert load_tokenizer(folder[1] / "saved") == ours
    assert wrong(hard_texts(400), ours.encode, lambda text: theirs(text)["input_ids"]) == []
    assert wrong(hard_pairs(200), ours.encode, lambda pair: theirs(*pair)["input_ids"]) == []


def test_bytes_and_streams_are_those_of_the_text(ours: Tokenizer) -> None:
    for text in hard_texts(300):
        row = ours.encode(text, add_special=False)
        said = ours.decode(row)
        stream = ours.stream()
        assert "".join([stream.push(token) for token in row]) + stream.finish() == said
        joined = b"".join(ours.token_bytes(token) for token in row).decode(errors="replace")
        assert joined.replace(" ", "") == said.replace(" ", "")


def test_half_characters_are_refused(ours: Tokenizer) -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        ours.encode("a\ud800")
    with pytest.raises(DataError, match="lone surrogate"):
        ours.offsets(("a", "\udfff"))
