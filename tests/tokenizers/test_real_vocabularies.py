"""Published vocabularies, of which a copy lies beside the repository on the machines that check it."""

from __future__ import annotations

import gzip
import json
import random
import struct
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import transformers
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
from tiktoken.load import load_tiktoken_bpe
from tiktoken_ext import openai_public

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.older._spm import read_sentencepiece
from glassformer.tokenizers.pieces import byte_characters
from glassformer.tokenizers.tokenizer import Tokenizer, load_tokenizer
from tests.tokenizers.hard_texts import hard_pairs, hard_texts
from tests.tokenizers.older_folders import write

DATA = Path(__file__).parents[3] / "shared/data/tokenizers"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/tokenizers is not here")
PLAIN = {"lstrip": False, "rstrip": False, "single_word": False}
MARK = "\n__ggml_vocab_test__\n"


def data(name: str) -> bytes:
    raw = (DATA / name).read_bytes()
    return gzip.decompress(raw) if name.endswith(".gz") else raw


def agree(ours: Tokenizer, theirs: Any, count: int = 1000) -> None:
    """All texts and pairs have the same tokens, at the same places."""
    for text in hard_texts()[:count]:
        found = theirs(text, return_offsets_mapping=True)
        assert ours.encode(text) == found["input_ids"], text
        assert ours.offsets(text) == found["offset_mapping"], text
    assert [pair for pair in hard_pairs()[:count] if ours.encode(pair) != theirs(*pair)["input_ids"]] == []


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False, "strip_accents": False}], ids=["lower", "cased"])
def test_bert(settings: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, {"vocab.txt": data("bert-base-uncased-vocab.txt")}, "BertTokenizer", **settings)
    ours = load_tokenizer(tmp_path)
    assert ours.vocab_size == 30522
    agree(ours, transformers.AutoTokenizer.from_pretrained(tmp_path))


def test_clip(tmp_path: Path) -> None:
    """The vocabulary as OpenAI's code makes it of the first 48,894 merges."""
    merges = [tuple(line.split()) for line in data("clip_bpe_simple_vocab_16e6.txt.gz").decode().split("\n")]
    merges = merges[1 : 49152 - 256 - 2 + 1]
    signs = list(byte_characters().values())
    words = [*signs, *(f"{sign}</w>" for sign in signs), *("".join(pair) for pair in merges)]
    vocab = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    lines = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges)
    write(tmp_path, {"vocab.json": json.dumps(vocab), "merges.txt": lines}, "CLIPTokenizer")
    ours, theirs = load_tokenizer(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours.encode("a photo of a cat") == [49406, 320, 1125, 539, 320, 2368, 49407]
    agree(ours, theirs)
    spaces = "\x1c\x1d\x1e\x1f\x85 "  # which transformers takes off at the ends, and which are control characters
    for text in hard_texts():
        row = ours.encode(text)
        assert ours.decode(row).strip(spaces) == theirs.decode(row, skip_special_tokens=True).strip(spaces)
        stream = ours.stream()
        assert "".join([stream.push(token) for token in row]) + stream.finish() == ours.decode(row)
        said = b"".join(ours.token_bytes(token) for token in row).decode(errors="replace")
        assert said.removesuffix(" ") == ours.decode(row)
    ours.save(tmp_path / "saved")
    agree(ours, transformers.AutoTokenizer.from_pretrained(tmp_path / "saved"), 200)


@pytest.mark.parametrize(
    ("name", "ranks"),
    [("gpt2", "gpt2"), ("r50k_base", "gpt2"), ("cl100k_base", "multilingual"), ("o200k_base", "multilingual")],
)
def test_ranks(name: str, ranks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tiktoken's own words and special tokens; other ranks stand for those of the larger encodings."""
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})
    monkeypatch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", lambda *_, **__: {})
    known = getattr(openai_public, name)()
    write(tmp_path, {f"{name}.tiktoken": data(f"{ranks}.tiktoken.gz")})
    loaded = load_tiktoken_bpe(str(tmp_path / f"{name}.tiktoken"))
    theirs = tiktoken.Encoding(
        name, pat_str=known["pat_str"], mergeable_ranks=loaded, special_tokens=known["special_tokens"]
    )
    ours = load_tokenizer(tmp_path)
    assert ours.special.end == theirs.eot_token
    assert ours.vocab_size == theirs.n_vocab
    draw = random.Random(0)
    runs = ["".join(draw.choice("aab =-\n  ") for _ in range(draw.randint(1, 40))) for _ in range(1000)]
    for text in [*hard_texts(), *runs]:
        row = ours.encode(text)
        assert row == theirs.encode(text, allowed_special="all"), text
        assert ours.encode(text, literal=True) == theirs.encode(text, disallowed_special=()), text
        assert ours.decode(row, skip_special=False) == text
        assert b"".join(map(ours.token_bytes, ours.encode(text, literal=True))) == text.encode()


