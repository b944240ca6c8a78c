from __future__ import annotations

import json

import pytest
import torch
import transformers
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer as Backend, decoders, models, normalizers, pre_tokenizers, processors

from glassformer.core.errors import CheckpointError, ConfigError, DataError
from glassformer.tokenizers.boundary import library_errors
from glassformer.tokenizers.kinds import byte_tokenizer, character_tokenizer, make_tokenizer, train_bpe
from glassformer.tokenizers.pieces import byte_characters
from glassformer.tokenizers.tokenizer import Tokenizer, check_fits, load_tokenizer

TEXT = "The quick brown fox, naïve and 東京 🦊.\n\n\tThe fox; the quick fox — again!\n" * 4
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def word_piece() -> Tokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "fox", "##es", "run", "##s", "."]
    backend = Backend(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return Tokenizer(backend.to_str(), {"pad_token": "[PAD]", "cls_token": {"content": "[CLS]"}})


def sentence_piece() -> Tokenizer:
    """The form of Llama 1 and 2: Metaspace by a normalizer, and bytes for what is not in the vocabulary."""
    letters = ["▁", "a", "b", "c", "▁a", "ab", "▁ab"]
    vocab = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges = [("▁", "a"), ("a", "b"), ("▁", "ab")]
    model = models.BPE(
        {piece: number for number, piece in enumerate(vocab)},
        merges,
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    backend = Backend(model)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", 1)]
    )
    return Tokenizer(backend.to_str(), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})


MADE = {"bytes": byte_tokenizer(), "chars": character_tokenizer([TEXT]), "bpe": train_bpe([TEXT], 300)}


@pytest.mark.parametrize("kind", MADE)
def test_text_comes_back(kind: str) -> None:
    tokenizer = MADE[kind]
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    assert b"".join(tokenizer.token_bytes(token) for token in ids) == TEXT.encode()
    assert max(ids) < tokenizer.vocab_size


@settings(deadline=None, max_examples=50)
@given(UNICODE)
def test_any_text_comes_back_and_has_its_bytes(text: str) -> None:
    for tokenizer in (MADE["bytes"], MADE["bpe"]):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert b"".join(tokenizer.token_bytes(token) for token in ids) == text.encode()


def test_a_byte_is_its_own_id() -> None:
    assert MADE["bytes"].encode("aé\0") == [97, 0xC3, 0xA9, 0]
    assert MADE["bytes"].vocab_size == 257
    assert MADE["bytes"].special.end == 256


def test_a_character_that_was_not_seen_is_unknown() -> None:
    tokenizer = character_tokenizer(["abc"])
    assert tokenizer.encode("cab") == [4, 2, 3]
    assert tokenizer.encode("z") == [tokenizer.special.unknown]


def test_training_twice_gives_the_same_tokenizer() -> None:
    assert train_bpe([TEXT, TEXT[::-1]], 320) == train_bpe([TEXT, TEXT[::-1]], 320)
    assert 257 < train_bpe([TEXT], 300).vocab_size <= 300


def test_byte_table_is_that_of_the_library() -> None:
    assert sorted(byte_characters().values()) == sorted(pre_tokenizers.ByteLevel.alphabet())


@pytest.mark.parametrize("kind", MADE)
def test_transformers_opens_the_folder(kind: str, tmp_path) -> None:
    MADE[kind].save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(TEXT)["input_ids"] == MADE[kind].encode(TEXT)
    assert theirs.eos_token_id == MADE[kind].special.end
    assert Tokenizer.load(tmp_path) == MADE[kind]
    assert load_tokenizer(tmp_path / "tokenizer.json") == MADE[kind]


def test_what_stood_beside_the_tokenizer_is_kept(tmp_path) -> None:
    MADE["bytes"].save(tmp_path / "a")
    (tmp_path / "a/chat_template.jinja").write_text("{{ messages }}")
    (tmp_path / "a/special_tokens_map.json").write_text('{"pad_token": "<|endoftext|>"}')
    loaded = Tokenizer.load(tmp_path / "a")
    assert loaded.chat_template == "{{ messages }}"
    assert loaded.special.pad == 256
    loaded.save(tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / file.name).read_bytes() == file.read_bytes()
    assert hash(loaded) != hash(MADE["chars"])
    assert loaded != "bytes"


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_are_padded_on_either_side(side) -> None:
    batch = MADE["bytes"].encode_batch(["abc", "d"], side=side)
    filled = [100, 256, 256] if side == "right" else [256, 256, 100]
    assert batch.tokens.tolist() == [[97, 98, 99], filled]
    assert batch.tokens.dtype == torch.int64
    assert batch.valid.tolist() == [[True] * 3, [number < 256 for number in filled]]
    assert batch.count == 4
    assert len(batch) == 2
    assert batch.segments is None
    assert MADE["bytes"].encode_batch(["ab", "cd"]).valid is None


