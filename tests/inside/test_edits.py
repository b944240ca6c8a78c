"""Edits as data: checked when they are made, saved to a file and read back, and files from outside are bounded."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from glassformer.core.errors import CheckpointError, ConfigError, EditError, UnknownNameError
from glassformer.inside import edits
from glassformer.inside.edits import KINDS, ON_PATTERNS, EditSpec
from tests.builders import (
    gpt_like,
    lively,
    random_tokens,
)

TOKENS = random_tokens(3, 8)
LEFT = torch.arange(8) >= torch.tensor([[3], [0], [5]])
OUTPUT, PATTERN, HEADS = "blocks.0.output", "blocks.0.attention.pattern", "blocks.1.attention.heads"


@pytest.fixture(scope="module")
def model():
    return lively(gpt_like())


DIRECTION = torch.randn(32, generator=torch.Generator().manual_seed(3))
OTHER = torch.randn(3, 8, 32, generator=torch.Generator().manual_seed(4))


# Files

SAVED = {
    "nothing": lambda t: None,
    "numbers": lambda t: (
        t.scale(HEADS, 0.25, head=[1, 3], query=-1),
        t.clamp(OUTPUT, high=2.0),
        t.noise(OUTPUT, 0.1, seed=5),
    ),
    "tensors": lambda t: (
        t.add(OUTPUT, DIRECTION, position=slice(1, None, 2)),
        t.patch(OUTPUT, OTHER, batch=torch.tensor(1)),
    ),
    "patterns": lambda t: (
        t.cut(PATTERN, query=5, key=[1, 2]),
        t.temper(PATTERN, 0.5, head=1),
        t.freeze(PATTERN, torch.eye(8)),
    ),
    "more": lambda t: (
        t.swap(OUTPUT, "batch", 0, 2, position=torch.tensor([3, 4])),
        t.skip("blocks.1"),
        t.mean(OUTPUT),
        t.zero(HEADS),
        t.project(OUTPUT, DIRECTION, keep=True),
        t.set(OUTPUT, -1.0, batch=0),
    ),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_file_makes_the_same_edits(model, name, tmp_path):
    with model.trace() as trace:
        SAVED[name](trace)
        logits = model(TOKENS)
    edits.save(trace.edits, tmp_path / "edits.json")
    loaded = edits.load(tmp_path / "edits.json")
    assert [(edit.kind, edit.address, edit.axis) for edit in loaded] == [
        (e.kind, e.address, e.axis) for e in trace.edits
    ]
    with model.trace() as again:
        again.apply(loaded)
        assert torch.equal(model(TOKENS), logits)
    edits.save(again.edits, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "edits.json").read_text()
    assert (tmp_path / "edits.safetensors").exists() == (name not in ("nothing", "numbers"))


def test_every_kind_has_a_method_and_is_saved_by_one_of_the_above(model):
    with model.trace() as trace:
        for one in SAVED.values():
            one(trace)
        model(TOKENS)
    routed = {"route"}  # in tests/parts/test_experts.py
    assert {edit.kind for edit in trace.edits} | routed == set(KINDS) >= ON_PATTERNS
    assert all(callable(getattr(trace, kind)) for kind in KINDS)


GOOD = {"kind": "scale", "address": OUTPUT, "numbers": {"factor": 2.0}}
MALFORMED = {
    "a list": ([GOOD], EditError, r'e\.json: no edits in this file · expected \{"edits": \[...\]\}'),
    "more than edits": ({"edits": [], "code": "print()"}, EditError, "no edits in this file"),
    "no list": ({"edits": GOOD}, EditError, "no edits in this file"),
    "no object": ({"edits": [GOOD, 3]}, EditError, r"e\.json: edits\[1\]: an edit · expected kind, address"),
    "no kind": ({"edits": [{"address": OUTPUT}]}, EditError, r"edits\[0\]: an edit · expected kind, address"),
    "unknown field": (
        {"edits": [{**GOOD, "call": "os.system"}]},
        EditError,
        r"edits\[0\]: an edit · expected kind, address",
    ),
    "unknown kind": (
        {"edits": [{**GOOD, "kind": "call"}]},
        EditError,
        r"edits\[0\]: no such edit · got 'call' · expected one of",
    ),
    "near kind": (
        {"edits": [{**GOOD, "kind": "scal"}]},
        EditError,
        r"no such edit · got 'scal' · expected one of scale",
    ),
    "missing number": (
        {"edits": [{"kind": "scale", "address": OUTPUT}]},
        EditError,
        "scale: its numbers · got none · expected factor",
    ),
    "other number": (
        {"edits": [{**GOOD, "numbers": {"by": 2.0}}]},
        EditError,
        "scale: its numbers · got by · expected factor",
    ),
    "numbers in a list": (
        {"edits": [{**GOOD, "numbers": [2.0]}]},
        EditError,
        r"edits\[0\]: the numbers of an edit · got \[2\.0\]",
    ),
    "a word": (
        {"edits": [{**GOOD, "numbers": {"factor": "two"}}]},
        EditError,
        r"edits\[0\]: a number of an edit · got 'two'",
    ),
    "truth": ({"edits": [{**GOOD, "numbers": {"factor": True}}]}, EditError, "a number of an edit · got True"),
    "null": ({"edits": [{**GOOD, "numbers": {"factor": None}}]}, EditError, "a number of an edit · got None"),
    "list as a number": (
        {"edits": [{**GOOD, "numbers": {"factor": [1, 2]}}]},
        EditError,
        r"a number of an edit · got \[1, 2\]",
    ),
    "lost tensor": (
        {"edits": [{**GOOD, "numbers": {"factor": {"tensor": "0.x"}}}]},
        EditError,
        r"edits\[0\]: no tensor '0\.x' beside the edits",
    ),
    "selection": (
        {"edits": [{**GOOD, "selection": {"head": "all"}}]},
        EditError,
        r"edits\[0\]: head: a selection · got 'all'",
    ),
    "selection in a list": (
        {"edits": [{**GOOD, "selection": [1]}]},
        EditError,
        r"edits\[0\]: a selection · got \[1\] · expected an object",
    ),
    "pattern edit elsewhere": (
        {"edits": [{"kind": "cut", "address": OUTPUT}]},
        EditError,
        "cut is for patterns · got blocks.0.output",
    ),
    "swap of nothing": (
        {"edits": [{"kind": "swap", "address": OUTPUT, "numbers": {"first": 0, "second": 1}}]},
        EditError,
        "swap says along which axis",
    ),
    "axis of another": ({"edits": [{**GOOD, "axis": "batch"}]}, EditError, "scale has no axis · got 'batch'"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_one_line(name, tmp_path):
    data, kind, message = MALFORMED[name]
    (tmp_path / "e.json").write_text(json.dumps(data))
    with pytest.raises(kind, match=message) as caught:
        edits.load(tmp_path / "e.json")
    assert "\n" not in str(caught.value) and "e.json" in str(caught.value)


def test_a_file_that_is_not_there_or_not_what_it_says(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        edits.load(tmp_path / "e.json")
    (tmp_path / "e.json").write_text('{"edits": []}')
    (tmp_path / "e.safetensors").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(CheckpointError, match=r"e\.safetensors: not a safetensors file"):
        edits.load(tmp_path / "e.json")
    save_file({"other": torch.ones(2)}, tmp_path / "e.safetensors")
    assert edits.load(tmp_path / "e.json") == []


def test_an_address_of_a_file_is_looked_up_when_it_is_applied(model, tmp_path):
    (tmp_path / "e.json").write_text(json.dumps({"edits": [{**GOOD, "address": "blocks.7.output"}]}))
    with pytest.raises(UnknownNameError, match=r"no value named 'blocks\.7\.output'"), model.trace() as trace:
        trace.apply(edits.load(tmp_path / "e.json"))


# Numbers that do not fit


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            lambda t: t.add(OUTPUT, torch.ones(31)),
            r"add: the value does not fit the value · got \(31,\) · expected a shape .* \(3, 8, 32\)",
        ),
        (lambda t: t.patch(OUTPUT, torch.ones(2, 8, 32)), r"set: the value does not fit the value · got \(2, 8, 32\)"),
        (
            lambda t: t.scale(OUTPUT, torch.ones(1, 3, 8, 32)),
            r"scale: the factor does not fit the value · got \(1, 3, 8, 32\)",
        ),
        (
            lambda t: t.project(HEADS, DIRECTION),
            r"project: the direction does not fit .* got \(32,\) · expected .*\(3, 4, 8, 8\)",
        ),
        (lambda t: t.scale(OUTPUT, "two"), "a number of an edit · got 'two' · expected a number or a tensor"),
        (
            lambda t: t.cut(OUTPUT),
            r"cut is for patterns · got blocks\.0\.output · expected an address that ends in \.pattern",
        ),
        (lambda t: t.swap(OUTPUT, "", 0, 1), "swap says along which axis · got ''"),
        (lambda t: t.swap(OUTPUT, "head", 0, 1), "the value has no such axis · got 'head'"),
        (lambda t: t.apply([EditSpec.of("scale", OUTPUT, {}, {})]), "scale: its numbers · got none · expected factor"),
        (lambda t: t.apply([EditSpec.of("ablate", OUTPUT, {}, {})]), "no such edit · got 'ablate'"),
    ],
)
def test_what_does_not_fit_is_one_error(model, use, message):
    with pytest.raises(EditError, match=message), model.trace() as trace:
        use(trace)
        model(TOKENS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", SAVED)
def test_edits_keep_the_type_of_their_value(name, dtype):
    model = lively(gpt_like()).to(dtype)
    with model.trace() as trace:
        SAVED[name](trace)
        logits = model(TOKENS)
    assert logits.dtype is dtype and logits.isfinite().all()