def test_ranks_under_the_name_of_a_sentencepiece_model(tmp_path: Path) -> None:
    """As Llama 3 came: ``tokenizer.model`` is a file of ranks; transformers takes the same rule for words."""
    said = {
        str(number): {"content": text, "special": True, "normalized": False} | PLAIN
        for text, number in (("<|a|>", 50257), ("<|z|>", 50260))
    }
    ends = {"bos_token": "<|a|>", "eos_token": "<|z|>", "add_bos_token": True}
    files = {"tokenizer.model": data("multilingual.tiktoken.gz")}
    write(tmp_path, files, "PreTrainedTokenizerFast", added_tokens_decoder=said, **ends)
    ours = load_tokenizer(tmp_path)
    agree(ours, transformers.AutoTokenizer.from_pretrained(tmp_path))
    assert ours.encode("a<|z|>")[::2] == [50257, 50260]
    assert ours.vocab_size == 50261
    ours.save(tmp_path / "saved")
    agree(ours, transformers.AutoTokenizer.from_pretrained(tmp_path / "saved"), 200)


def test_ranks_and_merges_of_gpt2_are_one_tokenizer(tmp_path: Path) -> None:
    ranks = load_tokenizer(write(tmp_path / "a", {"gpt2.tiktoken": data("gpt2.tiktoken.gz")}))
    tokens, _, merges = gguf_vocabulary("gpt-2")
    merged = load_tokenizer(write(tmp_path / "b", merges_of(tokens, merges), "GPT2Tokenizer"))
    assert [text for text in hard_texts() if ranks.encode(text) != merged.encode(text)] == []
    agree(merged, transformers.AutoTokenizer.from_pretrained(tmp_path / "b"))


@pytest.mark.parametrize(("name", "kind"), [("mpt", "GPTNeoXTokenizer"), ("starcoder", "GPT2Tokenizer")])
def test_the_ids_that_llama_cpp_expects(name: str, kind: str, tmp_path: Path) -> None:
    tokens, types, merges = gguf_vocabulary(name)
    own = {number: token for number, token in enumerate(tokens) if types[number] != 1}
    added = {
        str(number): {"content": token, "special": types[number] == 3, "normalized": types[number] != 3} | PLAIN
        for number, token in own.items()
    }
    # what its makers added later stands in no vocab.json
    first = next((number for number in own if types[number] == 4), len(tokens))
    files = merges_of(tokens[:first], merges) | {
        "config.json": json.dumps({"model_type": f"{name}2" if name == "starcoder" else name})
    }
    ours = load_tokenizer(write(tmp_path, files, kind, added_tokens_decoder=added))
    texts = data(f"ggml-vocab-{name}.gguf.inp").decode().split(MARK)
    expected = data(f"ggml-vocab-{name}.gguf.out").decode().split("\n")
    assert len(texts) == 47
    assert [ours.encode(text) for text in texts] == [list(map(int, line.split())) for line in expected[:47]]


@pytest.mark.parametrize("name", ["albert", "mistral", "t5"])
def test_sentencepiece_files(name: str, tmp_path: Path) -> None:
    """These three hold whole words, a kind that is refused by its name; what they hold is read as it is."""
    judge = SentencePieceProcessor(model_file=str(DATA / f"{name}_test_vocab.spm"))
    with pytest.raises(CheckpointError, match="got word model"):
        read_sentencepiece(DATA / f"{name}_test_vocab.spm")
    message = sentencepiece_model_pb2.ModelProto.FromString(data(f"{name}_test_vocab.spm"))
    message.trainer_spec.model_type = 1  # the same pieces as a unigram model
    (tmp_path / "a.model").write_bytes(message.SerializeToString())
    found = read_sentencepiece(tmp_path / "a.model")
    assert found.scored == [(judge.id_to_piece(number), judge.get_score(number)) for number in range(len(judge))]
    assert found.unknown == judge.unk_id()
    assert len(found.charsmap) == 237561


def merges_of(tokens: list[str], merges: list[str]) -> dict[str, str]:
    vocab = {token: number for number, token in enumerate(tokens)}
    return {"vocab.json": json.dumps(vocab), "merges.txt": "#version: 0.2\n" + "".join(f"{pair}\n" for pair in merges)}


@cache
def gguf_vocabulary(name: str) -> tuple[list[str], list[int], list[str]]:
    found = gguf_metadata(data(f"ggml-vocab-{name}.gguf.gz"))
    return tuple(found[f"tokenizer.ggml.{key}"] for key in ("tokens", "token_type", "merges"))


def gguf_metadata(raw: bytes) -> dict[str, Any]:
    """The keys and values at the start of a GGUF file."""
    numbers = dict(zip([*range(8), 10, 11, 12], "BbHhIif?Qqd", strict=True))
    place = 4

    def number(sign: str) -> Any:
        nonlocal place
        place += struct.calcsize(f"<{sign}")
        return struct.unpack_from(f"<{sign}", raw, place - struct.calcsize(f"<{sign}"))[0]

    def value(kind: int) -> Any:
        nonlocal place
        if kind == 8:
            size = number("Q")
            place += size
            return raw[place - size : place].decode()
        if kind == 9:
            inner, size = number("I"), number("Q")
            return [value(inner) for _ in range(size)]
        return number(numbers[kind])

    assert raw[:4] == b"GGUF"
    assert number("I") == 3
    number("Q")
    return {value(8): value(number("I")) for _ in range(number("Q"))}
