"""Latent attention: written out, through every cache, traced, what it costs."""

from __future__ import annotations

import pytest
import torch

from glassformer.core.errors import ConfigError
from glassformer.generate.fast import refuses
from glassformer.models.summary import summarise
from glassformer.parts.latent import LatentConfig
from glassformer.parts.norm import RMSNormConfig
from glassformer.parts.positions import ALiBiConfig
from glassformer.parts.rotary import RotaryConfig
from tests.builders import counted_flops, latent_like, lively, random_tokens

FORMS = {
    "latent queries": {},
    "plain queries": {"q_rank": None},
    "halves": {"positions": RotaryConfig()},
    "biases": {"bias": True, "norm": RMSNormConfig(eps=1e-2)},
    "window": {"window": 5},
    "soft cap": {"soft_cap": 2.0, "scale": 0.7},
    "alibi": {"positions": ALiBiConfig()},
    "no positions": {"positions": None},
}
AT = "decoder.blocks.1.attention"
TOKENS = random_tokens(3, 9)


def written_out(part, x: torch.Tensor) -> torch.Tensor:
    """One row after another, one head after another, one query after another."""
    config, length = part.config, x.shape[1]
    made = x if config.q_rank is None else part.q_a_norm(part.q_a_proj(x))
    query = (part.q_proj if config.q_rank is None else part.q_b_proj)(made).unflatten(-1, (part.n_heads, -1))
    latent, shared = part.kv_a_proj(x).split((config.kv_rank, config.rope_dim), -1)
    both = part.kv_b_proj(part.kv_a_norm(latent)).unflatten(-1, (part.n_heads, -1))
    rotation = part.positions(torch.arange(length)[None], torch.tensor([length]))
    shared = rotation.turn(shared[:, None])[:, 0]
    out = torch.zeros(x.shape[0], length, part.n_heads, config.value_dim)
    for row in range(x.shape[0]):
        for head in range(part.n_heads):
            turned = rotation.turn(query[row, :, head, config.nope_dim :][None, None])[0, 0]
            for place in range(length):
                near = both[row, : place + 1, head, : config.nope_dim] @ query[row, place, head, : config.nope_dim]
                scores = (near + shared[row, : place + 1] @ turned[place]) * (config.nope_dim + config.rope_dim) ** -0.5
                out[row, place, head] = scores.softmax(0) @ both[row, : place + 1, head, config.nope_dim :]
    return part.o_proj(out.flatten(2))


