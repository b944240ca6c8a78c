"""Tokenizers that are trained on the spot: the same each time, with the special tokens of their form."""

from __future__ import annotations

import pytest

from glassformer.core.errors import ConfigError
from glassformer.tokenizers.kinds import make_tokenizer, train_sequences, train_wordpiece
from glassformer.tokenizers.tokenizer import load_tokenizer

TEXTS = ["The cat sat on the unbelievable mat, Ünïcode 漢字!"] * 5 + ["cats and mats, 1 2 3 4 5 6 7 8 9"]


@pytest.mark.parametrize("train", [train_wordpiece, train_sequences])
def test_training_again_gives_the_same_tokenizer(train):
    assert len({train(TEXTS, 300)._source for _ in range(4)}) == 1


def test_a_wordpiece_is_berts_form(tmp_path):
    words = train_wordpiece(TEXTS, 120)
    words.save(tmp_path)
    words = load_tokenizer(tmp_path)
    assert [words.token_content(token) for token in words.encode("The catsmat~")] == [
        "[CLS]", "the", "cats", "##m", "##at", "[UNK]", "[SEP]"
    ]  # fmt: skip
    assert words.special.named() == {"pad": 0, "unknown": 1, "first": 2, "separator": 3, "mask": 4}
    batch = words.encode_batch([("the cat", "sat")])
    assert batch.segments.tolist()[0][-2:] == [1, 1] and batch.segments.tolist()[0][0] == 0
    assert words.decode(words.encode("the cat")) == "the cat"


def test_sequences_end_as_those_of_t5():
    words = train_sequences(TEXTS, 300)
    assert words.special.named() == {"end": 1, "pad": 0} and words.encode("mat")[-1] == 1
    assert words.decode(words.encode("The cat\n")) == "The cat\n"


def test_words_choose_the_kind():
    assert make_tokenizer("wordpiece:100", TEXTS) == train_wordpiece(TEXTS, 100)
    assert make_tokenizer("sequences:300", TEXTS) == train_sequences(TEXTS, 300)
    with pytest.raises(ConfigError, match="too small"):
        make_tokenizer("sequences:257", TEXTS)
    with pytest.raises(ConfigError, match="no such tokenizer"):
        make_tokenizer("wordpiece:many", TEXTS)
