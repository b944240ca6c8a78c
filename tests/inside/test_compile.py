"""Taps under ``torch.compile`` of each block: idle they are not there, and one graph serves all places of a kind."""

from __future__ import annotations

import ast
import inspect
import textwrap
import threading
from functools import cache, partial
from itertools import pairwise

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from glassformer.core.errors import EditError
from glassformer.core.part import Part
from glassformer.inside.trace import gradient
from tests.builders import (
    bert_like,
    gpt_like,
    lively,
    llama_like,
    mixed_like,
    parallel_like,
    random_tokens,
    run,
    sliding_like,
    t5_like,
)

#: torch itself asks every tensor for its gradient.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

TOKENS = random_tokens(2, 8)
DIRECTIONS = torch.randn(9, 32, generator=torch.Generator().manual_seed(1))


class Counting:
    """A backend that runs graphs as they are and keeps their code."""

    def __init__(self):
        self.graphs = []

    def __call__(self, module, inputs):
        self.graphs.append(module.code)
        return module.forward

    def __len__(self):
        return len(self.graphs)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(config):
    """A model, its graphs, and its logits before it was compiled."""
    model, graphs = lively(config), Counting()
    with torch.no_grad():
        clean = run(model, TOKENS)
        model.compile(backend=graphs)
        assert torch.equal(run(model, TOKENS), clean)
    return model, graphs, clean


def eagerly(model, use):
    """The logits with taps, without compiled calls."""
    calls = [(part, part._compiled_call_impl) for part in model.modules() if part._compiled_call_impl is not None]
    for part, _ in calls:
        part._compiled_call_impl = None
    try:
        return traced(model, use)
    finally:
        for part, call in calls:
            part._compiled_call_impl = call


@torch.no_grad()
def traced(model, use):
    with model.trace() as trace:
        use(trace)
        return run(model, TOKENS), trace.values()


# The idle graph


class Stripped(ast.NodeTransformer):
    """The source as it would be without taps."""

    def visit_Call(self, node):
        self.generic_visit(node)
        name = ast.unparse(node.func)
        if name == "self.tap":
            return node.args[1]
        return ast.Constant(False) if name in ("self.wants", "self.edits") else node


@cache
def stripped(kind):
    """A class with the methods of another, without their taps."""
    methods = {}
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        source = textwrap.dedent(inspect.getsource(method))
        if "self.tap(" in source and name != "tap":
            tree = ast.fix_missing_locations(Stripped().visit(ast.parse(source)))
            exec(compile(tree, "<stripped>", "exec"), method.__globals__, methods)
    return type(kind.__name__, (kind,), methods) if methods else kind


@pytest.mark.parametrize("config", [gpt_like, llama_like, mixed_like, parallel_like, bert_like, t5_like])
def test_the_idle_graph_is_that_of_the_source_without_taps(config):
    _, tapped, _ = compiled(config())
    torch._dynamo.reset()
    model, graphs = lively(config()), Counting()
    for part in model.modules():
        if isinstance(part, Part):
            part.__class__ = stripped(type(part))
    assert {type(part).__module__ for part in model.modules() if "Attention" in type(part).__name__} == {__name__}
    model.compile(backend=graphs)
    with torch.no_grad():
        run(model, TOKENS)
    assert tapped.graphs == graphs.graphs and len(graphs) > 0


# One graph for each kind

