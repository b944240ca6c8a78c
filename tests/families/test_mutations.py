"""Change every key of every config.json in turn: our output follows, or we refuse, or the key changes nothing there.

Parity on one config shows only that its own values are understood. Here transformers is built again from each changed
config with the same weights; where that works and its output moves, ours must move with it or say no.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from glassformer.checkpoints.folder import load
from glassformer.core.errors import GlassformerError
from tests.families.forms import FAMILIES, FORMS, Form
from tests.families.helpers import Pair, build, main_output, run_ours, run_theirs, tokens_like

#: Keys that name the class or count its labels, which other tests change; and the one that contradicts a stored head,
#: which wins (test_judgements.py).
SKIPPED = {"architectures", "model_type", "transformers_version", "_name_or_path", "id2label", "label2id"}
SKIPPED |= {"tie_word_embeddings"}
#: What transformers does not read and we do, as its authors' own code does (test_judgements_decoders.py).
JUDGED = {("mpt", "attn_config.alibi_bias_max")}
#: Words that a text may become; any other text becomes nonsense.
ACTIVATIONS = ("relu", "gelu_new")
WORDS = {
    "hidden_act": ACTIVATIONS, "hidden_activation": ACTIVATIONS, "activation": ACTIVATIONS,
    "activation_function": ACTIVATIONS, "dense_act_fn": ACTIVATIONS, "classifier_activation": ACTIVATIONS,
    "pooler_hidden_act": ACTIVATIONS, "feed_forward_proj": ("relu", "gated-gelu", "gated-silu"),
    "rope_type": ("linear",), "classifier_pooling": ("cls", "mean"), "topk_method": ("greedy", "group_limited_greedy"),
    "position_embedding_type": ("relative_key",), "norm_rel_ebd": ("none", "layer_norm"),
}  # fmt: skip
LENGTH = 20


def one_of_each() -> list[Form]:
    """The first form of each family that has a token head or none."""
    first: dict[str, Form] = {}
    for form in FORMS:
        first.setdefault(form.family, form)
    return list(first.values())


def values(key: str, value: Any) -> list[Any]:
    """What a scalar may become."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [one for one in (value + 1, value * 2, value // 2) if one != value]
    if isinstance(value, float):
        return [value * 3 + 0.01, value / 2 + 0.003]
    if isinstance(value, str):
        return [word for word in WORDS.get(key, ("nonsense",)) if word != value]
    return [1, 0.3, True] if value is None else []


def mutants(table: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and the whole table with that one key changed, inside of nested tables and lists, too."""
    for key, value in table.items():
        if not path and key in SKIPPED:
            continue
        if isinstance(value, dict):
            yield from ((where, {**table, key: inner}) for where, inner in mutants(value, f"{path}{key}."))
        elif isinstance(value, list) and value and isinstance(value[0], str):
            others = [word for word in dict.fromkeys(value) if word != value[0]] or ["nonsense"]
            yield f"{path}{key}", {**table, key: [others[0], *value[1:]]}
        else:
            yield from ((f"{path}{key}", {**table, key: new}) for new in values(key, value))


@dataclass
class Bench:
    """A model of transformers, its weights in a folder, and its answer."""

    form: Form
    theirs: nn.Module
    folder: Path

    def __post_init__(self) -> None:
        self.theirs.save_pretrained(self.folder)
        self.config = json.loads((self.folder / "config.json").read_text("utf-8"))
        self.plain = self.answer(self.theirs)

    @torch.no_grad()
    def answer(self, theirs: nn.Module) -> Tensor:
        tokens, target = self.tokens()
        return main_output(run_theirs(Pair(self.form, theirs, self.like, self.folder), tokens, target))

    @property
    def like(self) -> Any:
        """Something that knows whether there are two stacks."""
        is_pair = FAMILIES[self.form.family].kind == "pair"
        return type("Like", (), {"encoder": is_pair or None, "decoder": is_pair or None})

    @staticmethod
    def tokens() -> tuple[Tensor, Tensor]:
        return tokens_like(3, LENGTH).clamp(min=5), tokens_like(3, 7, seed=1).clamp(min=5)

    def changed(self, config: dict[str, Any]) -> nn.Module | None:
        """Theirs from another config with the same weights; None where that cannot be built or has other shapes."""
        try:
            made = type(self.theirs)(type(self.theirs.config).from_dict(copy.deepcopy(config)))
            made.load_state_dict(self.theirs.state_dict(), strict=True)
            return made.eval()
        except Exception:  # whatever a config can break there
            return None

    def outcome(self, key: str, config: dict[str, Any]) -> str:
        """What becomes of one change."""
        made = self.changed(config)
        try:
            their = None if made is None else self.answer(made)
        except Exception:
            their = None
        (self.folder / "config.json").write_text(json.dumps(config), "utf-8")
        try:
            ours = self.answer_of_ours()
        except GlassformerError as error:
            if their is None or not torch.isfinite(their).all():
                return "impossible there, refused here"
            if same(their, self.plain, exactly=True):
                return "harmless there, refused here"
            return "refused" if key.split(".")[0] in str(error) else "refused without a name"
        if their is None or not torch.isfinite(their).all():
            return "impossible there, another meaning here"
        if not same(ours, their):
            return "MISSED"
        return "harmless" if same(their, self.plain, exactly=True) else "followed"

    @torch.no_grad()
    def answer_of_ours(self) -> Tensor:
        tokens, target = self.tokens()
        ours = load(self.folder)
        return run_ours(Pair(self.form, self.theirs, ours, self.folder), tokens, target)


def same(one: Tensor, other: Tensor, exactly: bool = False) -> bool:
    if one.shape != other.shape:
        return False
    return torch.equal(one, other) if exactly else bool((one - other).abs().max() <= 1e-5 * other.abs().max())


@pytest.mark.parametrize("form", one_of_each(), ids=lambda form: form.family)
def test_no_key_is_missed_in_silence(form: Form, tmp_path: Path, record_property):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bench = Bench(form, build(form), tmp_path)
        found = [(key, config, bench.outcome(key, config)) for key, config in mutants(bench.config)]
    found = [
        (key, config, "judged" if outcome == "MISSED" and (form.family, key) in JUDGED else outcome)
        for key, config, outcome in found
    ]
    record_property("mutations", dict(Counter(outcome for _, _, outcome in found)))
    record_property("refused", sorted({key for key, _, outcome in found if outcome == "refused"}))
    silent = [f"{key}={leaf(config, key)!r}" for key, config, outcome in found if outcome.isupper()]
    nameless = [f"{key}={leaf(config, key)!r}" for key, config, outcome in found if outcome.endswith("without a name")]
    assert not silent and not nameless, f"missed: {silent}; refused without the key's name: {nameless}"
    assert len(found) > 20


def leaf(config: Any, key: str) -> Any:
    for step in key.split("."):
        config = config[step]
    return config


def test_a_reader_that_forgets_a_key_is_found(monkeypatch, tmp_path):
    """The test would see it: a Llama that takes every eps for the usual one."""
    from glassformer.checkpoints.keys import Keys

    form = next(form for form in FORMS if form.family == "llama")
    plain = Keys.take
    monkeypatch.setattr(
        Keys, "take",
        lambda self, name, kind, default=None: (plain(self, name, kind, default), 1e-6)[name == "rms_norm_eps"],
    )  # fmt: skip
    bench = Bench(form, build(form), tmp_path)
    assert bench.outcome("rms_norm_eps", {**bench.config, "rms_norm_eps": 0.5}) == "MISSED"
    assert bench.outcome("rms_norm_eps", bench.config) == "harmless"
