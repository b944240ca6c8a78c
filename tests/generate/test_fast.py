from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from glassformer.generate import fast, packing
from glassformer.generate.fast import WORTH, Watch, fast_decoder, last_of, refuses
from glassformer.models.transformer import SpecialTokens, Transformer
from glassformer.parts.activations import ACTIVATIONS
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.norm import LayerNormConfig, RMSNormConfig
from tests.builders import (
    DECODERS,
    PAIRS,
    alibi_like,
    bert_like,
    gpt_like,
    lively,
    llama_like,
    parallel_like,
    random_tokens,
    t5_like,
)


def some_biases():
    config = llama_like()
    block = config.decoder.blocks[0]
    block = block.replace(attention=block.attention.replace(biases=("query", "output")))
    return config.replace(decoder=config.decoder.replace(blocks=(block,) * 2))


def own_score_positions():
    """Each layer with its own bias, heads that share keys, and the two ways to norm a query."""
    config = alibi_like()
    shared = config.decoder.positions
    block = config.decoder.blocks[0]
    attention = block.attention.replace(positions=shared, qk_norm=LayerNormConfig())
    blocks = (block.replace(attention=attention), block.replace(attention=attention.replace(qk_norm_over="projection")))
    return config.replace(decoder=config.decoder.replace(blocks=blocks, positions=None))


def normed_pairs():
    """Cross-attention with query norms of both kinds, and an embedding of the target's own."""
    config = t5_like()
    blocks = [
        block.replace(cross_attention=AttentionConfig(n_heads=4, qk_norm=RMSNormConfig(), qk_norm_over=over))
        for block, over in zip(config.decoder.blocks, ("head", "projection"), strict=True)
    ]
    return config.replace(
        decoder=config.decoder.replace(blocks=tuple(blocks)),
        decoder_embedding=EmbeddingConfig(),
        head=config.head.replace(soft_cap=5.0, bias=True),
    )


FORMS = {
    **DECODERS,
    **PAIRS,
    "two norms": lambda: parallel_like(shared_norm=False),
    "some biases": some_biases,
    "own scores": own_score_positions,
    "normed pairs": normed_pairs,
    "one key head": lambda: llama_like(n_kv_heads=1),
    "sandwich": lambda: llama_like(order="sandwich", norm=RMSNormConfig(offset=1.0)),
    "post": lambda: llama_like(order="post"),
}


def validity(batch, length, side):
    lengths = torch.tensor([[length], [5], [1], [9]])[:batch]
    valid = torch.arange(length) < lengths
    return valid.flip(1) if side == "left" else valid