def test_pairs_give_segments_and_are_cut_at_the_longer_text() -> None:
    tokenizer = word_piece()
    batch = tokenizer.encode_batch([("the foxes run", "foxes."), ("the", "fox")])
    assert batch.tokens.tolist() == [[2, 4, 5, 6, 7, 3, 5, 6, 9, 3], [2, 4, 3, 5, 3, 0, 0, 0, 0, 0]]
    assert batch.segments.tolist() == [[0] * 6 + [1] * 4, [0, 0, 0, 1, 1, 0, 0, 0, 0, 0]]
    assert batch.to("cpu").segments.tolist() == batch.segments.tolist()
    cut = tokenizer.encode(("the foxes run", "foxes."), max_tokens=7)
    assert cut == [2, 4, 5, 3, 5, 6, 3]
    assert tokenizer.encode("the foxes run", max_tokens=4) == [2, 4, 5, 3]
    assert tokenizer.encode("the foxes run", max_tokens=4, add_special=False) == [4, 5, 6, 7]
    assert tokenizer.encode("the fox", max_tokens=99) == [2, 4, 5, 3]
    with pytest.raises(DataError, match=r"no room for a token.*at least 3"):
        tokenizer.encode("the", max_tokens=2)


def test_special_tokens_in_the_text_of_others_are_characters() -> None:
    text = "a<|endoftext|>"
    for tokenizer in MADE.values():
        assert tokenizer.encode(text)[-1] == tokenizer.special.end
        assert tokenizer.special.end not in tokenizer.encode(text, literal=True)
    assert MADE["bytes"].encode_documents([text, "b"]) == [list(text.encode()), [98]]


def test_padding_and_truncation_sections_change_nothing() -> None:
    backend = Backend.from_str(MADE["bytes"]._source)
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    assert Tokenizer(backend.to_str()).encode("abcdef") == list(b"abcdef")


@pytest.mark.parametrize("text", ["aé東🦊b", "\ufffd", "a<|endoftext|>b", "🦊"])
def test_streaming_shows_whole_characters_only(text: str) -> None:
    for tokenizer in (MADE["bytes"], train_bpe([TEXT], 270), character_tokenizer([text])):
        ids = tokenizer.encode(text)
        stream = tokenizer.stream()
        pieces = [stream.push(token) for token in ids] + [stream.finish()]
        assert "".join(pieces) == tokenizer.decode(ids)
        assert all(piece == "" or piece in text for piece in pieces)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 256), max_size=30))
def test_streaming_any_bytes_equals_decoding_them(ids: list[int]) -> None:
    stream = MADE["bytes"].stream()
    assert "".join([stream.push(token) for token in ids]) + stream.finish() == MADE["bytes"].decode(ids)


@settings(deadline=None, max_examples=100)
@given(st.text(st.sampled_from("abc é🦊"), max_size=12))
def test_byte_fallback_streams_and_knows_its_bytes(text: str) -> None:
    tokenizer = sentence_piece()
    ids = tokenizer.encode(text)
    stream = tokenizer.stream()
    assert "".join([stream.push(token) for token in ids]) + stream.finish() == tokenizer.decode(ids) == text
    expected = b" " + text.encode() if text else b""
    assert b"".join(tokenizer.token_bytes(token) for token in ids) == expected


def test_a_broken_character_is_given_up_at_some_time() -> None:
    tokenizer = sentence_piece()
    stream = tokenizer.stream()
    first = tokenizer.token_id("<0xF0>")
    pieces = [stream.push(first) for _ in range(70)]
    assert any(pieces)
    assert "".join(pieces) + stream.finish() == tokenizer.decode([first] * 70)


def test_bytes_of_word_pieces_and_metaspace() -> None:
    tokenizer = word_piece()
    assert [tokenizer.token_bytes(token) for token in (4, 6, 3)] == [b" the", b"es", b""]
    backend = Backend(models.BPE({"▁a": 0, "b": 1}, []))
    backend.decoder = decoders.Metaspace()
    assert Tokenizer(backend.to_str()).token_bytes(0) == b" a"


def test_without_a_decoder_a_token_is_its_text() -> None:
    backend = Backend(models.WordLevel({"é": 0, "?": 1}, unk_token="?"))
    tokenizer = Tokenizer(backend.to_str())
    assert tokenizer.token_bytes(0) == "é".encode()
    assert not tokenizer.byte_level


