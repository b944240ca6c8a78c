from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend, decoders, models, pre_tokenizers, processors

from glassformer.core.errors import ConfigError, DataError
from glassformer.data import Share, TextFolder, read_text, tokens
from glassformer.data.sampling import Windows
from glassformer.data.text import Document
from glassformer.data.text_data import from_recipe
from glassformer.data.tokens import encode_stream, end_token, refuse_short
from glassformer.tokenizers.kinds import byte_tokenizer, character_tokenizer, train_bpe
from glassformer.tokenizers.tokenizer import Tokenizer

PROSE = "".join(f"{number} was followed,\n\n by {number + 1}.\n  And so on:\t{number}\n" for number in range(200))


def documents(*texts: str) -> list[Document]:
    return [Document(str(place), text) for place, text in enumerate(texts)]


def test_documents_are_joined_by_the_end_token() -> None:
    stream = encode_stream(documents("ab", "é"), byte_tokenizer())
    assert stream.ids.tolist() == [97, 98, 256, 0xC3, 0xA9, 256]
    assert stream.ids.dtype == np.uint16
    assert stream.starts.tolist() == [0, 3]
    assert stream.text_bytes == 6
    assert stream.text_tokens == 4
    assert stream.around(-1, 3).tolist() == [256, 97, 98]
    assert stream.around(5, 3).tolist() == [256, 97, 98]
    assert stream.digest == encode_stream(documents("ab", "é"), byte_tokenizer()).digest
    assert stream.digest != encode_stream(documents("ab", "è"), byte_tokenizer()).digest


def test_without_an_end_token_the_zero_byte_is_taken() -> None:
    plain = Tokenizer(byte_tokenizer()._source)
    assert end_token(plain) == 0
    assert encode_stream(documents("ab", "c"), plain).ids.tolist() == [97, 98, 0, 99, 0]
    with pytest.raises(DataError, match="no token for the end of a text"):
        end_token(Tokenizer(character_tokenizer(["ab"])._source))


def test_special_tokens_that_the_tokenizer_adds_are_kept_and_not_doubled() -> None:
    backend = Backend(models.BPE({"<s>": 0, "</s>": 1, "a": 2, "b": 3}, []))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<s>", "</s>"])
    added = [("<s>", 0), ("</s>", 1)]
    backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=added)
    tokenizer = Tokenizer(backend.to_str(), {"eos_token": "</s>"})
    assert encode_stream(documents("ab", "b"), tokenizer).ids.tolist() == [0, 2, 3, 1, 0, 3, 1]


def test_text_that_looks_like_the_end_token_is_text() -> None:
    stream = encode_stream(documents("a<|endoftext|>b"), byte_tokenizer())
    assert stream.ids.tolist() == [*b"a<|endoftext|>b", 256]


@pytest.mark.parametrize("make", [byte_tokenizer, lambda: train_bpe([PROSE], 400)])
def test_long_documents_encode_the_same_in_pieces(make, monkeypatch) -> None:
    tokenizer = make()
    whole = encode_stream(documents(PROSE, "x", PROSE[::-1]), tokenizer)
    monkeypatch.setattr(tokens, "_AT_ONCE", 100)
    calls = []
    monkeypatch.setattr(
        tokenizer, "encode_documents", lambda texts, f=tokenizer.encode_documents: (calls.append(texts), f(texts))[1]
    )
    pieces = encode_stream(documents(PROSE, "x", PROSE[::-1]), tokenizer)
    assert len(calls) > 50
    assert max(len(text) for texts in calls for text in texts) < 300
    assert pieces.ids.tolist() == whole.ids.tolist()
    assert pieces.starts.tolist() == whole.starts.tolist()
    assert pieces.text_bytes == whole.text_bytes


def test_tokenizers_that_add_a_space_are_not_given_pieces(monkeypatch) -> None:
    backend = Backend.from_str(byte_tokenizer()._source)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    tokenizer = Tokenizer(backend.to_str(), {"eos_token": "<|endoftext|>"})
    monkeypatch.setattr(tokens, "_AT_ONCE", 100)
    assert len(encode_stream(documents(PROSE), tokenizer)) == len(PROSE.encode()) + 2


def test_large_vocabularies_take_four_bytes() -> None:
    class Large:
        vocab_size, byte_level, special = 70_000, False, byte_tokenizer().special

        def encode(self, text: str) -> list[int]:
            return [69_999] * len(text)

        def encode_documents(self, texts: list[str]) -> list[list[int]]:
            return [self.encode(text) for text in texts]

        def token_bytes(self, token: int) -> bytes:
            return b"a"

    stream = encode_stream(documents("ab"), Large())
    assert stream.ids.dtype == np.int32
    assert stream.ids.tolist() == [69_999, 69_999, 256]


