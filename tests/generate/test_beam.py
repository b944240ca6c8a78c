from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
import torch
import transformers

from glassformer.core.errors import ConfigError, DataError, EditError
from glassformer.data.batch import pad_rows
from glassformer.generate.beam import RUN, best_of
from glassformer.generate.beam_config import BeamConfig
from glassformer.generate.fast import FastDecoder
from glassformer.generate.sampling import SamplingConfig
from glassformer.generate.steps import Cached
from glassformer.inside.edits import EditSpec
from glassformer.models.transformer import SpecialTokens
from glassformer.parts.head import TokenHeadConfig
from glassformer.parts.rotary import DynamicScalingConfig, RotaryConfig
from tests.builders import DECODERS, PAIRS, gpt_like, lively, llama_like, random_tokens
from tests.families.forms import BY_NAME
from tests.families.helpers import make, tokens_like

PEERS = ("gpt2", "llama", "t5", "bart")
LENGTHS = (7, 3, 1, 5)


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """Name → the same model there and here."""
    return {name: make(BY_NAME[name], tmp_path_factory.mktemp(name) / "model") for name in PEERS}


def theirs_of(pair, batch, ends, **said):
    """Texts and scores from transformers, which wants prompts padded at the left, and BART's sources at the right."""
    names = {"beams": "num_beams", "n_best": "num_return_sequences", "no_repeat_ngram": "no_repeat_ngram_size",
             "max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens"}  # fmt: skip
    allowed = said.pop("prefix_allowed_tokens_fn", None)
    pair.theirs.generation_config = transformers.GenerationConfig(
        do_sample=False, eos_token_id=list(ends) or None, pad_token_id=0, output_scores=True,
        decoder_start_token_id=pair.ours.special.decoder_start, return_dict_in_generate=True,
        **{names.get(name, name): value for name, value in said.items()},
    )  # fmt: skip
    valid = torch.ones_like(batch.tokens) if batch.valid is None else batch.valid.long()
    out = pair.theirs.generate(batch.tokens, attention_mask=valid, prefix_allowed_tokens_fn=allowed)
    new = out.sequences[:, 1 if pair.is_pair else batch.tokens.shape[1] :].tolist()
    return [cut(row, ends) for row in new], out


def cut(row, ends):
    """Up to and with the first end."""
    end = next((place for place, token in enumerate(row) if token in ends), len(row))
    return row[: end + 1]


def batch_for(pair, *lengths):
    rows = [tokens_like(1, length, seed=length + place)[0].tolist() for place, length in enumerate(lengths)]
    return pad_rows(rows, side="right" if pair.is_pair else "left")


def ends_for(pair, batch, count, new=12):
    """Tokens that beams say early in some rows and late in others."""
    free = pair.ours.generate(batch, max_tokens=new, stop_ids=(), beams=4, n_best=4).rows()
    said = [row[place] for row, place in zip(free[::3], (2, 9, 5, 3, 7, 11), strict=True)]
    return tuple(dict.fromkeys(said))[:count]


def agree(pair, batch, ends, **said):
    sampling = {name: said[name] for name in ("no_repeat_ngram", "min_tokens", "repetition_penalty") if name in said}
    rest = {name: value for name, value in said.items() if name not in sampling}
    texts, out = theirs_of(pair, batch, ends, **said)
    found = pair.ours.generate(batch, stop_ids=ends, sampling=SamplingConfig(**sampling), **rest)
    assert found.rows() == texts
    torch.testing.assert_close(found.scores, out.sequences_scores, atol=1e-4, rtol=1e-4)
    return found


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("name", PEERS)
def test_texts_and_scores_are_those_of_transformers(peers, name, early_stopping):
    pair, reasons = peers[name], Counter()
    batch = batch_for(pair, *LENGTHS)
    ends = ends_for(pair, batch, 3)
    settings = ((2, 1.0), (3, 0.0), (3, 1.0), (4, 2.0), (5, -1.0), (5, 1.0))
    for (beams, length_penalty), longest in itertools.product(settings, (12, 3)):
        found = agree(
            pair, batch, ends, max_tokens=longest, beams=beams, n_best=beams, length_penalty=length_penalty,
            early_stopping=early_stopping,
        )  # fmt: skip
        reasons.update(found.reasons)
    assert min(reasons["end"], reasons["length"]) > 2, "both kinds of ends"


