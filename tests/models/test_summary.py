"""The formulas of ``summary`` against what torch counts and a cache allocates."""

from __future__ import annotations

import pytest
import torch

from glassformer.models.summary import summarise
from glassformer.parts.head import ClassifyHeadConfig, PoolerConfig
from tests.builders import (
    ALL,
    DECODERS,
    PAIRS,
    bert_like,
    counted_flops,
    gpt_like,
    lively,
    llama_like,
    random_tokens,
    run,
)

CONTEXT = 32
#: A short row of a sliding model is computed as a dense one with a mask: what is counted is more than what is needed.
DENSE = {"sliding", "mixed"}


def counted(config, context):
    model = config.build()
    tokens = random_tokens(2, context)
    inputs = (tokens, tokens) if model.encoder is not None and model.decoder is not None else (tokens,)
    return counted_flops(lambda: model(*inputs)) / (2 * context)


@pytest.mark.parametrize("name", ALL)
def test_flops_per_token_are_those_of_a_forward(name):
    config = ALL[name]()
    formula = summarise(config.build(), CONTEXT).flops_per_token
    assert formula < counted(config, CONTEXT) if name in DENSE else formula == counted(config, CONTEXT)


def test_a_window_counts_its_own_size_of_keys():
    windowed, full = (summarise(llama_like(window=window).build(), CONTEXT).flops_per_token for window in (8, None))
    assert full - windowed == 2 * 4 * 32 * (CONTEXT - 8)  # layers · 4 · n_heads · head_dim · keys
    assert summarise(llama_like(window=8).build(), 8).flops_per_token == counted(llama_like(window=8), 8)


def test_what_a_row_passes_once_is_shared_by_its_tokens():
    config = bert_like().replace(pooler=PoolerConfig(activation="tanh"), head=ClassifyHeadConfig(n_labels=4))
    assert summarise(config.build(), CONTEXT).flops_per_token == counted(config, CONTEXT)


@pytest.mark.parametrize("name", ALL)
def test_parameters_are_counted_once_where_they_are_shared(name):
    model = ALL[name]().build()
    unique = {weight.data_ptr(): weight.numel() for weight in model.parameters()}
    assert model.summary().parameters == sum(unique.values()) == sum(weight.numel() for weight in model.parameters())


def test_tables_of_positions_and_segments_are_embeddings():
    assert gpt_like().build().summary().embedding_parameters == (61 + 64) * 32
    assert bert_like().build().summary().embedding_parameters == (61 + 64 + 2) * 32
    assert llama_like().build().summary().embedding_parameters == 61 * 32  # the head of its own is none


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*DECODERS, *PAIRS])
def test_kv_bytes_are_those_that_a_cache_allocates(name, dtype):
    model = lively(ALL[name]()).to(dtype)
    cache = model.cache(3, 10)
    run(model, random_tokens(3, 6), cache=cache)
    slots = [
        (buffer.nbytes / buffer.shape[0] / buffer.shape[2])
        for store in cache.stores
        for buffer in (store.key, store.value)
    ]
    assert model.summary().kv_bytes_per_token == sum(slots) > 0


def test_an_encoder_keeps_nothing():
    assert bert_like().build().summary().kv_bytes_per_token == 0


def test_the_context_is_the_models_own_unless_said():
    model = gpt_like().build()
    assert model.summary().context == 64 and summarise(model, 7).context == 7
    assert llama_like().replace(max_positions=None).build().summary().context == 1024


def test_it_prints_on_one_line_and_as_json():
    summary = gpt_like().build().summary()
    assert str(summary) == (
        "19.07 k parameters (4.00 k in embeddings) · 48.96 k FLOPs per token at 64 tokens · 512 KV bytes per token"
    )
    assert summary.to_json()["parameters"] == summary.parameters
    large = summary.__class__(3 * 10**9, 999, 7 * 10**12, 1234, 1)
    assert str(large).startswith("3.00 G parameters (999 in embeddings) · 7.00 T FLOPs") and "1,234 KV" in str(large)