@pytest.mark.parametrize("form", ["latent queries", "plain queries", "halves", "biases"])
def test_it_is_what_it_says(form):
    model = lively(latent_like(**FORMS[form]))
    with model.trace() as trace, torch.no_grad():
        trace.read("blocks.0.output")
        trace.read(f"{AT}.output")
        model(TOKENS)
    block = model.decoder.blocks[1]
    with torch.no_grad():
        expected = written_out(block.attention, block.attention_norm.before(trace["blocks.0.output"]))
    torch.testing.assert_close(trace[f"{AT}.output"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize("form", FORMS)
def test_a_cache_changes_no_number(form, side):
    model = lively(latent_like(**FORMS[form]))
    rows = [random_tokens(length, seed=length) for length in (9, 9, 9)] if side == "none" else [
        random_tokens(length, seed=length) for length in (9, 4, 1)
    ]  # fmt: skip
    later = random_tokens(3, 5, seed=7)
    tokens, valid = torch.zeros(3, 9, dtype=torch.int64), torch.zeros(3, 9, dtype=torch.bool)
    for row, one in enumerate(rows):
        place = slice(9 - len(one), None) if side == "left" else slice(len(one))
        tokens[row, place], valid[row, place] = one, True
    cache = model.cache(3, 20)
    model(tokens, valid=None if side == "none" else valid, cache=cache)
    steps = [model(some, cache=cache) for some in later.split((1, 2, 1, 1), 1)]
    with torch.no_grad():
        for row, one in enumerate(rows):
            whole = model(torch.cat((one, later[row]))[None])[0, -5:]
            torch.testing.assert_close(torch.cat(steps, 1)[row], whole, rtol=1e-4, atol=1e-4)


def test_a_cache_keeps_latents_alone():
    model = lively(latent_like())
    cache = model.cache(2, 10)
    model(random_tokens(2, 6), cache=cache)
    assert [tuple(cache.stores[0].key.shape), tuple(cache.stores[0].value.shape)] == [(2, 1, 11, 24), (2, 1, 11, 6)]
    assert model.summary().kv_bytes_per_token == 2 * (24 + 6) * 4


def test_flops_count_keys_and_values_of_unequal_width():
    model, tokens = lively(latent_like()), random_tokens(2, 32)
    with torch.no_grad():
        counted = counted_flops(lambda: model(tokens)) / 64
    assert summarise(model, 32).flops_per_token == counted


@pytest.mark.parametrize("address", ["key", "value", "latent", "scores", "pattern", "query", "heads", "head_outputs"])
def test_a_read_changes_nothing_in_steps(address):
    model, caches = lively(latent_like()), []
    for reads in (False, True):
        cache = model.cache(3)
        model(TOKENS, cache=cache)
        with model.trace() as trace:
            if reads:
                trace.read(f"{AT}.{address}")
            caches.append(model(random_tokens(3, 1, seed=2), cache=cache))
    assert torch.equal(*caches)
    if address == "pattern":
        torch.testing.assert_close(trace[f"{AT}.pattern"].sum(-1), torch.ones(3, 4, 1))
        assert trace[f"{AT}.pattern"].shape == (3, 4, 1, 10)
    if address in ("key", "value"):
        assert trace[f"{AT}.{address}"].shape == (3, 4, 10, 16 if address == "key" else 12)


EDITS = {
    "keys": ("key", {"key": [1, 3], "kv_head": 2}),
    "the rows' own last key": ("key", {"key": -1}),
    "values": ("value", {"key": slice(2, 5)}),
    "latents": ("latent", {"key": 2}),
    "scores": ("scores", {"query": 7, "key": 2}),
    "pattern": ("pattern", {"head": 1, "key": 0}),
    "queries": ("query", {"query": slice(5, None)}),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_the_same_in_steps(name):
    model, (value, chosen) = lively(latent_like()), EDITS[name]
    tokens = torch.cat((TOKENS, random_tokens(3, 1, seed=2)), 1)
    cuts = (10,) if name == "the rows' own last key" else (6, 1, 2, 1)
    found = []
    for steps in (None, cuts):
        with model.trace() as trace, torch.no_grad():
            trace.scale(f"{AT}.{value}", -1.5, **chosen)
            cache = None if steps is None else model.cache(3)
            found.append(torch.cat([model(some, cache=cache) for some in tokens.split(steps or 10, 1)], 1))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert (found[0] - model(tokens)).abs().max() > 1e-3


def test_generation_uses_the_models_own_forward():
    model = lively(latent_like())
    assert refuses(model) == "decoder.blocks.0.attention is a LatentAttention"
    written = model.generate(TOKENS, max_tokens=8)
    assert torch.equal(written.tokens, model.generate(TOKENS, max_tokens=8, use_cache=False).tokens)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kv_rank": 0}, "LatentConfig.kv_rank"),
        ({"q_rank": 0}, "LatentConfig.q_rank"),
        ({"n_kv_heads": 2}, "all heads share one latent"),
        ({"head_dim": 8}, "nope_dim"),
        ({"qk_norm": RMSNormConfig()}, "a norm of their own"),
        ({"sinks": True}, "LatentConfig.sinks"),
        ({"biases": ("query",)}, "LatentConfig.biases"),
    ],
)
def test_what_cannot_be_built_is_refused(fields, message):
    plain = {"n_heads": 4, "kv_rank": 8, "nope_dim": 4, "rope_dim": 4, "value_dim": 4}
    with pytest.raises(ConfigError, match=message):
        LatentConfig(**plain | fields)
