from __future__ import annotations

import pytest
import torch

from glassformer.core.errors import DataError, EditError, UnsupportedError
from glassformer.data.batch import Batch, pad_rows
from glassformer.generate import decode, steps
from glassformer.generate.prompt import MAX_TOKENS
from glassformer.generate.sampling import SamplingConfig
from glassformer.inside.edits import EditSpec
from glassformer.models.transformer import SpecialTokens
from glassformer.parts.head import TagHeadConfig, TokenHeadConfig
from glassformer.parts.rotary import DynamicScalingConfig, LongRoPEScalingConfig, RotaryConfig
from tests.builders import DECODERS, PAIRS, bert_like, gpt_like, lively, llama_like, random_tokens, sliding_like


def untied():
    """With a tied head random weights say the same token again and again."""
    return gpt_like().replace(head=TokenHeadConfig(tied=False))


FORMS = {**DECODERS, **PAIRS, "gpt": untied}
LENGTHS = (7, 3, 1, 5)


def model_of(name):
    model = lively(FORMS[name]())
    model.special = SpecialTokens(decoder_start=0)
    return model


def rows_of(*lengths):
    return [random_tokens(1, length, seed=length)[0].tolist() for length in lengths]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", FORMS)
def test_a_cache_changes_no_token(name, fast):
    model = model_of(name)
    batch = pad_rows(rows_of(*LENGTHS))
    cached = model.generate(batch, max_tokens=20, fast=fast)
    whole = model.generate(batch, max_tokens=20, use_cache=False)
    assert torch.equal(cached.tokens, whole.tokens)
    assert cached.tokens.shape == (4, 20)
    if name not in PAIRS:  # whose heads are tied
        assert len(set(cached.tokens.flatten().tolist())) > 5, "rows that differ"


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", FORMS)
def test_a_batch_is_its_rows_one_by_one_whatever_the_padding_and_whoever_ends(name, fast):
    model = model_of(name)
    rows = rows_of(*LENGTHS)
    alone = [model.generate(torch.tensor([row]), max_tokens=16, fast=fast).rows()[0] for row in rows]
    ends = (alone[0][3], alone[1][7])
    alone = [model.generate(torch.tensor([row]), max_tokens=16, fast=fast, stop_ids=ends) for row in rows]
    for side in ("left", "right"):
        together = model.generate(pad_rows(rows, side=side, pad=1), max_tokens=16, fast=fast, stop_ids=ends)
        assert together.rows() == [one.rows()[0] for one in alone]
        assert together.reasons == tuple(one.reasons[0] for one in alone)
    assert together.reasons[0] == "end"
    assert together.lengths.min() < together.lengths.max()


def test_tokens_are_the_best_ones_of_the_plain_forward():
    model, row = lively(untied()), rows_of(5)[0]
    for token in model.generate(torch.tensor([row]), max_tokens=8).rows()[0]:
        assert token == model(torch.tensor([row]))[0, -1].argmax()
        row = [*row, token]


def test_a_row_ends_at_an_end_token_which_is_its_last():
    model, tokens = lively(untied()), torch.tensor(rows_of(5))
    new = model.generate(tokens, max_tokens=10).rows()[0]
    end = new[4]
    short = model.generate(tokens, max_tokens=10, stop_ids=[end])
    assert short.rows() == [new[: new.index(end) + 1]]
    assert short.reasons == ("end",)
    model.special = SpecialTokens(end=(end,))
    assert model.generate(tokens, max_tokens=10).rows() == short.rows()
    assert model.generate(tokens, max_tokens=10, stop_ids=()).rows() == [new]


def test_ended_rows_leave_the_batch(monkeypatch):
    model, sizes = lively(untied()), []
    rows = rows_of(*LENGTHS)
    new = model.generate(pad_rows(rows), max_tokens=8).rows()
    forward = steps.Cached.__call__

    def counting(cached, more):
        sizes.append(len(more.tokens))
        return forward(cached, more)

    monkeypatch.setattr(steps.Cached, "__call__", counting)
    ended = model.generate(pad_rows(rows), max_tokens=8, stop_ids=[new[0][2]])
    assert sizes[0] == 4 > sizes[-1]
    assert sum(sizes) == ended.lengths.sum()
    assert sizes == sorted(sizes, reverse=True)


