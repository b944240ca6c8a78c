from __future__ import annotations

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers

from glassformer.core.errors import ConfigError, DataError
from glassformer.data.batch import pad_rows
from glassformer.generate.text import Writing, completions, generate, stream
from glassformer.inside.edits import EditSpec
from glassformer.models.transformer import SpecialTokens
from glassformer.tokenizers.kinds import byte_tokenizer
from glassformer.tokenizers.tokenizer import Tokenizer
from tests.builders import gpt_like, lively, t5_like
from tests.generate.chains import chain, reciting

BYTES = byte_tokenizer()


def completion(model, prompt, tokenizer=BYTES, **said):
    writing = Writing(model, tokenizer, [prompt], **said)
    pieces = [piece for _, piece in writing]
    assert "".join(pieces) == writing.completions[0].text
    return pieces, writing.completions[0]


def test_a_text_is_continued_until_its_end():
    model = reciting("Whole rds")
    assert generate(model, BYTES, "W") == "hole rds"
    assert generate(model, BYTES, ["Wh", "l"]) == ["ole rds", "e rds"]
    assert generate(model, BYTES, ("W",), max_tokens=3) == ["hol"]


def test_the_number_of_tokens_and_the_reason():
    model = reciting("abcdef")
    ended, short = completion(model, "a")[1], completion(model, "a", max_tokens=2)[1]
    assert (ended.prompt, ended.text, ended.tokens, ended.reason) == ("a", "bcdef", 6, "end")
    assert (short.text, short.tokens, short.reason) == ("bc", 2, "length")


def test_pieces_are_whole_characters():
    text = "aé€😀b"
    pieces, _ = completion(reciting(text), "a")
    assert pieces == ["é", "€", "😀", "b"]
    assert list(stream(reciting(text), BYTES, "a")) == pieces


def test_a_text_that_ends_inside_a_character_says_so():
    pieces, cut = completion(reciting("aé"), "a", max_tokens=1)
    assert pieces == ["\N{REPLACEMENT CHARACTER}"]
    assert cut.reason == "length"


def test_a_stop_string_across_tokens_ends_a_text_and_is_not_in_it():
    model = reciting("ab€cdEND")
    pieces, stopped = completion(model, "a", stop=["€c", "zz"])
    assert pieces == ["b"]
    assert (stopped.tokens, stopped.reason) == (5, "stop"), "nothing is computed behind it"
    assert generate(model, BYTES, "a", stop="dE") == "b€c"
    assert generate(model, BYTES, "a", stop=("END", "NDX")) == "b€cd"


def test_what_was_held_back_for_a_stop_string_is_shown_at_the_end():
    assert completion(reciting("abcEN"), "a", stop=["END"])[0] == ["b", "c", "EN"]
    assert completion(reciting("abcEN"), "a", stop=["END"], max_tokens=3)[0] == ["b", "c", "E"]


def test_a_text_that_is_left_early_gets_what_was_held_back():
    writing = Writing(reciting("abcEND"), BYTES, ["a", "x"], stop=["END"])
    for row, _ in writing:
        if row == 1 and writing.completions[0].tokens == 3:
            break
    assert writing.completions[0].text == "bc"
    writing.cut()
    assert [one.text for one in writing.completions] == ["bcE", "xxx"]
    assert [one.reason for one in writing.completions] == [None, None]


def test_a_row_that_ends_with_the_last_token_of_a_stop_string_is_stopped():
    assert completion(reciting("abc"), "a", stop=["c"], max_tokens=2)[1].reason == "stop"


def test_prompts_get_alone_what_they_get_together():
    model = lively(gpt_like().replace(vocab_size=257, head=gpt_like().head.replace(tied=False)))
    prompts = ["one", "a", "the third of them", "four"]
    for said in ({}, {"temperature": 1.2, "seed": 3}, {"top_k": 5, "seed": 0, "repetition_penalty": 1.3}):
        together = generate(model, BYTES, prompts, max_tokens=12, **said)
        assert len(set(together)) == 4
        for size in (1, 3):
            assert generate(model, BYTES, prompts, max_tokens=12, batch_size=size, **said) == together
        assert generate(model, BYTES, prompts[0], max_tokens=12, **said) == together[0]
        assert "".join(stream(model, BYTES, prompts[0], max_tokens=12, **said)) == together[0]


