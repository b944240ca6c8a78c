"""A mixture of experts: each token passes the few feed-forwards that a router chooses  (Shazeer et al. 2017).

    output = Σ weight[e] · expert[e](x) over the chosen experts e  (+ shared(x))

Tokens are sorted by expert and each expert computes its own in one product, so none is dropped for lack of room and
nothing is padded; ``looped`` is the same, written out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.core.config import Config
from glassformer.core.errors import UnsupportedError
from glassformer.core.part import Part
from glassformer.parts.activations import ACTIVATIONS
from glassformer.parts.dropout import Dropout
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig, MixerConfig
from glassformer.parts.grouped import Runs
from glassformer.parts.mask import Places
from glassformer.parts.routing import Choice, RouterConfig

EXPERTS = "batch position expert"


class ClampedGatedConfig(Config):
    """The expert of gpt-oss: down((up(x) + 1) · g σ(alpha · g)), g = gate(x) ≤ limit, |up(x)| ≤ limit."""

    d_ff: int
    alpha: float = 1.702
    limit: float = 7.0
    bias: bool = True

    def check(self) -> None:
        self.require(0 < self.d_ff <= 1 << 22, "d_ff", "1 … 2^22")
        self.require(self.limit > 0, "limit", "more than 0")


class ExpertsConfig(MixerConfig):
    """Experts of one shape and their router.

    shared: a feed-forward that every token passes · shared_gate: what it gives is multiplied with sigmoid(gate(x))
    (Qwen2-MoE) · balance, z: how much an uneven load and large logits add to the loss in training (Fedus et al. 2022,
    Zoph et al. 2022).
    """

    router: RouterConfig
    expert: GatedConfig | FeedForwardConfig | ClampedGatedConfig
    shared: GatedConfig | FeedForwardConfig | None = None
    shared_gate: bool = False
    balance: float = 0.0
    z: float = 0.0

    def check(self) -> None:
        self.require(not self.shared_gate or self.shared is not None, "shared_gate", "False without a shared expert")
        self.require(self.balance >= 0, "balance", "0 or more")
        self.require(self.z >= 0, "z", "0 or more")

    @property
    def reads_places(self) -> bool:
        return True

    def build(self, d_model: int) -> Experts:
        return Experts(self, d_model)


@dataclass(frozen=True)
class Routing:
    """What a router did in one forward: logits, batch position expert · experts: int64, batch position slot ·
    valid: bool, batch|1 position, or None."""

    logits: Tensor
    experts: Tensor
    valid: Tensor | None


class Experts(Part):
    """batch position model → the same.

    gate_proj, up_proj: expert hidden model · down_proj: expert model hidden · their biases: expert hidden|model.
    """

    watched = False  # a training step sets it, and then reads ``routing``
    routing: Routing | None = None
    load: Tensor | None = None  # float, expert: tokens in the training step that is under way

    gate_proj: nn.Parameter | None
    gate_bias: nn.Parameter | None
    up_bias: nn.Parameter | None
    down_bias: nn.Parameter | None
    selection_bias: nn.Parameter | None

    def __init__(self, config: ExpertsConfig, d_model: int) -> None:
        super().__init__()
        self.config, self.router, expert = config, config.router, config.expert
        n_experts, d_ff = config.router.n_experts, expert.d_ff
        is_gated = not isinstance(expert, FeedForwardConfig)
        self.router_proj = nn.Linear(d_model, n_experts, bias=config.router.bias)
        self.up_proj = nn.Parameter(torch.empty(n_experts, d_ff, d_model))
        self.down_proj = nn.Parameter(torch.empty(n_experts, d_model, d_ff))
        self._add("gate_proj", is_gated, n_experts, d_ff, d_model)
        self._add("gate_bias", is_gated and expert.bias, n_experts, d_ff)
        self._add("up_bias", expert.bias, n_experts, d_ff)
        self._add("down_bias", expert.bias, n_experts, d_model)
        self._add("selection_bias", config.router.selects_by_bias, n_experts, trained=False)
        self.shared = None if config.shared is None else config.shared.build(d_model)
        self.shared_gate = nn.Linear(d_model, 1, bias=False) if config.shared_gate else None
        self.join = _join(expert)
        self.dropout = Dropout()

    def _add(self, name: str, there: bool, *shape: int, trained: bool = True) -> None:
        self.register_parameter(name, nn.Parameter(torch.empty(shape), requires_grad=trained) if there else None)

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        valid = None if places is None or places.offset is not None else places.query >= 0
        logits = self.tap("router", self._logits(x), EXPERTS)
        scores = self.router.scores(logits)
        preference = self.tap("preference", self.router.preference(scores, self.selection_bias), EXPERTS)
        choice = self.router.choose(scores, preference, valid, self.training)
        if self.watched:
            self.routing = Routing(logits, choice.experts, valid)
        mixed = self._mix(x, self._named(self.router.limit(choice, valid)))
        return self.tap("output", mixed if self.shared is None else mixed + self._shared(x), "batch position model")

    def _logits(self, x: Tensor) -> Tensor:
        """In float32, where small differences still tell experts apart."""
        if self.training and self.router.jitter:
            x = x * torch.empty_like(x).uniform_(1 - self.router.jitter, 1 + self.router.jitter)
        proj = self.router_proj
        return F.linear(x.float(), proj.weight.float(), None if proj.bias is None else proj.bias.float())

    def _named(self, choice: Choice) -> Choice:
        """The choice, or what edits of its weights make of it."""
        if not self.wants("chosen"):
            return choice
        dense = self.tap("chosen", choice.dense(self.router.n_experts), EXPERTS)
        return Choice.of(dense) if self.edits("chosen") else choice

    def _mix(self, x: Tensor, choice: Choice) -> Tensor:
        """The weighted outputs of the chosen experts; those of all experts only if a trace asks for them."""
        if self.wants("expert_hidden", "expert_outputs"):
            outputs = self._all_outputs(x)
            if self.edits("expert_hidden", "expert_outputs"):
                weights = choice.dense(self.router.n_experts).to(outputs.dtype)
                return torch.einsum("bpe,bpem->bpm", weights, outputs)
        return self.grouped(x, choice)

    def grouped(self, x: Tensor, choice: Choice) -> Tensor:
        """Tokens sorted by expert, one product for each: batch position model."""
        flat, slots, n_experts = x.flatten(0, 1), choice.experts.shape[-1], self.router.n_experts
        experts, order = choice.experts.flatten().sort(stable=True)
        runs = Runs.of(experts, n_experts)
        if runs.sizes is not None:
            order = order[: sum(runs.sizes)]
        rows = order // slots
        chosen = flat[rows]
        gate = None if self.gate_proj is None else runs.linear(chosen, self.gate_proj, self.gate_bias)
        hidden = self.dropout(self.join(gate, runs.linear(chosen, self.up_proj, self.up_bias)))
        out = runs.linear(hidden, self.down_proj, self.down_bias)
        out = (out * choice.weights.flatten()[order, None]).to(x.dtype)
        return torch.zeros_like(flat).index_add(0, rows, out).view_as(x)

    def looped(self, x: Tensor, choice: Choice) -> Tensor:
        """The same, expert by expert."""
        weights, out = choice.dense(self.router.n_experts), torch.zeros_like(x)
        for expert in range(self.router.n_experts):
            taken = (choice.experts == expert).any(-1)
            done = self._expert(x[taken], expert) * weights[taken][:, expert, None]
            out = out.index_put((taken,), done.to(x.dtype), accumulate=True)
        return out

    def _expert(self, x: Tensor, expert: int) -> Tensor:
        """What one expert gives: … model → … model."""
        gate = None if self.gate_proj is None else F.linear(x, self.gate_proj[expert], _row(self.gate_bias, expert))
        hidden = self.join(gate, F.linear(x, self.up_proj[expert], _row(self.up_bias, expert)))
        return F.linear(self.dropout(hidden), self.down_proj[expert], _row(self.down_bias, expert))

    def _all_outputs(self, x: Tensor) -> Tensor:
        """What every expert gives, chosen or not: batch position expert model."""
        gate = None if self.gate_proj is None else _each(x, self.gate_proj, self.gate_bias)
        hidden = self.join(gate, _each(x, self.up_proj, self.up_bias))
        hidden = self.tap("expert_hidden", hidden, "batch position expert hidden")
        outputs = torch.einsum("bpeh,emh->bpem", self.dropout(hidden), self.down_proj)
        outputs = outputs if self.down_bias is None else outputs + self.down_bias
        return self.tap("expert_outputs", outputs, "batch position expert model")

    def _shared(self, x: Tensor) -> Tensor:
        assert self.shared is not None
        out: Tensor = self.shared(x)
        if self.shared_gate is None:
            return out
        return out * self.tap("shared_gate", self.shared_gate(x).sigmoid()[..., 0], "batch position")[..., None]

    def check_whole(self, longest: int, what: str) -> None:
        """Refuse rows in which a choice would hang on other tokens than those of the row itself so far.

        Raises:
            UnsupportedError: ``longest`` tokens are more than an expert takes of a row.
        """
        limit = self.router.longest
        if limit is not None and longest > limit:
            got, expected = f"{longest} tokens", f"at most {limit}" if limit else None
            raise UnsupportedError(
                f"these experts are chosen for a whole row, not in {what}", got=got, expected=expected,
                do="pass whole rows, each by itself",
            )  # fmt: skip

    @property
    def active_entries(self) -> float:
        """The entries of the experts' matrices that a token passes."""
        weights = (self.gate_proj, self.up_proj, self.down_proj)
        return self.router.active * sum(weight[0].numel() for weight in weights if weight is not None)


def _join(expert: GatedConfig | FeedForwardConfig | ClampedGatedConfig) -> Callable[[Tensor | None, Tensor], Tensor]:
    """What becomes of gate (None without one) and up: … hidden."""
    if isinstance(expert, ClampedGatedConfig):
        alpha, limit = expert.alpha, expert.limit

        def clamped(gate: Tensor | None, up: Tensor) -> Tensor:
            assert gate is not None
            gate = gate.clamp(max=limit)
            return (up.clamp(-limit, limit) + 1) * gate * torch.sigmoid(alpha * gate)

        return clamped
    activation = ACTIVATIONS[expert.activation]
    return lambda gate, up: activation(up) if gate is None else activation(gate) * up


def _row(bias: Tensor | None, expert: int) -> Tensor | None:
    return None if bias is None else bias[expert]


def _each(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = torch.einsum("bpm,ehm->bpeh", x, weight)
    return out if bias is None else out + bias
