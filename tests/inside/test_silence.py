"""Nothing is silent: what was asked for and did not happen, does not exist or cannot be done is one clear error."""

from __future__ import annotations

import pytest
import torch

from glassformer.core.errors import EditError, UnknownNameError
from tests.builders import gpt_like, lively, random_tokens

TOKENS = random_tokens(3, 8)
VALID = {
    "whole": None,
    "left": torch.arange(8) >= torch.tensor([[3], [0], [5]]),
    "right": torch.arange(8) < torch.tensor([[5], [8], [3]]),
}


@pytest.fixture(scope="module")
def model():
    return lively(gpt_like())


def in_trace(model, use, forward=True, **rows):
    with model.trace() as trace:
        use(trace)
        if forward:
            model(TOKENS, **rows)
    return trace


def without_gradients(model):
    with torch.no_grad():
        trace = in_trace(model, lambda t: t.gradient("blocks.0.output"))
        return trace.gradients(model(TOKENS).sum())


def unrelated(model):
    trace = in_trace(model, lambda t: t.gradient("blocks.0.output"))
    return trace.gradients(model.head.proj.weight.sum())


def outside(model):
    trace = model.trace()
    trace.read("blocks.0.output")


WRONG = {
    "no forward": (
        lambda m: in_trace(m, lambda t: t.read("blocks.0.output"), False),
        EditError,
        r"decoder\.blocks\.0\.output: no forward ran inside the trace · call the model inside the with block",
    ),
    "another path": (lambda m: hidden(m), EditError, r"logits: the forward took a path that does not compute it"),
    "no such name": (
        lambda m: in_trace(m, lambda t: t.read("blocks.0.outptu")),
        UnknownNameError,
        r"no value named .*blocks\.0\.output",
    ),
    "no such layer": (
        lambda m: in_trace(m, lambda t: t.zero("blocks.2.output")),
        UnknownNameError,
        r"no value named 'blocks\.2\.output'",
    ),
    "outside": (outside, EditError, r"a trace is used inside its with block · got decoder\.blocks\.0\.output"),
    "head": (
        lambda m: in_trace(m, lambda t: t.zero("blocks.0.attention.heads", head=4)),
        EditError,
        r"decoder\.blocks\.0\.attention\.heads: the value has no such entry · got head=4",
    ),
    "read head": (
        lambda m: in_trace(m, lambda t: t.read("blocks.0.attention.heads", head=-5)),
        EditError,
        "no such entry · got head=-5",
    ),
    "head on demand": (
        lambda m: in_trace(m, lambda t: t.read("blocks.0.attention.pattern", head=[0, 4])),
        EditError,
        r"got head=\[0, 4\]",
    ),
    "query on demand": (
        lambda m: in_trace(m, lambda t: t.read("blocks.0.attention.pattern", query=8)),
        EditError,
        "got query=8",
    ),
    "position": (
        lambda m: in_trace(m, lambda t: t.add("blocks.0.output", 1.0, position=8)),
        EditError,
        "got position=8",
    ),
    "some rows lack it": (
        lambda m: in_trace(m, lambda t: t.read("blocks.0.output", position=6), valid=VALID["left"]),
        EditError,
        "got position=6",
    ),
    "some rows lack it on demand": (
        lambda m: in_trace(m, lambda t: t.read("blocks.0.attention.scores", query=6), valid=VALID["left"]),
        EditError,
        "got query=6",
    ),
    "key": (
        lambda m: in_trace(m, lambda t: t.cut("blocks.0.attention.pattern", key=9, query=3)),
        EditError,
        "got key=9",
    ),
    "batch": (
        lambda m: in_trace(m, lambda t: t.zero("blocks.0.output", batch=[0, 3])),
        EditError,
        r"got batch=\[0, 3\]",
    ),
    "slice": (
        lambda m: in_trace(m, lambda t: t.zero("blocks.0.output", position=slice(9, 12))),
        EditError,
        r"got position=slice",
    ),
    "swap": (
        lambda m: in_trace(m, lambda t: t.swap("blocks.0.output", "batch", 0, 3)),
        EditError,
        "no such entry · got batch=3",
    ),
    "unequal slices": (
        lambda m: in_trace(m, lambda t: t.read("blocks.0.output", position=slice(2, None)), valid=VALID["left"]),
        EditError,
        r"position: rows have unequal numbers of the selected positions · got \[3, 6, 1\]",
    ),
    "axis of another value": (
        lambda m: in_trace(m, lambda t: t.zero("blocks.0.output", head=1)),
        EditError,
        "the value has no such axis · got 'head' · expected one of batch, position, model",
    ),
    "position of a pattern": (
        lambda m: in_trace(m, lambda t: t.cut("blocks.0.attention.pattern", position=1)),
        EditError,
        "no such axis · got 'position' · expected one of batch, head, query, key",
    ),
    "no axis": (
        lambda m: in_trace(m, lambda t: t.zero("blocks.0.output", layer_number=1)),
        EditError,
        "no such axis · got 'layer_number'",
    ),
    "fraction": (
        lambda m: in_trace(m, lambda t: t.zero("blocks.0.output", position=1.5)),
        EditError,
        "position: a selection · got 1.5",
    ),
    "word": (
        lambda m: in_trace(m, lambda t: t.zero("blocks.0.output", position="last")),
        EditError,
        "position: a selection · got 'last'",
    ),
    "nothing selected": (
        lambda m: in_trace(m, lambda t: t.zero("blocks.0.output", position=[])),
        EditError,
        "position: a selection",
    ),
    "backwards": (
        lambda m: in_trace(m, lambda t: t.zero("blocks.0.output", position=slice(5, 1, -1))),
        EditError,
        "position: a slice · got step -1 · expected at least 1",
    ),
    "glob as a key": (
        lambda m: in_trace(m, lambda t: t.read("blocks.*.output"))["blocks.*.output"],
        EditError,
        r"'blocks\.\*\.output' means 2 values · use t\.values\(\) or one address",
    ),
    "not read": (
        lambda m: in_trace(m, lambda t: t.read("blocks.0.output"))["blocks.1.output"],
        UnknownNameError,
        r"'decoder\.blocks\.1\.output' was not read · expected one of decoder\.blocks\.0\.output · ask with t\.read",
    ),
    "not yet": (
        lambda m: in_trace(m, lambda t: t.read("blocks.0.output") or t["blocks.0.output"]),
        EditError,
        r"'decoder\.blocks\.0\.output' has not been computed yet · call the model first",
    ),
    "no gradient named": (
        lambda m: in_trace(m, lambda t: None).gradients(m(TOKENS).sum()),
        EditError,
        "no value to differentiate by",
    ),
    "no scalar": (
        lambda m: in_trace(m, lambda t: t.gradient("logits")).gradients(m(TOKENS)),
        EditError,
        r"gradients are of a scalar · got \(3, 8, 61\)",
    ),
    "no gradients": (
        without_gradients,
        EditError,
        r"the scalar was computed without gradients · leave out torch\.no_grad",
    ),
    "unrelated scalar": (unrelated, EditError, r"decoder\.blocks\.0\.output: the scalar does not depend on this value"),
    "call that changes the shape": (
        lambda m: in_trace(m, lambda t: t.call("blocks.0.output", lambda x: x[:1])),
        EditError,
        r"call: .* same shape · got \(1, 8, 32\) · expected \(3, 8, 32\)",
    ),
    "call that returns nothing": (
        lambda m: in_trace(m, lambda t: t.call("blocks.0.output", lambda x: None)),
        EditError,
        "got NoneType",
    ),
}


def hidden(model):
    with model.trace() as trace:
        trace.read("logits")
        trace.read("blocks.0.output")
        model.hidden(TOKENS)


@pytest.mark.parametrize("name", WRONG)
def test_nothing_is_silent(model, name):
    use, kind, message = WRONG[name]
    with pytest.raises(kind, match=message) as caught:
        use(model)
    assert "\n" not in str(caught.value)
    assert not any({"taps", "frame"} & part.__dict__.keys() for part in model.modules())