#: For each kind of tap what is done in the n-th place, and in how many places.
KINDS = {
    "read a residual": (lambda t, n: t.read(f"blocks.{n}.output"), 4),
    "read a pattern": (lambda t, n: t.read(f"blocks.{n}.attention.pattern"), 4),
    "read some of a pattern": (lambda t, n: t.read("blocks.1.attention.pattern", head=n, query=-n), 4),
    "read a scale": (lambda t, n: t.read(f"blocks.{n}.feed_forward_norm.*.scale"), 4),
    "ablate a head": (lambda t, n: t.scale(f"blocks.{n // 4}.attention.heads", n / 16, head=n % 4), 16),
    "cut an edge": (lambda t, n: t.cut(f"blocks.{n // 6}.attention.pattern", query=6, key=n % 6), 12),
    "steer": (lambda t, n: t.add(f"blocks.{n % 4}.output", DIRECTIONS[n], position=n % 3), 9),
    "patch": (lambda t, n: t.patch("blocks.1.middle", DIRECTIONS[:8], position=n), 8),
    "swap": (lambda t, n: t.swap(f"blocks.{n}.output", "position", n, n + 2), 4),
    "noise": (lambda t, n: t.noise(f"blocks.{n}.input", 0.1 * n, seed=n), 4),
    "mean": (lambda t, n: t.mean(f"blocks.{n}.feed_forward.hidden", position=n), 4),
    "project": (lambda t, n: t.project(f"blocks.{n}.output", DIRECTIONS[n]), 4),
    "clamp": (lambda t, n: t.clamp(f"blocks.{n}.output", -n, n), 4),
    "temper": (lambda t, n: t.temper(f"blocks.{n}.attention.pattern", 0.5 + n, head=n), 4),
    "skip a block": (lambda t, n: t.skip(f"blocks.{n}"), 4),
    "skip a part": (lambda t, n: t.skip(f"blocks.{n}.attention", position=n), 4),
    "three on one value": (
        lambda t, n: (t.scale(f"blocks.{n}.output", n), t.read(f"blocks.{n}.output"), t.add(f"blocks.{n}.output", 1.0)),
        4,
    ),
    "some rows": (lambda t, n: t.zero("blocks.1.output", batch=n, position=[n, n + 2]), 2),
    "everything": (lambda t, n: t.read("**"), 2),
}


@pytest.mark.parametrize("name", KINDS)
def test_one_new_graph_for_each_kind_of_tap(name):
    model, graphs, clean = compiled(llama_like(4))
    assert len(graphs) == 1, "one graph for four layers"
    use, places = KINDS[name]
    for n in range(places):
        logits, values = traced(model, partial(use, n=n))
        assert len(graphs) == 2
        expected, read = eagerly(model, partial(use, n=n))
        torch.testing.assert_close(logits, expected)
        assert values.keys() == read.keys()
        for address in values:
            torch.testing.assert_close(values[address], read[address])
    with torch.no_grad():
        assert torch.equal(run(model, TOKENS), clean)
    assert len(graphs) == 2, "back to idle"


ALIKE = {
    "decoder": (gpt_like, "decoder", "attention", 1),
    "encoder": (bert_like, "encoder", "attention", 1),
    "encoder of a pair": (t5_like, "encoder", "attention", 2),
    "decoder of a pair": (t5_like, "decoder", "attention", 2),
    "cross-attention": (t5_like, "decoder", "cross_attention", 2),
}


@pytest.mark.parametrize("name", ALIKE)
def test_stacks_and_cross_attention_alike(name):
    config, stack, attention, idle = ALIKE[name]
    model, graphs, clean = compiled(config())
    assert len(graphs) == idle
    changes = [
        lambda t, layer, head: t.read(f"{stack}.blocks.{layer}.{attention}.pattern", head=head),
        lambda t, layer, head: t.scale(f"{stack}.blocks.{layer}.{attention}.heads", 0.5, head=head),
        lambda t, layer, head: t.cut(f"{stack}.blocks.{layer}.{attention}.pattern", head=head, key=2),
    ]
    for kind, use in enumerate(changes, 1):
        for layer, head in ((0, 0), (1, 0), (1, 3)):
            one = partial(use, layer=layer, head=head)
            logits, values = traced(model, one)
            assert len(graphs) == idle + kind
            expected, read = eagerly(model, one)
            torch.testing.assert_close(logits, expected)
            assert torch.equal(logits, clean) == (kind == 1)
            assert all(torch.equal(values[address], read[address]) for address in values)


