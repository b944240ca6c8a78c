"""Values where others fell: which hidden state is the last, and what T5 multiplies by."""

from __future__ import annotations

import pytest
import torch

from tests.builders import bert_like, gpt_like, lively, random_tokens, t5_like


def same(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", [gpt_like, bert_like])
def test_the_last_hidden_state_has_a_name_of_its_own(form):
    """Trap 13: ``hidden_states[-1]`` is normed in some models and not in others."""
    model, tokens = lively(form()), random_tokens(2, 6)
    stack = "encoder" if model.decoder is None else "decoder"
    with model.trace() as trace:
        trace.read(f"{stack}.blocks.1.output")
        if model.decoder is not None:
            trace.read("decoder.norm.output")
        hidden = model.hidden(tokens)
    last = trace[f"{stack}.blocks.1.output"]
    if model.decoder is None:  # each block ends in its norm, and nothing comes behind the last
        assert torch.equal(hidden, last) and "encoder.norm.output" not in model.value_names()
        return
    assert torch.equal(hidden, trace["decoder.norm.output"]) and torch.equal(hidden, model.decoder.norm(last))
    assert (hidden - last).abs().max() > 0.1


def test_t5_scales_its_tied_head_and_no_score():
    """T5: scores are not divided by √head_dim, and where the head is the table its input is divided by √d_model."""
    model, tokens = lively(t5_like()), random_tokens(1, 6)
    at = "encoder.blocks.0.attention"
    with model.trace() as trace:
        for value in ("query", "key", "scores"):
            trace.read(f"{at}.{value}")
        logits = model(tokens, tokens)
    plain = trace[f"{at}.query"] @ trace[f"{at}.key"].mT
    bias = trace[f"{at}.scores"] - plain
    for distance in range(-5, 6):  # what is left depends on the distance alone
        apart = bias.diagonal(distance, -2, -1)
        same(apart, apart[..., :1].expand_as(apart))
    same(logits, model.hidden(tokens, tokens) @ model.embedding.tokens.weight.T * 32**-0.5)
