"""Older files that are broken, contradict each other, or whose class nobody has checked: one clear line each."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.tokenizer import Tokenizer, load_tokenizer
from tests.tokenizers.older_folders import RESIDUES, ROBERTA, merges_files, plain_spm, spm, t5_spm, word_list, write

BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BYTES = "".join(f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256))


def loaded(folder: Path, files: dict[str, Any], name: str | None = None, **settings: Any) -> Tokenizer:
    return load_tokenizer(write(folder, files, name, **settings))


def vocab_with(**changes: int) -> dict[str, str | bytes]:
    files = merges_files(*ROBERTA)
    return files | {"vocab.json": json.dumps(json.loads(files["vocab.json"]) | changes)}


def test_a_class_that_is_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    files = {"vocab.txt": word_list(*BERT)}
    with pytest.raises(
        CheckpointError, match=r"BertJapaneseTokenizer is not read from such files.*BertTokenizer, .*EsmTokenizer"
    ) as caught:
        loaded(tmp_path / "a", files, "BertJapaneseTokenizer")
    assert "\n" not in str(caught.value)
    assert "GPT2Tokenizer" not in str(caught.value)  # it reads other files
    for name in ("M2M100Tokenizer", "PegasusTokenizer", "XLNetTokenizer"):
        with pytest.raises(CheckpointError, match=f"{name} is not read.*XLMRobertaTokenizer"):
            loaded(tmp_path / name, {"spiece.model": spm(), "vocab.json": "{}"}, name)
    with pytest.raises(
        CheckpointError, match=r"there is no tokenizer here · got MarianTokenizer · expected tokenizer.json"
    ):
        loaded(tmp_path / "b", {"source.spm": spm(), "target.spm": spm(), "vocab.json": "{}"}, "MarianTokenizer")
    with pytest.raises(
        CheckpointError, match=r"does not say whose tokenizer.*tokenizer_class in tokenizer_config.json"
    ):
        loaded(tmp_path / "c", files)
    with pytest.raises(CheckpointError, match="blip is not read"):
        loaded(tmp_path / "d", files | {"config.json": '{"model_type": "blip"}'})


@pytest.mark.parametrize(
    ("model_type", "files"),
    [
        ("bert", {"vocab.txt": word_list(*BERT)}),
        ("roberta", merges_files(*ROBERTA)),
        ("gpt2", merges_files()),
        ("t5", {"spiece.model": t5_spm()}),
        ("mistral", {"tokenizer.model": plain_spm("bpe")}),
        ("esm", {"vocab.txt": "\n".join(RESIDUES)}),
    ],
)
def test_the_model_says_its_class_where_the_tokenizer_does_not(model_type: str, files: Any, tmp_path: Path) -> None:
    """As in the oldest folders of the hub."""
    tokenizer = loaded(tmp_path, files | {"config.json": json.dumps({"model_type": model_type})})
    assert tokenizer.encode("A")


def test_a_tokenizer_json_comes_first(tmp_path: Path) -> None:
    made = loaded(tmp_path, {"vocab.txt": word_list(*BERT)}, "BertTokenizer")
    made.save(tmp_path)
    (tmp_path / "vocab.txt").write_text("broken\nbroken\n")
    assert load_tokenizer(tmp_path) == made


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[PAD]\n[UNK]\nfox\nfox\n", "a token stands in the vocabulary twice.*'fox' in lines 3 and 4"),
        ("", "the file is empty"),
        (b"[UNK]\n\xff", "not UTF-8"),
        ("[PAD]\nfox\n", r"lacks a special token · got '\[UNK\]' · expected unk_token"),
    ],
)
def test_a_broken_vocab_txt(content: Any, message: str, tmp_path: Path) -> None:
    for name in ("BertTokenizer", "MPNetTokenizer"):
        with pytest.raises(CheckpointError, match=message):
            loaded(tmp_path, {"vocab.txt": content}, name)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"merges.txt": "#version: 0.2\nh e\nzz y\n"},
            "line 3: a merge of no token · got 'zz' · expected a token of vocab.json",
        ),
        ({"merges.txt": "#version: 0.2\nh x7\n"}, "line 2: a merge of no token"),
        ({"merges.txt": "h e l\n"}, "line 1: not a pair · got 'h e l'"),
        ({"merges.txt": "h e\n\nh e\n"}, "line 2: not a pair · got ''"),
        ({"merges.txt": ""}, "merges.txt: the file is empty"),
        ({"vocab.json": ""}, "vocab.json: not JSON"),
        ({"vocab.json": "{}"}, "the vocabulary is empty"),
        ({"vocab.json": '["a"]'}, "not a JSON object"),
        ({"vocab.json": '{"a": "b"}'}, "not an id · got 'b' for 'a'"),
        ({"vocab.json": '{"a": -1}'}, "not an id · got -1"),
        ({"vocab.json": '{"a": 1, "b": 1}'}, "two tokens have the id 1 · got 'a' and 'b'"),
        (vocab_with(far=5000), "an added token gets the id of another|ids with gaps"),
    ],
)
def test_broken_merges(files: Any, message: str, tmp_path: Path) -> None:
    settings = {"extra_special_tokens": [f"<{number}>" for number in range(5000)]} if len(files) == 2 else {}
    with pytest.raises(CheckpointError, match=message):
        loaded(tmp_path, merges_files(*ROBERTA) | files, "RobertaTokenizer", **settings)


def test_a_sentencepiece_model_cut_off_anywhere(tmp_path: Path) -> None:
    raw = spm()
    draw = random.Random(0)
    for size in [0, 1, 2, *(draw.randrange(len(raw)) for _ in range(40))]:
        with pytest.raises(CheckpointError, match="SentencePiece model") as caught:
            loaded(tmp_path, {"sentencepiece.bpe.model": raw[:size]}, "XLMRobertaTokenizer")
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"not a SentencePiece model that can be read.*is the download complete"):
        loaded(
            tmp_path,
            {"sentencepiece.bpe.model": b"version https://git-lfs.github.com/spec/v1\n"},
            "XLMRobertaTokenizer",
        )


def test_a_sentencepiece_model_with_changed_bytes_is_read_or_refused(tmp_path: Path) -> None:
    raw, draw = t5_spm(), random.Random(1)
    outside = raw.index(b"nmt_nfkc")  # behind the pieces and how they were trained; the character map is the library's
    for _ in range(60):
        changed = bytearray(raw)
        for _ in range(3):
            changed[draw.randrange(outside)] = draw.randrange(256)
        try:
            tokenizer = loaded(tmp_path, {"spiece.model": bytes(changed)}, "T5Tokenizer")
        except CheckpointError as error:
            assert "\n" not in str(error)
        else:
            assert tokenizer.encode("hello")


@pytest.mark.parametrize(
    ("kind", "message"), [("word", "not supported · got word model"), ("char", "not supported · got character model")]
)
def test_other_kinds_of_sentencepiece_models(kind: str, message: str, tmp_path: Path) -> None:
    raw = spm(kind, 200, use_all_vocab=True) if kind == "word" else spm(kind, 200)
    with pytest.raises(CheckpointError, match=message):
        loaded(tmp_path, {"spiece.model": raw}, "T5Tokenizer")
    with pytest.raises(CheckpointError, match="got spaces behind words"):
        loaded(tmp_path, {"spiece.model": spm(treat_whitespace_as_suffix=True)}, "T5Tokenizer")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BYTES + "!!! 256\n", "line 257: not a token in base64 and its rank · got '!!! 256'"),
        (BYTES + "YWE=\n", "line 257: not a token in base64"),
        (BYTES + "YWE= x\n", "line 257: not a token in base64"),
        (BYTES + "YQ== 256\n", "line 257: a token stands there twice · got b'a'"),
        (BYTES + "YWE= 7\n", "a rank stands there twice"),
        (BYTES.replace("YQ== 97\n", ""), "not every byte has a rank · got none for byte 0x61"),
        ("", "the file is empty"),
    ],
)
def test_broken_ranks(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        loaded(tmp_path, {"gpt2.tiktoken": content})


def test_ranks_of_which_nobody_says_the_words(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"qwen is not read from such files.*cl100k_base, gpt2, o200k_base"):
        loaded(tmp_path / "a", {"qwen.tiktoken": BYTES})
    with pytest.raises(CheckpointError, match=r"does not say whose tokenizer"):
        loaded(tmp_path / "b", {"tokenizer.model": BYTES})
    with pytest.raises(CheckpointError, match=r"more than one file of ranks · got gpt2.tiktoken, r50k_base.tiktoken"):
        loaded(tmp_path / "c", {"gpt2.tiktoken": BYTES, "r50k_base.tiktoken": BYTES})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_lower_case": "yes"}, "do_lower_case: not true or false · got 'yes'"),
        ({"cls_token": None}, "needs a special token · got none · expected cls_token"),
        ({"cls_token": 5}, "cls_token: not a token · got 5"),
        (
            {"added_tokens_decoder": {"9999": {"content": "[NEW]"}}},
            r"an added token has no room · got id 9999 for '\[NEW\]'",
        ),
        ({"added_tokens_decoder": {"x": {"content": "[NEW]"}}}, "these files make no tokenizer"),
        ({"added_tokens_decoder": ["a"]}, "these files make no tokenizer"),
        ({"extra_special_tokens": [5]}, "a special token: not a token · got 5"),
    ],
)
def test_settings_that_make_no_sense(settings: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        loaded(tmp_path, {"vocab.txt": word_list(*BERT)}, "BertTokenizer", **settings)
    assert "\n" not in str(caught.value)


def test_settings_of_sentencepiece_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="extra_ids: not a count · got -1"):
        loaded(tmp_path, {"spiece.model": t5_spm()}, "T5Tokenizer", extra_ids=-1)
    with pytest.raises(CheckpointError, match=r"needs a special token · got none · expected mask_token"):
        loaded(tmp_path, {"spiece.model": spm()}, "XLMRobertaTokenizer", mask_token=None)