def test_a_single_token_is_too_little() -> None:
    assert refuse_short(encode_stream(documents("ab"), byte_tokenizer()), "x").text_tokens == 2
    with pytest.raises(DataError, match=r"place: too little text to train on · got 1 token · expected at least 2"):
        refuse_short(encode_stream(documents("a"), byte_tokenizer()), "place")


# -- the data of a run ------------------------------------------------------------------------------------------------


def test_a_folder_is_read_split_and_batched(tmp_path) -> None:
    (tmp_path / "a.txt").write_text(PROSE)
    data = TextFolder(tmp_path, byte_tokenizer(), length=32)
    (validation,) = data.validation.values()
    assert data.tokens + len(validation) == len(PROSE.encode()) + 2
    assert not data.test
    batches = list(data.batches(8))
    assert batches[0].tokens.shape == (8, 32)
    assert sum(batch.count - len(batch) for batch in batches) >= data.tokens
    assert len(batches) == -(-data.tokens // (8 * 31))
    assert next(iter(data.batches(8, length=16))).tokens.shape == (8, 16)
    with pytest.raises(ConfigError, match="nothing to predict"):
        next(data.batches(8, length=1))
    assert isinstance(data.sampler, Windows)


def test_a_tokenizer_is_trained_on_the_training_text_alone(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("abc\n" * 100 + "zzzz" * 5)
    data = read_text(tmp_path / "a.txt", character_tokenizer, length=8)
    assert data.tokenizer.token_id("z") is None
    assert data.tokenizer.vocab_size == 6


def test_several_places_are_mixed_and_read_again_from_their_recipe(tmp_path, monkeypatch) -> None:
    (tmp_path / "a.txt").write_text(PROSE)
    (tmp_path / "b.jsonl").write_text('{"body": "' + "xyz " * 200 + '"}\n')
    monkeypatch.chdir(tmp_path)
    places = ["a.txt", Share("b.jsonl", first=2.0, last=0.0)]
    data = read_text(places, byte_tokenizer(), length=16, field="body", seed=5)
    assert set(data.validation) == {str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl")}
    batch, cursor = data.sampler.draw(data.sampler.start, 8, 16, 0.3)
    monkeypatch.chdir("/")
    again = from_recipe(data.recipe, byte_tokenizer())
    assert again.sampler.digest == data.sampler.digest
    other, _ = again.sampler.draw(data.sampler.start, 8, 16, 0.3)
    assert other.tokens.tolist() == batch.tokens.tolist()
    last, _ = again.sampler.draw(cursor, 50, 16, 1.0)
    assert ord("x") not in last.tokens.unique().tolist()


def test_documents_may_be_rows(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{"x" * n}"}}\n' for n in range(1, 9)))
    data = read_text(tmp_path / "a.jsonl", byte_tokenizer(), samples="documents", length=64)
    batch, _ = data.sampler.draw(data.sampler.start, 4, 64)
    assert batch.tokens.shape[1] <= 10
    assert batch.valid is not None


def test_splits_may_be_trained_on_and_portions_taken() -> None:
    plain = read_text("embedded:reference", byte_tokenizer())
    final = read_text("embedded:reference", byte_tokenizer(), train_on=("train", "validation"))
    assert final.tokens == plain.tokens + len(plain.validation["embedded:reference"])
    assert not final.validation
    assert final.test["embedded:reference"].digest == plain.test["embedded:reference"].digest
    part = read_text(Share("embedded:reference", portion=0.5), byte_tokenizer())
    assert 0.2 < part.tokens / plain.tokens < 0.8
    assert len(part.validation["embedded:reference"]) == len(plain.validation["embedded:reference"])
    assert from_recipe(final.recipe, byte_tokenizer()).sampler.digest == final.sampler.digest


def test_a_text_too_short_to_hold_anything_back_is_still_trained_on(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("abcd")
    assert read_text(tmp_path / "a.txt", byte_tokenizer()).validation == {}


def test_what_cannot_be_read_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="no place"):
        read_text([], byte_tokenizer())
    with pytest.raises(DataError, match="no such folder"):
        TextFolder(tmp_path / "none", byte_tokenizer())
    (tmp_path / "a.txt").write_text("ab")
    with pytest.raises(DataError, match=r"a\.txt: too little text"):
        read_text(tmp_path / "a.txt", byte_tokenizer())
    for portion in (0.0, 1.5):
        with pytest.raises(ConfigError, match="portion of a place"):
            read_text(Share("embedded:reference", portion=portion), byte_tokenizer())


def test_the_face_of_the_room() -> None:
    from glassformer import data

    assert set(data._HOMES) <= set(dir(data))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = data.nothing