def test_byte_level_takes_a_token_with_a_foreign_character_literally() -> None:
    backend = Backend.from_str(MADE["bytes"]._source)
    backend.add_tokens(["東"])
    tokenizer = Tokenizer(backend.to_str())
    assert tokenizer.token_bytes(257).decode() == tokenizer.decode([257]) == "東"


# -- what is refused --------------------------------------------------------------------------------------------------


def test_half_characters_are_refused() -> None:
    with pytest.raises(DataError, match=r"lone surrogate.*U.D800 at character 1"):
        MADE["bytes"].encode("a\ud800")
    with pytest.raises(DataError, match="lone surrogate"):
        MADE["bytes"].encode_documents(["a\udfff"])
    with pytest.raises(DataError, match="lone surrogate"):
        train_bpe(["a\ud800"], 300)
    with pytest.raises(DataError, match="lone surrogate"):
        character_tokenizer(["a\ud800"])


def test_ids_that_do_not_exist_are_refused() -> None:
    for token in (257, -1, 2**40):
        with pytest.raises(DataError, match=r"no such token.*below 257"):
            MADE["bytes"].decode([token])
    with pytest.raises(DataError, match="at least one row"):
        MADE["bytes"].encode_batch([])
    with pytest.raises(DataError, match="at least one row"):
        MADE["bytes"].encode_batch(["a", ""])


def test_a_folder_without_a_tokenizer_says_what_is_read(tmp_path) -> None:
    with pytest.raises(
        CheckpointError, match=r"no tokenizer here.*tokenizer\.json, a \*\.tiktoken.*vocab\.txt.*save_pretr"
    ):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("source", ["", "[]", "{", '{"model": {"type": "Nothing"}}', "[" * 100_000, "\0"])
def test_broken_tokenizer_files_are_one_error(source: str, tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_text(source)
    with pytest.raises(CheckpointError, match="not a tokenizer that can be read"):
        Tokenizer.load(tmp_path)


def test_broken_files_beside_it_are_one_error(tmp_path) -> None:
    MADE["bytes"].save(tmp_path)
    for content, what in (
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
    ):
        (tmp_path / "tokenizer_config.json").write_bytes(content)
        with pytest.raises(CheckpointError, match=what):
            Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with (tmp_path / "tokenizer.json").open("r+b") as file:
        file.truncate(2**30)
    with pytest.raises(CheckpointError, match="too large"):
        Tokenizer.load(tmp_path)


def test_special_tokens_must_agree_with_the_vocabulary() -> None:
    described = json.loads(MADE["bytes"]._source)
    described["added_tokens"].append(described["added_tokens"][0] | {"id": 5})
    with pytest.raises(CheckpointError, match=r"id 5 for '<.endoftext.>'.*expected id 256"):
        Tokenizer(json.dumps(described))


def test_a_panic_of_the_library_is_our_error() -> None:
    described = json.loads(MADE["bytes"]._source)
    described["pre_tokenizer"] = {"type": "FixedLength", "length": 0}
    with pytest.raises(DataError, match=r"cannot be encoded.*non-zero"):
        Tokenizer(json.dumps(described)).encode("a")
    described["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "////AGFhYWE="}
    with pytest.raises(CheckpointError, match=r"not a tokenizer.*Precompiled"):
        Tokenizer(json.dumps(described))


def test_a_stop_is_not_an_error_of_the_library() -> None:
    with pytest.raises(KeyboardInterrupt), library_errors(DataError, "never this"):
        raise KeyboardInterrupt


def test_a_tokenizer_larger_than_the_model_is_refused() -> None:
    check_fits(MADE["bytes"], 257)
    with pytest.raises(ConfigError, match=r"got 257.*at most 256"):
        check_fits(MADE["bytes"], 256)


def test_kinds_by_their_name(tmp_path) -> None:
    assert make_tokenizer("bytes", ["x"]) == MADE["bytes"]
    assert make_tokenizer("chars", ["ab"]).vocab_size == 4
    assert make_tokenizer("bpe:260", [TEXT]).vocab_size == 260
    MADE["chars"].save(tmp_path)
    assert make_tokenizer(str(tmp_path / "tokenizer.json"), []) == MADE["chars"]
    for wanted in ("words", "bpe", "bpe:many", "bytes:3"):
        with pytest.raises(ConfigError, match="no such tokenizer"):
            make_tokenizer(wanted, [TEXT])
    with pytest.raises(ConfigError, match=r"too small.*at least 257"):
        make_tokenizer("bpe:256", [TEXT])
    with pytest.raises(DataError, match="no text"):
        make_tokenizer("chars", [""])