@pytest.mark.parametrize("smallest", [0, 1 << 17], ids=["packed", "plain"])
@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize("name", FORMS)
def test_the_logits_are_those_of_the_model(name, side, smallest, monkeypatch):
    monkeypatch.setattr(packing, "SMALLEST", smallest)
    model = lively(FORMS[name]())
    assert refuses(model) == ""
    quick = fast_decoder(model, WORTH)
    source, heard = random_tokens(4, 9, seed=5), torch.arange(9) < torch.tensor([[9], [4], [7], [1]])
    caches = model.cache(4, 40), model.cache(4, 40)
    with torch.inference_mode():
        for step in range(12):
            tokens = random_tokens(4, 12 if step == 0 else 1, seed=step)
            valid = None if side == "none" or step else validity(4, 12, side)

            def own(cache, tokens=tokens, valid=valid):
                if model.encoder is None:
                    return last_of(model(tokens, valid=valid, cache=cache), valid)
                logits = model(source, tokens, source_valid=heard, target_valid=valid, cache=cache)
                return last_of(logits, valid)

            expected = own(caches[0])
            first_of_pair = model.encoder is not None and step == 0
            got = own(caches[1]) if first_of_pair else quick(tokens, valid, caches[1])
            torch.testing.assert_close(got, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def test_large_weights_are_packed_and_small_ones_are_not():
    small, large = nn.Linear(16, 16), nn.Linear(512, 512)
    x = torch.randn(3, 16)
    maps = [packing.linear_map(small), packing.linear_map(large)]
    held = [[cell.cell_contents for cell in one.__closure__] for one in maps]
    kinds = [any(getattr(value, "is_mkldnn", False) for value in cells) for cells in held]
    assert kinds == [False, True]
    torch.testing.assert_close(maps[0](x), small(x))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_behind_a_packed_weight_is_the_same(name, monkeypatch):
    monkeypatch.setattr(packing, "SMALLEST", 0)
    linear, activation = nn.Linear(24, 40), ACTIVATIONS[name]
    x = 3 * torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        got = packing.linear_map(linear, activation=activation)(x)
        torch.testing.assert_close(got, activation(linear(x)), atol=2e-6, rtol=1e-5)


def test_a_model_keeps_its_packed_weights_until_they_change():
    model = lively(gpt_like())
    first = fast_decoder(model, WORTH)
    assert fast_decoder(model, WORTH) is first
    with torch.no_grad():
        model.decoder.blocks[0].feed_forward.up_proj.weight.mul_(1.0)
    second = fast_decoder(model, WORTH)
    assert second is not first
    assert fast_decoder(model, WORTH) is second


def test_weights_are_packed_once_enough_steps_were_asked_for():
    model, tokens = lively(gpt_like()), random_tokens(1, 3)
    model.generate(tokens, max_tokens=WORTH - 2)
    assert vars(model)["packed"].made is None
    model.generate(tokens, max_tokens=1)
    assert vars(model)["packed"].made is None
    model.generate(tokens, max_tokens=1)
    assert vars(model)["packed"].made is not None
    changed_through_data(model.head.proj.weight)
    model.generate(tokens, max_tokens=1)
    assert vars(model)["packed"].made is None, "copies of old weights are not kept"


def changed_by_fused_adamw(weight):
    weight.grad = torch.ones_like(weight)
    torch.optim.AdamW([weight], lr=1e-3, fused=True).step()


def changed_through_data(weight):
    weight.data[7] += 1e-3  # one row


CHANGES = {
    "fused AdamW": changed_by_fused_adamw,
    "data": changed_through_data,
    "in place": lambda weight: weight.detach().add_(1e-3),
    "replaced": lambda weight: setattr(weight, "data", weight.data + 1e-3),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "path", ["decoder.blocks.1.attention.k_proj", "decoder.blocks.0.feed_forward.down_proj", "head.proj"]
)
def test_weights_that_change_are_packed_again_whoever_changes_them(change, path):
    model = lively(gpt_like())
    tokens = random_tokens(1, 5)
    with torch.no_grad():
        before = fast_decoder(model, WORTH)(tokens, None, model.cache(1, 8))
    CHANGES[change](model.get_submodule(path).weight)
    with torch.no_grad():
        after = fast_decoder(model, WORTH)(tokens, None, model.cache(1, 8))
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, model(tokens)[:, -1], atol=1e-4, rtol=1e-5)


def test_copies_of_a_model_pack_their_own_and_saved_ones_none():
    model = lively(gpt_like())
    mine = fast_decoder(model, WORTH)
    twin = copy.deepcopy(model)
    assert vars(twin)["packed"].made is None
    assert fast_decoder(twin, WORTH) is not mine
    assert pickle.loads(pickle.dumps(vars(model)["packed"])).made is None
    assert not any("packed" in name for name in model.state_dict())


def test_a_model_is_freed_with_its_packed_weights():
    import gc
    import weakref

    model = lively(gpt_like())
    fast_decoder(model, WORTH)
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None, "no circle that waits for the collector"
    finally:
        gc.enable()


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Quiet(Transformer):
    def forward(self, *arguments, **said):
        return 0.5 * super().forward(*arguments, **said)


def another_linear(model):
    old = model.decoder.blocks[0].attention.v_proj
    model.decoder.blocks[0].attention.v_proj = Doubled(old.in_features, old.out_features)


def another_feed_forward(model):
    model.decoder.blocks[1].feed_forward = nn.Sequential(model.decoder.blocks[1].feed_forward)


def another_block(model):
    model.decoder.blocks[1] = nn.Identity()


def another_head(model):
    model.head.proj = Doubled(32, 61)


def a_parametrisation(model):
    parametrizations.weight_norm(model.decoder.blocks[0].feed_forward.up_proj)