def test_what_fills_up_ended_rows():
    model = lively(untied())
    model.special = SpecialTokens(pad=9)
    rows = rows_of(5, 4)
    first = model.generate(pad_rows(rows), max_tokens=6).rows()
    ended = model.generate(pad_rows(rows), max_tokens=6, stop_ids=[first[0][0]])
    assert ended.tokens[0].tolist() == [first[0][0], *[9] * (ended.tokens.shape[1] - 1)]
    assert ended.tokens.shape[1] > 1


def test_how_long_a_row_gets():
    model = lively(untied())  # 64 positions
    assert model.generate(torch.tensor(rows_of(60)), max_tokens=4).reasons == ("length",)
    got = model.generate(pad_rows(rows_of(60, 62, 10)))
    assert got.lengths.tolist() == [4, 2, 54], "each row takes the room that it has"
    longer = lively(llama_like().replace(max_positions=None))
    assert longer.generate(torch.tensor(rows_of(2))).lengths.tolist() == [MAX_TOKENS]


@pytest.mark.parametrize(
    ("length", "most", "message"),
    [
        (60, 5, "row 1: prompt and new tokens are longer than the model · got 60 + 5 tokens · expected at most 64 "
                "together · ask for at most 4 new tokens, or shorten the prompt"),
        (64, None, "got 64 + 1 tokens · expected at most 64 together · shorten the prompt"),
        (70, None, "got 70 + 1 tokens"),
        (5, 0, "max_tokens · got 0"),
        (5, 2.5, "max_tokens · got 2.5"),
    ],
)  # fmt: skip
def test_more_than_the_model_can_take_is_refused_with_the_numbers(length, most, message):
    with pytest.raises(DataError) as error:
        lively(untied()).generate(pad_rows(rows_of(2, length)), max_tokens=most)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_prompts_that_are_none():
    model = lively(untied())
    empty = torch.tensor([[True, True], [False, False]])
    with pytest.raises(DataError, match="row 1: a row without a token"):
        model.generate(random_tokens(2, 2), valid=empty)
    with pytest.raises(DataError, match=r"tokens · got torch.float32"):
        model.generate(torch.ones(1, 2))
    with pytest.raises(DataError, match="outside of the vocabulary · got 61 · expected 0 … 60"):
        model.generate(torch.tensor([[61]]))
    with pytest.raises(DataError, match="outside of the vocabulary · got -1"):
        model.generate(torch.tensor([[-1]]))
    with pytest.raises(DataError, match="valid · got"):
        model.generate(random_tokens(2, 2), valid=torch.ones(2, 3, dtype=torch.bool))


def test_models_that_generate_nothing():
    with pytest.raises(UnsupportedError, match="an encoder continues nothing"):
        lively(bert_like()).generate(random_tokens(1, 3))
    with pytest.raises(UnsupportedError, match="says no tokens"):
        lively(gpt_like().replace(head=TagHeadConfig(n_labels=3))).generate(random_tokens(1, 3))
    with pytest.raises(DataError, match="does not say how its decoder starts"):
        lively(PAIRS["t5"]()).generate(random_tokens(1, 3))


def test_a_decoder_starts_with_its_own_token_or_the_start():
    model = lively(PAIRS["t5"]())
    model.special = SpecialTokens(start=3)
    first = model.generate(random_tokens(2, 4), max_tokens=5)
    model.special = SpecialTokens(start=2, decoder_start=3)
    assert torch.equal(model.generate(random_tokens(2, 4), max_tokens=5).tokens, first.tokens)