def test_sampling_is_what_the_fields_say():
    model = lively(gpt_like().replace(vocab_size=257))
    greedy = generate(model, BYTES, "a", max_tokens=8)
    assert generate(model, BYTES, "a", max_tokens=8, top_k=1) == greedy
    assert generate(model, BYTES, "a", max_tokens=8, temperature=0.0) == greedy
    drawn = {generate(model, BYTES, "a", max_tokens=8, temperature=3.0, seed=seed) for seed in range(4)}
    assert len(drawn) == 4


def test_an_empty_prompt_begins_with_the_start_token_or_is_refused():
    model = reciting("abc")
    with pytest.raises(DataError, match="row 1: the prompt has no token"):
        generate(model, BYTES, ["a", ""])
    model.special = SpecialTokens(start=ord("a"), end=(256,))
    assert generate(model, BYTES, "") == "bc"
    with pytest.raises(DataError, match="row 0: the prompt has no token"):
        generate(lively(t5_like().replace(vocab_size=257)), BYTES, "")


def test_a_tokenizer_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="tokens that the model does not know · got 257 · expected at most 61"):
        generate(lively(gpt_like()), BYTES, "a")


def test_a_stream_refuses_before_it_is_iterated():
    with pytest.raises(DataError, match="the prompt has no token"):
        stream(reciting("ab"), BYTES, "")
    with pytest.raises(ConfigError, match="top_k: out of range"):
        stream(reciting("ab"), BYTES, "a", top_k=0)


def test_no_batch_is_refused():
    with pytest.raises(DataError, match="batch_size · got 0"):
        generate(reciting("ab"), BYTES, ["a"], batch_size=0)
    assert generate(reciting("ab"), BYTES, []) == []


def test_beams_find_texts_and_their_scores():
    model = lively(gpt_like().replace(vocab_size=257, head=gpt_like().head.replace(tied=False)))
    prompts = ["one", "a", "the third of them"]
    found = model.generate(
        pad_rows([list(prompt.encode()) for prompt in prompts]), max_tokens=9, beams=4, n_best=3, length_penalty=0.5
    )
    texts = [BYTES.decode(row) for row in found.rows()]
    said = {"max_tokens": 9, "beams": 4, "length_penalty": 0.5}
    assert generate(model, BYTES, prompts, n_best=3, **said) == [texts[:3], texts[3:6], texts[6:]]
    assert generate(model, BYTES, prompts, **said) == texts[::3]
    assert generate(model, BYTES, prompts, batch_size=2, **said) == texts[::3]
    assert generate(model, BYTES, "a", **said) == texts[3]
    assert generate(model, BYTES, "a", n_best=2, **said) == texts[3:5]
    (one,) = completions(model, BYTES, ["a"], None, 16, {**said, "n_best": 2})
    assert (one.text, one.tokens, one.reason, one.score) == (texts[3], 9, "length", found.scores[3].item())
    assert [(each.text, each.score) for each in one.n_best] == list(
        zip(texts[3:5], found.scores[3:5].tolist(), strict=True)
    )
    edit = EditSpec.of("scale", "blocks.0.output", {"factor": -2.0}, {"position": 0})
    assert generate(model, BYTES, "a", edits=[edit], **said) != texts[3]


def test_the_text_of_a_beam_is_that_of_a_stream():
    assert generate(reciting("Whole rds"), BYTES, "W", beams=1) == "hole rds"
    assert generate(reciting("aé€b"), BYTES, ["a"], beams=3, early_stopping=True) == ["é€b"]
    model = chain({0: 1, 1: 2, 2: 3}, vocab_size=5)
    assert generate(model, words(), "the", max_tokens=3, beams=2) == " cat sats"
    pair = lively(t5_like().replace(vocab_size=257))
    pair.special = SpecialTokens(decoder_start=0)
    expected = BYTES.decode(pair.generate(torch.tensor([list(b"translate")]), max_tokens=9, beams=3).rows()[0])
    assert generate(pair, BYTES, ["x", "translate"], max_tokens=9, beams=3)[1] == expected