CASES = {
    another_linear: "decoder.blocks.0.attention.v_proj is a Doubled",
    another_feed_forward: "decoder.blocks.1.feed_forward is a Sequential",
    another_block: "decoder.blocks.1 is a Identity",
    another_head: "head.proj is a Doubled",
    a_parametrisation: "decoder.blocks.0.feed_forward.up_proj is a ParametrizedLinear",
    lambda model: model.double(): "weights are torch.float64 on cpu, not torch.float32 on cpu",
    lambda model: setattr(model, "__class__", Quiet): "not a Transformer with a decoder and a token head",
}


@pytest.mark.parametrize("change", CASES)
def test_what_is_not_known_is_refused_and_the_models_own_forward_is_used(change):
    model = lively(gpt_like())
    tokens = random_tokens(2, 5)
    change(model)
    assert refuses(model) == CASES[change]
    if refuses(model).startswith("decoder.blocks.1 is"):
        return  # no attention in it, so no forward
    generated = model.generate(tokens, max_tokens=WORTH)
    assert "packed" not in vars(model)
    for row, new in zip(tokens.tolist(), generated.rows(), strict=True):
        assert new[0] == model(torch.tensor([row]))[0, -1].argmax()


def test_models_of_other_kinds_and_machines_are_refused(monkeypatch):
    assert refuses(lively(bert_like())) == "not a Transformer with a decoder and a token head"
    with torch.inference_mode():
        made = lively(gpt_like())
    assert refuses(made) == "weights that were made in inference mode do not count their changes"
    model = lively(gpt_like())
    monkeypatch.setattr(fast, "memory", lambda: 1000)
    assert "and their packed copies are too much for 0.0 GB of memory" in refuses(model)
    monkeypatch.setattr(fast, "memory", lambda: None)
    assert refuses(model) == ""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert refuses(model) == "torch has no oneDNN here"


def a_trace(model):
    trace = model.trace().__enter__()
    trace.scale("blocks.0.output", 0.5)
    return lambda: trace.__exit__(None, None, None)


def a_hook(model):
    return model.decoder.blocks[0].attention.register_forward_hook(lambda part, given, out: 0.5 * out).remove


def a_hook_before(model):
    return model.decoder.blocks[0].register_forward_pre_hook(lambda part, given: (0.5 * given[0], *given[1:])).remove


def a_hook_everywhere(model):
    def halve(part, given, out):
        return 0.5 * out if isinstance(part, nn.Linear) else None

    return nn.modules.module.register_module_forward_hook(halve).remove


def a_forward_of_its_own(model):
    part = model.decoder.blocks[0].feed_forward
    forward = part.forward
    part.forward = lambda x: 0.5 * forward(x)
    return lambda: vars(part).pop("forward")


@pytest.mark.parametrize("look", [a_trace, a_hook, a_hook_before, a_hook_everywhere, a_forward_of_its_own])
def test_whoever_looks_or_changes_gets_the_models_own_forward_also_in_the_middle(look):
    from glassformer.generate.decode import Decoding

    model, tokens = lively(gpt_like()), random_tokens(2, 5)
    plain = model.generate(tokens, max_tokens=WORTH, stop_ids=())
    assert vars(model)["packed"].made is not None
    watch = Watch(model)
    assert not watch
    undo = look(model)
    assert watch
    changed = model.generate(tokens, max_tokens=WORTH, use_cache=False)
    assert torch.equal(model.generate(tokens, max_tokens=WORTH).tokens, changed.tokens)
    assert not torch.equal(changed.tokens, plain.tokens)
    undo()
    assert not watch
    assert torch.equal(model.generate(tokens, max_tokens=WORTH).tokens, plain.tokens)

    decoding = Decoding(model, tokens, max_tokens=WORTH)
    decoding.step()
    undo = look(model)
    for _ in range(2):
        decoding.step()
    undo()
    for _ in decoding:
        continue
    assert not torch.equal(decoding.generated().tokens, plain.tokens)


@pytest.mark.parametrize("name", [*DECODERS, *PAIRS])
def test_the_tokens_are_those_of_the_model(name, monkeypatch):
    monkeypatch.setattr(packing, "SMALLEST", 0)
    model = lively({**DECODERS, **PAIRS}[name]())
    model.special = SpecialTokens(decoder_start=0)
    quick = model.generate(random_tokens(3, 6), max_tokens=24)
    assert torch.equal(quick.tokens, model.generate(random_tokens(3, 6), max_tokens=24, fast=False).tokens)
    assert vars(model)["packed"].made is not None