@pytest.mark.parametrize("name", PEERS)
def test_numbers_of_ends_and_of_texts(peers, name):
    pair = peers[name]
    batch = batch_for(pair, *LENGTHS)
    for count, n_best in ((0, 1), (1, 2), (2, 3)):
        agree(pair, batch, ends_for(pair, batch, count), max_tokens=10, beams=3, n_best=n_best)
    agree(pair, batch, (), max_tokens=1, beams=5, n_best=5)


@pytest.mark.parametrize("name", PEERS)
def test_one_beam_is_greedy_and_its_score_that_of_its_tokens(peers, name):
    pair = peers[name]
    batch = batch_for(pair, *LENGTHS)
    ends = ends_for(pair, batch, 2)
    found = pair.ours.generate(batch, max_tokens=12, stop_ids=ends, beams=1, length_penalty=0.7)
    greedy = pair.ours.generate(batch, max_tokens=12, stop_ids=ends)
    texts, out = theirs_of(pair, batch, ends, max_tokens=12)
    assert found.rows() == greedy.rows() == texts
    each = pair.theirs.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    sums = [float(row[: len(text)].sum()) / len(text) ** 0.7 for row, text in zip(each, texts, strict=True)]
    torch.testing.assert_close(found.scores, torch.tensor(sums), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize(
    "rules",
    [{"no_repeat_ngram": 2}, {"no_repeat_ngram": 1}, {"repetition_penalty": 1.4}, {"min_tokens": 6},
     {"no_repeat_ngram": 3, "repetition_penalty": 0.8, "min_tokens": 4}],
)  # fmt: skip
def test_rules_are_those_of_transformers(peers, name, rules):
    pair = peers[name]
    batch = batch_for(pair, 6, 6)  # transformers counts padding as tokens that are there
    ends = (pair.ours.generate(batch, max_tokens=1, beams=4, stop_ids=()).rows()[0][0],)
    said = {"max_tokens": 12, "beams": 4, "n_best": 4}
    said["length_penalty"] = 0.0 if "min_tokens" in rules else 1.0  # short texts first, which it forbids
    plain, ruled = agree(pair, batch, ends, **said), agree(pair, batch, ends, **said, **rules)
    assert ruled.rows() != plain.rows()


@pytest.mark.parametrize("name", PEERS)
def test_forced_prefixes_are_those_of_transformers(peers, name):
    pair = peers[name]
    batch = batch_for(pair, 5, 3)
    start = 1 if pair.is_pair else batch.tokens.shape[1]
    prefixes = [[9, 4, 9], [8]]

    def allowed(row, tokens):
        place = len(tokens) - start
        return [prefixes[row][place]] if place < len(prefixes[row]) else list(range(61))

    texts, out = theirs_of(pair, batch, (2,), beams=4, n_best=2, max_tokens=9, prefix_allowed_tokens_fn=allowed)
    found = pair.ours.generate(batch, beams=4, n_best=2, max_tokens=9, stop_ids=(2,), prefixes=prefixes)
    assert found.rows() == texts
    torch.testing.assert_close(found.scores, out.sequences_scores, atol=1e-4, rtol=1e-4)
    assert [row[:3] for row in found.rows()[:2]] == [[9, 4, 9]] * 2
    assert [row[0] for row in found.rows()[2:]] == [8, 8]
    greedy = pair.ours.generate(batch, max_tokens=9, stop_ids=(2,), prefixes=prefixes)
    assert greedy.rows() == pair.ours.generate(batch, max_tokens=9, stop_ids=(2,), prefixes=prefixes, beams=1).rows()
    assert greedy.rows()[0][:3] == [9, 4, 9] and greedy.rows()[1][0] == 8


@pytest.mark.parametrize("name", PEERS)
def test_whatever_is_asked_is_what_transformers_answers(peers, name):
    pair, draw = peers[name], random.Random(name)
    for _ in range(8):
        batch = batch_for(pair, *(draw.randint(1, 9) for _ in range(draw.randint(1, 5))))
        free = pair.ours.generate(batch, max_tokens=8, stop_ids=(), beams=3, n_best=3).rows()
        ends = tuple({draw.choice(draw.choice(free)) for _ in range(draw.randint(0, 4))})
        beams = draw.randint(2, 6)
        agree(
            pair, batch, ends, max_tokens=draw.randint(1, 14), beams=beams, n_best=draw.randint(1, beams),
            length_penalty=draw.uniform(-1, 3), early_stopping=draw.choice((True, False, "never")),
        )  # fmt: skip


# The same whatever computes it


def untied():
    """With a tied head random weights say the same token again and again."""
    return gpt_like().replace(head=TokenHeadConfig(tied=False))


FORMS = {**DECODERS, **PAIRS, "gpt": untied}


def model_of(name):
    model = lively(FORMS[name]())
    model.special = SpecialTokens(decoder_start=0)
    return model


def rows_of(*lengths):
    return [random_tokens(1, length, seed=length)[0].tolist() for length in lengths]


def same(one, two):
    assert one.rows() == two.rows()
    assert one.reasons == two.reasons
    torch.testing.assert_close(one.scores, two.scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FORMS)
def test_a_cache_and_packed_weights_change_no_text(name):
    model, batch = model_of(name), pad_rows(rows_of(*LENGTHS))
    free = model.generate(batch, max_tokens=16, beams=3)
    said = {"max_tokens": 16, "beams": 4, "n_best": 3, "stop_ids": (free.rows()[0][4], free.rows()[2][9])}
    whole = model.generate(batch, use_cache=False, **said)
    for fast in (True, False):
        same(model.generate(batch, fast=fast, **said), whole)


@pytest.mark.parametrize("name", ["gpt", "llama", "sliding", "t5", "translator"])
@pytest.mark.parametrize("fast", [True, False])
def test_a_batch_is_its_rows_one_by_one_whatever_the_padding(name, fast):
    model, rows = model_of(name), rows_of(*LENGTHS)
    free = model.generate(pad_rows(rows), max_tokens=14, beams=3)
    ends = (free.rows()[0][3], free.rows()[1][7])
    said = {"max_tokens": 14, "beams": 3, "n_best": 2, "stop_ids": ends, "fast": fast}
    rules = SamplingConfig(no_repeat_ngram=2, repetition_penalty=1.1)
    for sampling in (SamplingConfig(), rules):
        alone = [model.generate(torch.tensor([row]), sampling=sampling, **said) for row in rows]
        for side in ("left", "right"):
            together = model.generate(pad_rows(rows, side=side, pad=1), sampling=sampling, **said)
            assert together.rows() == [text for one in alone for text in one.rows()]
            torch.testing.assert_close(together.scores, torch.cat([one.scores for one in alone]), atol=1e-4, rtol=1e-4)


def test_rows_that_outgrow_their_frequencies_are_computed_again():
    model = lively(llama_like(positions=RotaryConfig(scaling=DynamicScalingConfig(factor=2.0, original=10))))
    batch = pad_rows(rows_of(8, 3, 12))
    whole = model.generate(batch, max_tokens=14, beams=3, use_cache=False)
    same(model.generate(batch, max_tokens=14, beams=3), whole)


def test_with_as_many_beams_as_there_are_texts_the_best_of_all_is_found():
    config = untied().replace(vocab_size=4)
    model, tokens = lively(config), torch.tensor([[1, 2]])
    texts = [list(text) for size in (1, 2, 3) for text in itertools.product(range(4), repeat=size)]
    complete = [text for text in texts if 3 not in text[:-1] and (text[-1] == 3 or len(text) == 3)]
    scores = {}
    for text in complete:
        logits = model(torch.tensor([[1, 2, *text]]))[0].log_softmax(-1).detach()
        scores[tuple(text)] = sum(float(logits[1 + place, token]) for place, token in enumerate(text)) / len(text)
    best = sorted(scores, key=scores.get, reverse=True)[:8]
    found = model.generate(tokens, max_tokens=3, beams=40, n_best=8, stop_ids=[3], early_stopping="never")
    assert [tuple(row) for row in found.rows()] == best
    torch.testing.assert_close(found.scores, torch.tensor([scores[text] for text in best]), atol=1e-5, rtol=1e-5)


def test_fewer_texts_than_were_asked_for():
    model = lively(untied().replace(vocab_size=3))
    found = model.generate(torch.tensor([[1]]), max_tokens=1, beams=5, n_best=5, stop_ids=())
    assert found.lengths.tolist() == [1, 1, 1, 0, 0]
    assert sorted(row[0] for row in found.rows()[:3]) == [0, 1, 2]
    assert found.scores[3:].tolist() == [-torch.inf] * 2


def test_each_row_takes_the_room_that_it_has():
    model = lively(untied())  # 64 positions
    found = model.generate(pad_rows(rows_of(60, 62, 50)), beams=3, stop_ids=())
    assert found.lengths.tolist() == [4, 2, 14]


def test_scores_that_are_no_numbers_and_rules_that_leave_nothing():
    model = lively(untied().replace(vocab_size=3))
    with pytest.raises(DataError, match="row 0: the rules allow no token"):
        model.generate(torch.tensor([[1]]), max_tokens=5, beams=2, stop_ids=(),
                       sampling=SamplingConfig(no_repeat_ngram=1))  # fmt: skip
    with torch.no_grad():
        model.decoder.norm.weight.fill_(torch.nan)
    with pytest.raises(DataError, match="row 4: the model's scores are not finite numbers"):
        model.generate(torch.tensor([[1]]), max_tokens=2, beams=2, first_row=4)


# One forward a step


def test_a_step_is_one_forward_of_all_beams_and_prompts_that_are_done_leave(monkeypatch):
    model, batch = model_of("gpt"), pad_rows(rows_of(*LENGTHS))
    free = model.generate(batch, max_tokens=20, beams=3, n_best=3).rows()
    ends = {token for text in free[3:6] for token in text} - {token for text in free[:3] for token in text}
    sizes, forward = [], Cached.__call__

    def counting(steps, new):
        sizes.append(len(new.tokens))
        return forward(steps, new)

    monkeypatch.setattr(Cached, "__call__", counting)
    found = model.generate(batch, max_tokens=8, beams=3, stop_ids=list(ends), early_stopping=True)
    assert len(sizes) == 8
    assert sizes[:2] == [4, 12], "a prompt is computed once, not once a beam"
    assert sizes == sorted(sizes[:1]) + sorted(sizes[1:], reverse=True)
    assert sizes[-1] < 12, found.reasons


@pytest.mark.parametrize("name", PAIRS)
def test_a_source_is_encoded_once_a_row_and_its_keys_are_shared_by_the_beams(name, monkeypatch):
    model, batch = model_of(name), pad_rows(rows_of(*LENGTHS))
    plain = model.generate(batch, max_tokens=20, beams=4, fast=False)  # makes the packed weights worth their while
    encoded, memories, step = [], [], FastDecoder.__call__
    model.encoder.register_forward_pre_hook(lambda part, inputs: encoded.append(len(inputs[0])))
    handles = dict(model.encoder._forward_pre_hooks)
    model.encoder._forward_pre_hooks.clear()  # a hook is somebody who looks: the model's own forward would be used

    encode = type(model)._encode
    monkeypatch.setattr(type(model), "_encode", lambda *said: (encoded.append(len(said[1])), encode(*said))[1])

    def looking(decoder, tokens, valid, cache):
        memories.append((len(tokens), len(cache.memory), len(cache.cross_stores[0].pair[0])))
        return step(decoder, tokens, valid, cache)

    monkeypatch.setattr(FastDecoder, "__call__", looking)
    same(model.generate(batch, max_tokens=20, beams=4), plain)
    assert handles and encoded == [4]
    assert memories == [(16, 4, 4)] * 19


def test_the_best_of_a_large_vocabulary():
    generator = torch.Generator().manual_seed(0)
    for size, count in ((5, 2), (2 * 5 * RUN, 5), (1000, 3), (1000, 7), (4097, 10), (4096, 32)):
        scores = torch.randn(6, size, generator=generator)
        scores[0, : size // 2] = -torch.inf
        values, places = best_of(scores, count)
        expected = scores.topk(count)
        assert torch.equal(values, expected.values)
        assert torch.equal(places, expected.indices)
    scores[3, 4000] = torch.nan
    assert best_of(scores, 5)[0][3, 0].isnan()


# Diverse groups


def straightforward_groups(model, prompt, *, groups, width, diversity, new, ends, length_penalty):
    """Vijayakumar et al. 2016 for one prompt, one text at a time: the texts of all groups, ended or at full length."""
    running = [[((), 0.0)] for _ in range(groups)]
    ended, is_open = [[] for _ in range(groups)], [True] * groups
    for length in range(1, new + 1):
        said = Counter()
        for group in range(groups):
            if not is_open[group]:
                continue
            found = []
            for text, score in running[group]:
                logits = model(torch.tensor([[*prompt, *text]]))[0, -1].log_softmax(-1)
                for token, each in enumerate(logits.tolist()):
                    found.append(((*text, token), score + each - diversity * said[token]))
            found.sort(key=lambda one: -one[1])
            complete = [one for one in found[:width] if one[0][-1] in ends or length == new]
            ended[group] += [(text, score / length**length_penalty) for text, score in complete]
            ended[group] = sorted(ended[group], key=lambda one: -one[1])[:width]
            running[group] = [one for one in found if one[0][-1] not in ends][:width]
            said.update(text[-1] for text, _ in running[group])
            full = len(ended[group]) == width
            better = running[group][0][1] / length**length_penalty > min((s for _, s in ended[group]), default=0.0)
            is_open[group] = not full or better
    return sorted((one for group in ended for one in group), key=lambda one: -one[1])


@pytest.mark.parametrize(("groups", "width"), [(2, 2), (3, 1), (3, 2)])
def test_diverse_groups_are_those_of_a_straightforward_search(groups, width):
    model, rows = model_of("gpt"), rows_of(*LENGTHS)
    ends = (model.generate(pad_rows(rows), max_tokens=9, beams=2).rows()[0][3],)
    beams = groups * width
    found = model.generate(
        pad_rows(rows), max_tokens=9, beams=beams, n_best=beams, groups=groups, diversity=0.9, length_penalty=0.8,
        stop_ids=ends,
    )  # fmt: skip
    texts = iter(zip(found.rows(), found.scores.tolist(), strict=True))
    for row in rows:
        expected = straightforward_groups(
            model, row, groups=groups, width=width, diversity=0.9, new=9, ends=ends, length_penalty=0.8
        )
        ours = list(itertools.islice(texts, beams))
        assert sorted(text for text, _ in ours) == sorted(list(text) for text, _ in expected)
        assert [score for _, score in ours] == pytest.approx([score for _, score in expected], abs=1e-4)


def test_groups_differ_more_and_the_first_is_a_plain_search():
    model, batch = model_of("llama"), pad_rows(rows_of(*LENGTHS))
    plain = model.generate(batch, max_tokens=8, beams=2, n_best=2).rows()
    diverse = model.generate(batch, max_tokens=8, beams=6, n_best=6, groups=3, diversity=5.0).rows()
    for row in range(4):
        group = diverse[6 * row : 6 * row + 6]
        assert all(text in group for text in plain[2 * row : 2 * row + 2])
        assert len({text[0] for text in group}) > 2


# Edits


def add(address="blocks.0.output", size=3.0, **selection):
    """Along a direction, for a norm takes out what is the same on all of its axis."""
    return EditSpec.of("add", address, {"value": size * torch.linspace(-1, 1, 32)}, selection)


@pytest.mark.parametrize("form", ["gpt", "llama", "t5"])
def test_edits_are_made_in_every_beam_with_and_without_a_cache(form):
    model, batch = model_of(form), pad_rows(rows_of(5, 3))
    at = "decoder.blocks.0.output" if form == "t5" else "blocks.0.output"
    edits = [add(at, position=3), add(at, size=1.0)]
    plain = model.generate(batch, max_tokens=8, beams=3, n_best=2)
    cached = model.generate(batch, max_tokens=8, beams=3, n_best=2, edits=edits)
    same(cached, model.generate(batch, max_tokens=8, beams=3, n_best=2, edits=edits, use_cache=False))
    assert cached.rows() != plain.rows()
    one = model.generate(batch, max_tokens=8, beams=1, edits=edits)
    assert one.rows() == model.generate(batch, max_tokens=8, edits=edits).rows()
    with pytest.raises(EditError, match="no such entry · got position=40"):
        model.generate(batch, max_tokens=4, beams=2, edits=[add(at, position=40)])


def test_values_can_be_read_and_are_those_of_the_beams():
    model, tokens = model_of("gpt"), random_tokens(2, 5)
    with model.trace() as trace:
        trace.read("blocks.1.output")
        found = model.generate(tokens, max_tokens=4, beams=3)
    assert trace["blocks.1.output"].shape == (6, 1, 32)
    assert found.rows() == model.generate(tokens, max_tokens=4, beams=3).rows()


def test_edits_of_rows_are_refused_by_name():
    model, tokens = model_of("gpt"), random_tokens(2, 5)
    for edit in (add(batch=1), EditSpec.of("mean", "blocks.0.output", {}, {}),
                 EditSpec.of("swap", "blocks.0.output", {"first": 0, "second": 1}, {}, "batch")):  # fmt: skip
        with pytest.raises(EditError, match=r"decoder.blocks.0.output: rows of the batch are beams"):
            model.generate(tokens, max_tokens=4, beams=2, edits=[edit])
        model.generate(tokens, max_tokens=4, edits=[edit])
    with pytest.raises(EditError, match="rows of the batch are beams"), model.trace() as trace:
        trace.read("blocks.1.output", batch=0)
        model.generate(tokens, max_tokens=4, beams=2)


# What is refused


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"beams": 0}, "beams: out of range · got 0 · expected 1 … 4096"),
        ({"beams": 2, "n_best": 3}, "n_best: out of range · got 3 · expected 1 … 2, the number of beams"),
        ({"beams": 4, "groups": 3, "diversity": 1.0}, "groups: out of range · got 3 · expected a divisor of 4 beams"),
        ({"beams": 4, "groups": 2}, "diversity: out of range · expected more than 0, at most 10000, for groups"),
        ({"beams": 4, "diversity": 1.0}, "diversity: out of range · got 1.0 · expected groups, at least 2"),
        ({"beams": 4, "early_stopping": "always"}, "BeamConfig.early_stopping: wrong type · got 'always'"),
        ({"n_best": 2}, "n_best is for beams, and there are none · say how many beams"),
        ({"length_penalty": 2.0}, "length_penalty is for beams, and there are none"),
        ({"beams": 2, "sampling": SamplingConfig(temperature=0.5)}, "beams take the best texts and draw nothing · got "
                                                                   "temperature=0.5 · leave out beams, or what draws"),
        ({"beams": 2, "sampling": SamplingConfig(top_k=3)}, "draw nothing · got top_k=3"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(said, message):
    with pytest.raises(ConfigError) as error:
        model_of("gpt").generate(random_tokens(1, 3), max_tokens=2, **said)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_option_that_does_not_exist_is_python_s_error():
    for said in ({"beam": 2}, {"beams": 2, "lenght_penalty": 1.0}):
        with pytest.raises(TypeError, match=r"unexpected keyword argument '(beam|lenght_penalty)'"):
            model_of("gpt").generate(random_tokens(1, 3), **said)


@pytest.mark.parametrize(
    ("prefixes", "message"),
    [
        ([[1]], "prefixes · got 1 · expected one for each of 2 rows, which may be empty"),
        ([[1], [61]], "prefixes, row 1: a token id outside of the vocabulary · got 61 · expected 0 … 60"),
        ([[1, 2, 3, 4, 5], []], "prefixes, row 0: longer than the new tokens · got 5 · expected at most 4"),
        ([[], [7, 9]], "prefixes, row 1: an end token ends a row · got 9"),
    ],
)
def test_prefixes_that_cannot_be(prefixes, message):
    for said in ({}, {"beams": 2}):
        with pytest.raises(DataError) as error:
            model_of("gpt").generate(random_tokens(2, 3), max_tokens=4, stop_ids=[9], prefixes=prefixes, **said)
        assert message in str(error.value)


def test_a_description_of_a_search_goes_to_json_and_back():
    config = BeamConfig(beams=6, n_best=2, early_stopping="never", groups=3, diversity=0.5)
    assert BeamConfig.from_json(config.to_json()) == config