def test_steps_in_a_row_do_not_compile_again():
    model, graphs, _ = compiled(gpt_like())
    with torch.no_grad(), model.trace() as trace:
        trace.read("blocks.*.output")
        trace.scale("blocks.0.attention.heads", 0.5, head=1)
        run(model, TOKENS)
        before, seen = len(graphs), []
        for seed in range(10):
            run(model, random_tokens(2, 8, seed=seed))
            seen.append(trace["blocks.1.output"])
    assert len(graphs) == before
    assert all(not torch.equal(one, other) for one, other in pairwise(seen))


@pytest.mark.parametrize("config", [gpt_like, sliding_like, t5_like])
def test_steps_through_a_cache_share_a_graph_and_obey(config):
    model, graphs, _ = compiled(config())
    tokens, idle = random_tokens(2, 14), len(graphs)

    def generated(model):
        cache = model.cache(2)
        with torch.no_grad(), model.trace() as trace:
            trace.scale("decoder.blocks.0.attention.heads", 0.5, head=1, query=[3, 9])
            trace.cut("decoder.blocks.1.attention.pattern", query=10, key=9)
            return [run(model, step, cache=cache) for step in tokens.split([6] + [1] * 8, 1)]

    torch.testing.assert_close(torch.cat(generated(model), 1), torch.cat(generated(lively(config())), 1))
    assert len(graphs) == idle + 2 * 2  # the prompt and the steps, for each of two blocks with taps of their own


def test_lengths_that_grow_take_one_more_graph():
    model, graphs, _ = compiled(gpt_like())
    with torch.no_grad(), model.trace() as trace:
        trace.read("blocks.*.attention.pattern")
        for length in range(8, 20):
            run(model, random_tokens(2, length))
    assert len(graphs) <= 1 + 2  # the idle one, one for the first length, one for all the others


def test_many_kinds_of_tap_do_not_meet_a_limit():
    config = gpt_like(3)
    names = [address for address in config.build().value_names() if ".blocks.1." in address][::2]
    assert len(names) == 9  # torch itself gives up at the eighth
    failures = []

    def work():  # torch keeps its settings for each thread
        try:
            model, graphs, clean = compiled(config)
            for name in names:
                logits, _ = traced(model, lambda t, name=name: t.read(name))
                assert torch.equal(logits, clean)
            assert len(graphs) == 1 + len(names)
        except BaseException as error:
            failures.append(error)

    for target in (work, lambda: None):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    if failures:
        raise failures[0]


def test_many_layers_share_one_graph():
    model, graphs, _ = compiled(gpt_like(64))
    traced(model, lambda t: t.read("blocks.*.attention.pattern", query=-1))
    traced(model, lambda t: [t.scale(f"blocks.{layer}.output", 1.0 + layer / 64) for layer in range(64)])
    assert len(graphs) == 3


# Gradients


@pytest.mark.parametrize("address", ["blocks.*.output", "blocks.*.attention.pattern", "blocks.0.attention.query"])
def test_gradients_equal_those_of_eager(address):
    def of(logits):
        return logits[:, -1].square().sum()

    expected = gradient(lively(llama_like(4)), TOKENS, address, of=of)
    model, graphs, _ = compiled(llama_like(4))
    of(model(TOKENS)).backward()
    before = len(graphs)
    found = gradient(model, TOKENS, address, of=of)
    assert len(graphs) == before + 1 and found.keys() == expected.keys()
    for one in found:
        torch.testing.assert_close(found[one], expected[one], rtol=1e-5, atol=1e-6)
    for layer in range(4):
        gradient(model, TOKENS, f"blocks.{layer}.output", of=of)
    assert len(graphs) <= before + 2


def test_a_compiled_block_must_know_the_shape_of_a_gradient():
    model, _, _ = compiled(gpt_like())
    message = r"decoder\.blocks\.0\.output: the gradient of a compiled block needs its shape · call t\.shape_gradients"
    with pytest.raises(EditError, match=message), model.trace() as trace:
        trace.gradient("blocks.0.output")