def test_draws_do_not_depend_on_the_batch():
    model, rows = lively(untied()), rows_of(*LENGTHS)
    sampling = SamplingConfig(temperature=1.5, top_p=0.95, seed=11)
    together = model.generate(pad_rows(rows), max_tokens=12, sampling=sampling).rows()
    for number, row in enumerate(rows):
        alone = model.generate(torch.tensor([row]), max_tokens=12, sampling=sampling, first_row=number)
        assert alone.rows() == [together[number]]
    assert model.generate(pad_rows(rows), max_tokens=12).rows() != together


def test_scores_that_are_no_numbers_stop_a_generation():
    model = lively(untied())
    with torch.no_grad():
        model.decoder.norm.weight.fill_(torch.nan)
    with pytest.raises(DataError, match="scores are not finite numbers"):
        model.generate(random_tokens(1, 3), max_tokens=2)


def test_dropout_is_off_and_training_goes_on_afterwards():
    model, tokens = lively(untied()), torch.tensor(rows_of(5))
    expected = model.generate(tokens, max_tokens=12).rows()
    model.set_dropout(residual=0.5, embedding=0.5)
    model.train()
    model.decoder.blocks[0].eval()
    assert model.generate(tokens, max_tokens=12).rows() == expected
    assert model.training
    assert not model.decoder.blocks[0].training


def test_gradients_are_neither_made_nor_touched():
    model, tokens = lively(untied()), torch.tensor(rows_of(5))
    model(tokens).sum().backward()
    before = [weight.grad.clone() for weight in model.parameters()]
    model.generate(tokens, max_tokens=4)
    assert all(torch.equal(old, weight.grad) for old, weight in zip(before, model.parameters(), strict=True))
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_batch_may_be_given_and_iterated_and_rows_ended_from_outside():
    model, rows = lively(untied()), rows_of(*LENGTHS)
    expected = model.generate(pad_rows(rows), max_tokens=8).rows()
    decoding = decode.Decoding(model, Batch(*_tensors(rows)), max_tokens=8)
    for number, new in enumerate(decoding):
        assert all(expected[row][number] == token for row, token in new.items())
        if number == 2:
            decoding.stop(1)
    got = decoding.generated()
    assert got.rows() == [expected[0], expected[1][:3], expected[2], expected[3]]
    assert got.reasons == ("length", "stop", "length", "length")


def _tensors(rows):
    batch = pad_rows(rows)
    return batch.tokens, batch.valid


@pytest.mark.parametrize(
    "scaling",
    [
        DynamicScalingConfig(factor=2.0, original=10),
        LongRoPEScalingConfig(short=(1.0,) * 4, long=(2.0,) * 4, original=10, factor=4.0),
    ],
)
def test_rows_that_outgrow_their_frequencies_are_computed_again(scaling):
    model = lively(llama_like(positions=RotaryConfig(scaling=scaling)))
    batch = pad_rows(rows_of(8, 3, 12))
    expected = model.generate(batch, max_tokens=18, use_cache=False)
    for fast in (True, False):
        assert torch.equal(model.generate(batch, max_tokens=18, fast=fast).tokens, expected.tokens)


# Edits


def logits_of(model, tokens, **said):
    """The scores that each step chose from."""
    seen = []
    choose = decode.Sampler.__call__

    class Listening(decode.Sampler):
        def __call__(self, logits, rows):
            seen.append(logits)
            return choose(self, logits, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "Sampler", Listening)
        generated = model.generate(tokens, **said)
    return torch.stack(seen), generated


def add(address="blocks.0.output", size=3.0, **selection):
    """Along a direction, for a norm takes out what is the same on all of its axis."""
    value = size * torch.linspace(-1, 1, 8 if address.endswith("query") else 32)
    return EditSpec.of("add", address, {"value": value}, selection)