def test_beams_that_make_no_sense_are_refused():
    model = reciting("abc")
    with pytest.raises(ConfigError, match="which text of a beam is the best is known at its end"):
        stream(model, BYTES, "a", beams=2)
    with pytest.raises(
        ConfigError, match="a stop string ends a text while it is written, and beams are compared whole"
    ):
        generate(model, BYTES, "a", beams=2, stop="b")
    with pytest.raises(ConfigError, match=r"beams take the best texts and draw nothing · got temperature=0.5"):
        generate(model, BYTES, "a", beams=2, temperature=0.5)
    with pytest.raises(ConfigError, match="early_stopping is for beams, and there are none"):
        generate(model, BYTES, "a", early_stopping=True)
    assert generate(model, BYTES, "a", beams=2, temperature=0.0) == "bc"


def test_rules_reach_the_text():
    model = chain({ord("a"): ord("b"), ord("b"): ord("a")})
    assert generate(model, BYTES, "a", max_tokens=6) == "bababa"
    assert "ab" not in generate(model, BYTES, "ab", max_tokens=6, no_repeat_ngram=2)
    assert len(generate(reciting("abc"), BYTES, "a", min_tokens=5, max_tokens=8).encode()) >= 5


def test_an_option_that_does_not_exist_is_python_s_error():
    with pytest.raises(TypeError, match="temprature"):
        generate(reciting("ab"), BYTES, "a", temprature=1.0)


def test_a_token_that_only_the_padded_vocabulary_of_the_model_has_adds_no_text():
    model = chain({ord("a"): 299, 299: ord("b"), ord("b"): 256}, vocab_size=300)
    assert completion(model, "a")[1].text == "b"


def words() -> Tokenizer:
    """Whole words with their space in front, as sentencepiece vocabularies have them."""
    vocab = {word: number for number, word in enumerate(["▁the", "▁cat", "▁sat", "s", "<unk>"])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return Tokenizer(backend.to_str())


def test_the_first_new_word_keeps_its_space():
    model = chain({0: 1, 1: 2, 2: 3}, vocab_size=5)
    assert generate(model, words(), "the", max_tokens=3) == " cat sats"
    assert completion(model, "the cat", words(), max_tokens=2)[0] == [" sat", "s"]


def test_an_encoder_decoder_answers():
    model = lively(t5_like().replace(vocab_size=257))
    model.special = SpecialTokens(decoder_start=0)
    source = torch.tensor([list(b"translate")])
    expected = BYTES.decode(model.generate(source, max_tokens=9).rows()[0])
    assert generate(model, BYTES, "translate", max_tokens=9) == expected
    assert generate(model, BYTES, ["x", "translate"], max_tokens=9)[1] == expected


def test_edits_are_made_in_every_step_and_undone():
    model = reciting("abcdef")
    to_z = torch.zeros(257)
    to_z[ord("z")] = 100.0
    edit = EditSpec.of("add", "logits", {"value": to_z}, {"position": slice(1, 3)})
    assert generate(model, BYTES, "ab", max_tokens=4, edits=[edit]) == "zzzz"
    assert list(stream(model, BYTES, "a", max_tokens=4, edits=[edit])) == ["b", "z", "z", "z"]
    assert generate(model, BYTES, "ab", max_tokens=4) == "cdef"


def test_a_stream_that_is_left_early_leaves_the_model_as_it_was():
    model = reciting("abcdef")
    edit = EditSpec.of("scale", "logits", {"factor": 2.0}, {})
    pieces = stream(model, BYTES, "a", edits=[edit])
    assert next(pieces) == "b"
    pieces.close()
    assert not any("taps" in vars(part) for part in model.modules())
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
