from __future__ import annotations

import pytest
import torch

from glassformer.core.errors import DataError, EditError
from glassformer.data.batch import pad_rows
from glassformer.generate.sampling import SamplingConfig
from glassformer.inside.edits import EditSpec
from glassformer.models.transformer import SpecialTokens
from tests.builders import PAIRS, gpt_like, lively, llama_like, random_tokens, t5_like

LENGTHS = (6, 2, 4)


def members(kind):
    """Two models of one vocabulary, of different forms where they can be."""
    one, two = (PAIRS["t5"], PAIRS["translator"]) if kind == "pairs" else (gpt_like, llama_like)
    models = [lively(one()), lively(two(), seed=3)]
    for model in models:
        model.special = SpecialTokens(decoder_start=0)
    return models


def rows_of(*lengths):
    return [random_tokens(1, length, seed=length)[0].tolist() for length in lengths]


def said_by(models, prompt, text, average):
    """Log-probabilities of the next token: vocab."""
    logits = []
    for model in models:
        row = torch.tensor([prompt])
        target = torch.tensor([[0, *text]])
        out = model(row, target) if model.encoder is not None else model(torch.tensor([[*prompt, *text]]))
        logits.append(out[0, -1].detach().double())
    if average == "probabilities":
        return torch.stack([one.softmax(-1) for one in logits]).mean(0).log()
    return torch.stack([one.log_softmax(-1) for one in logits]).mean(0)


def searched(models, prompt, average, *, beams, new):
    """A plain beam search without ends: the texts and their scores."""
    texts = [((), 0.0)]
    for _ in range(new):
        found = [
            ((*text, token), score + each)
            for text, score in texts
            for token, each in enumerate(said_by(models, prompt, text, average).tolist())
        ]
        texts = sorted(found, key=lambda one: -one[1])[:beams]
    return texts


@pytest.mark.parametrize("average", ["log_probabilities", "probabilities"])
@pytest.mark.parametrize("kind", ["decoders", "pairs"])
@pytest.mark.parametrize("fast", [True, False])
def test_texts_are_those_of_the_mean(kind, average, fast):
    (model, other), rows = members(kind), rows_of(*LENGTHS)
    said = {"max_tokens": 16, "stop_ids": (), "models": [other], "average": average, "fast": fast}
    greedy = model.generate(pad_rows(rows), **said).rows()
    beams = model.generate(pad_rows(rows), beams=3, n_best=3, **said)
    for place, row in enumerate(rows):
        text = []
        for token in greedy[place]:
            assert token == int(said_by((model, other), row, text, average).argmax())
            text.append(token)
        expected = searched((model, other), row, average, beams=3, new=16)
        assert [tuple(one) for one in beams.rows()[3 * place : 3 * place + 3]] == [text for text, _ in expected]
        scores = [score / 16 for _, score in expected]
        assert beams.scores[3 * place : 3 * place + 3].tolist() == pytest.approx(scores, abs=1e-4)
    assert greedy != model.generate(pad_rows(rows), max_tokens=16, stop_ids=()).rows()


def test_a_model_with_itself_is_the_model():
    (model, _), rows = members("decoders"), rows_of(*LENGTHS)
    sampling = SamplingConfig(temperature=1.0, seed=4)
    for average in ("log_probabilities", "probabilities"):
        said = {"max_tokens": 8, "sampling": sampling}
        alone, twice = (
            model.generate(pad_rows(rows), **said),
            model.generate(pad_rows(rows), models=[model], average=average, **said),
        )
        assert alone.rows() == twice.rows()
        one = model.generate(pad_rows(rows), max_tokens=8, beams=3)
        two = model.generate(pad_rows(rows), max_tokens=8, beams=3, models=[model, model], average=average)
        assert one.rows() == two.rows()
        torch.testing.assert_close(one.scores, two.scores, atol=1e-5, rtol=1e-5)


def test_rows_that_end_leave_every_member():
    (model, other), rows = members("decoders"), rows_of(*LENGTHS)
    free = model.generate(pad_rows(rows), max_tokens=8, models=[other]).rows()
    ends = [free[1][2]]
    together = model.generate(pad_rows(rows), max_tokens=8, models=[other], stop_ids=ends).rows()
    alone = [model.generate(torch.tensor([row]), max_tokens=8, models=[other], stop_ids=ends).rows()[0] for row in rows]
    assert together == alone
    assert len(set(map(len, together))) > 1


def test_members_that_do_not_fit_are_refused_by_name():
    model, tokens = members("decoders")[0], random_tokens(1, 3)
    with pytest.raises(DataError, match=r"models\[1\]: vocab_size of an ensemble · got 50 · expected 61"):
        model.generate(tokens, max_tokens=2, models=[model, lively(gpt_like().replace(vocab_size=50))])
    with pytest.raises(DataError, match=r"models\[0\]: an encoder of an ensemble · got True · expected False"):
        model.generate(tokens, max_tokens=2, models=[lively(t5_like())])
    pair, other = members("pairs")
    other.special = SpecialTokens(decoder_start=1)
    with pytest.raises(DataError, match="the decoder's first token of an ensemble · got 1 · expected 0"):
        pair.generate(tokens, max_tokens=2, models=[other])
    with pytest.raises(DataError, match="average · got 'median'"):
        model.generate(tokens, max_tokens=2, models=[model], average="median")
    edit = EditSpec.of("zero", "blocks.0.output", {}, {})
    with pytest.raises(EditError, match=r"blocks.0.output: edits do not say which model · got 2 models"):
        model.generate(tokens, max_tokens=2, models=[model], edits=[edit])
    short = lively(gpt_like().replace(max_positions=8))
    with pytest.raises(DataError, match="expected at most 8 together"):
        model.generate(tokens, max_tokens=10, models=[short])