@pytest.mark.parametrize("form", [untied, llama_like, sliding_like])
@pytest.mark.parametrize("position", [3, 7])
def test_an_edit_of_a_position_is_the_same_with_and_without_a_cache(form, position):
    model, tokens = lively(form()), torch.tensor(rows_of(5))
    edits = [add(position=position), add("blocks.1.attention.query", 1.0, head=2, query=position)]
    cached, one = logits_of(model, tokens, max_tokens=10, edits=edits)
    whole, two = logits_of(model, tokens, max_tokens=10, edits=edits, use_cache=False)
    torch.testing.assert_close(cached, whole, atol=1e-4, rtol=1e-5)
    assert torch.equal(one.tokens, two.tokens)
    plain, _ = logits_of(model, tokens, max_tokens=10)
    step = max(0, position - 4)  # the prompt's last token stands at position 4 and is read by step 0
    assert torch.allclose(plain[:step], cached[:step], atol=1e-4)
    assert not torch.allclose(plain[step], cached[step], atol=1e-2), "it acts from there on"


def test_an_edit_of_the_newest_token_acts_on_each_of_them():
    model, tokens = lively(untied()), torch.tensor(rows_of(5))
    newest, new = logits_of(model, tokens, max_tokens=6, edits=[add(query=-1)])
    each, _ = logits_of(model, tokens, max_tokens=6, edits=[add(position=slice(4, None))])
    torch.testing.assert_close(newest, each)
    row = torch.cat((tokens, new.tokens), 1)[:, :-1]
    with model.trace() as trace:
        trace.apply([add(position=slice(4, None))])
        logits = model(row)
    torch.testing.assert_close(newest[:, 0], logits[0, 4:].detach(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("index", [-1, [2, -1], slice(-2, None), torch.tensor(-3)])
def test_without_a_cache_the_newest_token_is_refused(index):
    with pytest.raises(EditError, match=r"blocks.0.output: counts from the newest token · got position="):
        lively(untied()).generate(random_tokens(1, 5), edits=[add(position=index)], use_cache=False)


def test_rows_of_an_edit_stay_the_rows_of_the_prompt_when_others_end():
    model, rows = lively(untied()), rows_of(*LENGTHS)
    free = model.generate(pad_rows(rows), max_tokens=8).rows()
    ends = [free[0][1]]
    assert ends[0] not in free[3]
    edits = [add(size=2.0, batch=3)]
    together = model.generate(pad_rows(rows), max_tokens=8, edits=edits, stop_ids=ends)
    assert together.reasons[0] == "end"
    alone = model.generate(torch.tensor([rows[3]]), max_tokens=8, edits=[add(size=2.0)], stop_ids=ends)
    assert together.rows()[3] == alone.rows()[0] != free[3]
    assert together.rows()[0] == free[0][: together.lengths[0]]


def test_an_edit_that_no_step_met_is_an_error_and_the_model_is_left_as_it_was():
    model, tokens = lively(untied()), torch.tensor(rows_of(5))
    expected = model.generate(tokens, max_tokens=4).rows()
    with pytest.raises(EditError, match="no such entry · got position=40"):
        model.generate(tokens, max_tokens=4, edits=[add(position=40)])
    assert model.generate(tokens, max_tokens=4).rows() == expected


def test_values_can_be_read_while_tokens_are_generated():
    model, tokens = lively(untied()), torch.tensor(rows_of(5))
    with model.trace() as trace:
        trace.read("blocks.1.output")
        new = model.generate(tokens, max_tokens=4).rows()[0]
    read = trace["blocks.1.output"]
    assert not read.is_inference()
    whole = model.named_value("blocks.1.output", torch.tensor([[*tokens[0].tolist(), *new[:3]]]))
    torch.testing.assert_close(read[0, 0], whole[0, -1].detach(), atol=1e-5, rtol=1e-5)


def test_edits_of_an_encoder_decoder_reach_both_sides():
    model = lively(PAIRS["t5"]())
    model.special = SpecialTokens(decoder_start=0)
    source = random_tokens(2, 6)
    plain = model.generate(source, max_tokens=6)
    for address in ("encoder.blocks.0.output", "decoder.blocks.1.cross_attention.output"):
        edits = [add(address, 2.0, position=2)]
        cached, one = logits_of(model, source, max_tokens=6, edits=edits)
        whole, _ = logits_of(model, source, max_tokens=6, edits=edits, use_cache=False)
        torch.testing.assert_close(cached, whole, atol=1e-4, rtol=1e-5)
        assert one.reasons == plain.reasons