def test_a_compiled_read_cannot_be_differentiated_by():
    model = lively(gpt_like())
    model.compile(backend="aot_eager")
    with model.trace() as trace:
        trace.read("blocks.0.middle")
        scalar = model(TOKENS).sum()
    with pytest.raises(RuntimeError, match="differentiated Tensor at index 0 appears to not have been used"):
        torch.autograd.grad(scalar, trace["blocks.0.middle"])


# Traps


def test_any_python_runs_its_block_eagerly_and_leaves_the_others():
    model, graphs, _ = compiled(gpt_like(3))
    for power in range(1, 6):
        use = partial(lambda t, power: t.call("blocks.1.output", lambda x: x.sin() ** power), power=power)
        logits, _ = traced(model, use)
        torch.testing.assert_close(logits, eagerly(model, use)[0])
    assert len(graphs) == 1
    assert all(block._compiled_call_impl is not None for block in model.decoder.blocks)


def test_a_nested_region_obeys_or_there_is_an_error():
    """Some versions of torch leave taps out of ``nested_compile_region``; whatever it does, it is never silent."""
    model = lively(gpt_like())
    forward = torch.compiler.nested_compile_region(lambda block, x, view: type(block).forward(block, x, view))
    uses = [
        lambda t: t.read("blocks.0.output"),
        lambda t: t.zero("blocks.0.output"),
        lambda t: t.zero("blocks.1.middle"),
    ]
    expected = [traced(model, use)[0] for use in uses]
    for block in model.decoder.blocks:
        block.forward = lambda x, view, store=None, cross=None, block=block: forward(block, x, view)
        block.compile(backend="eager")
    traced(model, lambda t: None)
    for use, logits in zip(uses, expected, strict=True):
        try:
            torch.testing.assert_close(traced(model, use)[0], logits)
        except EditError as error:
            assert "the forward took a path that does not compute it" in str(error)


def test_a_block_that_was_compiled_before_and_knows_no_taps_is_an_error():
    model, graphs = lively(gpt_like()), []
    block = model.decoder.blocks[0]
    block.compile(backend=lambda module, inputs: graphs.append((module, inputs)) or module.forward)
    with torch.no_grad():
        clean = run(model, TOKENS)
    module, inputs = graphs[0]
    block._compiled_call_impl = lambda x, *rest: module(*(x if given.shape == x.shape else given for given in inputs))[
        0
    ]
    assert torch.equal(run(model, TOKENS), clean)
    message = r"decoder\.blocks\.0\.output: the forward took a path that does not compute it inside the trace"
    for use in (lambda t: t.read("blocks.0.output"), lambda t: t.zero("blocks.0.output")):
        with pytest.raises(EditError, match=message):
            traced(model, use)


@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_read_under_activation_checkpointing(is_compiled):
    model = lively(gpt_like())
    expected = model.named_value("blocks.0.middle", TOKENS)
    model(TOKENS).square().sum().backward()
    plain = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    for block in model.decoder.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if is_compiled:
        model.compile(backend="aot_eager", fullgraph=False)
    with model.trace() as trace:
        trace.read("blocks.*.middle")
        model(TOKENS).square().sum().backward()
    torch.testing.assert_close(trace["blocks.0.middle"], expected)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, plain[name], rtol=1e-4, atol=1e-4)


def test_an_edit_under_activation_checkpointing_is_made_again():
    model = lively(gpt_like())

    def gradients():
        model.zero_grad()
        with model.trace() as trace:
            trace.scale("blocks.0.attention.heads", 0.25, head=1, position=slice(2, None))
            trace.noise("blocks.1.output", 0.1)
            model(TOKENS).square().sum().backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters()}

    expected = gradients()
    for block in model.decoder.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    for name, found in gradients().items():
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-4)
