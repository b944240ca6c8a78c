"""How tokens and experts meet: routers of a mixture of experts.

    TopKRouterConfig           each token chooses its experts          (Shazeer et al. 2017; Fedus et al. 2022)
    SparseMixerRouterConfig    two experts, one after the other        (Liu et al. 2024, PhiMoE)
    ExpertChoiceRouterConfig   each expert chooses its tokens          (Zhou et al. 2022)

A router makes ``scores`` of its logits, a ``preference`` by which experts are taken, and a ``Choice``. A preference of
-inf is never taken, one of +inf always, and neither changes the scores from which weights come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError

TINY = 1e-20


@dataclass(frozen=True)
class Choice:
    """experts: int64, batch position slot, ``n_experts`` in an empty slot · weights: float, the same axes."""

    experts: Tensor
    weights: Tensor

    def dense(self, n_experts: int) -> Tensor:
        """The weight of every expert, zeros where it is not chosen: batch position expert."""
        zeros = self.weights.new_zeros(*self.weights.shape[:-1], n_experts + 1)
        return zeros.scatter_add(-1, self.experts, self.weights)[..., :n_experts]

    @classmethod
    def of(cls, dense: Tensor) -> Choice:
        """The experts whose weight (batch position expert) is not zero."""
        n_experts = dense.shape[-1]
        experts = torch.arange(n_experts, device=dense.device).expand_as(dense)
        return cls(torch.where(dense != 0, experts, n_experts), dense)

    def where(self, kept: Tensor, n_experts: int) -> Choice:
        """Only the slots that are kept: bool, batch|1 position slot|1."""
        return Choice(torch.where(kept, self.experts, n_experts), torch.where(kept, self.weights, 0.0))


class RouterConfig(Config, base=True):
    """What every router has.

    bias: of the logits · jitter: in training the router reads its input times 1 ± jitter (Fedus et al. 2022).
    """

    n_experts: int
    bias: bool = False
    jitter: float = 0.0

    def check(self) -> None:
        self.require(0 < self.n_experts <= 1 << 16, "n_experts", "1 … 65536")
        self.require(0 <= self.jitter < 1, "jitter", "0 to below 1")

    @property
    def active(self) -> float:
        """How many experts a token passes, on average over a long row."""
        raise AssertionError(f"{type(self).__name__} lacks active")

    @property
    def longest(self) -> int | None:
        """The longest row whose choices hang on no later or earlier token, None = any."""
        return None

    @property
    def selects_by_bias(self) -> bool:
        """Whether a bias that gradients do not reach takes part in the choice."""
        return False

    def scores(self, logits: Tensor) -> Tensor:
        """What weights are made of: batch position expert."""
        return logits.softmax(-1)

    def shares(self, logits: Tensor) -> Tensor:
        """Scores of a token that sum to 1, for the balance of the load: batch position expert."""
        return logits.softmax(-1)

    def preference(self, scores: Tensor, bias: Tensor | None) -> Tensor:
        """What experts are chosen by: batch position expert."""
        return scores

    def choose(self, scores: Tensor, preference: Tensor, valid: Tensor | None, training: bool) -> Choice:
        """The experts of each token; ``valid``: bool, batch position, False = padding."""
        raise AssertionError(f"{type(self).__name__} lacks choose")

    def limit(self, choice: Choice, valid: Tensor | None) -> Choice:
        """What is left of a choice: padding goes to no expert."""
        return choice if valid is None else choice.where(valid[..., None], self.n_experts)


class ExpertGroupsConfig(Config):
    """Experts stand in ``n_groups`` equal groups, and a token may choose from its ``kept`` best  (DeepSeek-V2).

    score: of a group, that of its best expert or the sum of its best two (DeepSeek-V3).
    """

    n_groups: int
    kept: int
    score: Literal["best", "best_two"] = "best"

    def check(self) -> None:
        self.require(self.n_groups > 0, "n_groups", "at least 1")
        self.require(0 < self.kept <= self.n_groups, "kept", f"1 … n_groups = {self.n_groups}")

    def mask(self, preference: Tensor) -> Tensor:
        """The preference, -inf in the groups that are not kept: batch position expert."""
        grouped = preference.unflatten(-1, (self.n_groups, -1))
        score = grouped.amax(-1) if self.score == "best" else grouped.topk(2, -1).values.sum(-1)
        kept = score.topk(self.kept, -1).indices
        out = torch.ones_like(score, dtype=torch.bool).scatter(-1, kept, False)
        return grouped.masked_fill(out[..., None], -torch.inf).flatten(-2)


class TopKRouterConfig(RouterConfig):
    """Each token goes to the ``top_k`` experts that it prefers.

    score: softmax over all experts, or a sigmoid of each · renormalise: the weights of a token sum to 1, which of a
    softmax is the softmax over the chosen ones · scale: of the weights · selection_bias: added to scores for the choice
    alone, moved by training so that the load is even (Wang et al. 2024) · groups: as ``ExpertGroupsConfig`` says ·
    capacity: tokens that an expert takes of each row, first come first served; the others pass it by (Switch).
    """

    top_k: int
    score: Literal["softmax", "sigmoid"] = "softmax"
    renormalise: bool = False
    scale: float = 1.0
    selection_bias: bool = False
    groups: ExpertGroupsConfig | None = None
    capacity: int | None = None

    def check(self) -> None:
        super().check()
        self.require(0 < self.top_k <= self.n_experts, "top_k", f"1 … n_experts = {self.n_experts}")
        self.require(self.capacity is None or self.capacity > 0, "capacity", "at least 1")
        if self.groups is not None:
            size, rest = divmod(self.n_experts, self.groups.n_groups)
            self.require(rest == 0, "groups", f"a number that divides n_experts = {self.n_experts}")
            least = 2 if self.groups.score == "best_two" else 1
            self.require(size >= least, "groups", f"at least {least} experts in each")
            if self.top_k > size * self.groups.kept:
                got, expected = f"{self.groups.kept} groups of {size} experts", f"top_k = {self.top_k} or more"
                raise ConfigError("cannot be built", at="TopKRouterConfig.groups", got=got, expected=expected)

    @property
    def active(self) -> float:
        return self.top_k

    @property
    def longest(self) -> int | None:
        return self.capacity

    @property
    def selects_by_bias(self) -> bool:
        return self.selection_bias

    def scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1) if self.score == "softmax" else logits.sigmoid()

    def shares(self, logits: Tensor) -> Tensor:
        scores = self.scores(logits)
        return scores if self.score == "softmax" else scores / scores.sum(-1, keepdim=True).clamp(min=TINY)

    def preference(self, scores: Tensor, bias: Tensor | None) -> Tensor:
        preference = scores if bias is None else scores + bias
        return preference if self.groups is None else self.groups.mask(preference)

    def choose(self, scores: Tensor, preference: Tensor, valid: Tensor | None, training: bool) -> Choice:
        best, experts = preference.topk(self.top_k, -1)
        choice = Choice(experts, scores.gather(-1, experts)).where(best > -torch.inf, self.n_experts)
        weights = choice.weights
        if self.renormalise:
            weights = weights / weights.sum(-1, keepdim=True).clamp(min=TINY)
        return Choice(choice.experts, weights if self.scale == 1.0 else weights * self.scale)

    def limit(self, choice: Choice, valid: Tensor | None) -> Choice:
        choice = super().limit(choice, valid)
        if self.capacity is None:
            return choice
        taken = F.one_hot(choice.experts, self.n_experts + 1).sum(-2).cumsum(-2)
        return choice.where(taken.gather(-1, choice.experts) <= self.capacity, self.n_experts)


class SparseMixerRouterConfig(RouterConfig):
    """The best expert and then the best of the rest, each weighted by a softmax over those that come near it.

    tolerance: near is a logit less than 2 · tolerance below the best, as a share of the larger of the two. In training
    an expert is drawn instead, and gradients are those of Heun's third-order method  (Liu et al. 2023).
    """

    tolerance: float = 0.01

    def check(self) -> None:
        super().check()
        self.require(self.n_experts >= 2, "n_experts", "at least 2")
        self.require(self.tolerance >= 0, "tolerance", "0 or more")

    @property
    def active(self) -> float:
        return 2

    def scores(self, logits: Tensor) -> Tensor:
        return logits

    def choose(self, scores: Tensor, preference: Tensor, valid: Tensor | None, training: bool) -> Choice:
        first, weight = self._one(scores, scores, preference, training)
        rest, others = (values.scatter(-1, first, -torch.inf) for values in (scores, preference))
        second, other = self._one(rest, scores, others, training)
        choice = Choice(torch.cat((first, second), -1), torch.cat((weight, other), -1))
        return choice.where(torch.isfinite(choice.weights), self.n_experts)

    def _one(self, rest: Tensor, scores: Tensor, preference: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """The expert of each token among the rest and its weight: batch position 1, both."""
        best = rest.amax(-1, keepdim=True)
        far = (best - rest) / torch.maximum(scores.abs(), best) > 2 * self.tolerance
        near = preference.masked_fill(far & (preference < torch.inf), -torch.inf)
        drawn = near - torch.empty_like(near).exponential_().log() if training else near
        expert = drawn.argmax(-1, keepdim=True)
        shares = rest.masked_fill(far.scatter(-1, expert, False), -torch.inf).softmax(-1)
        weight = shares.gather(-1, expert)
        if training:
            is_best = (expert == near.argmax(-1, keepdim=True)) | (torch.rand_like(weight) > 0.75)
            weight = weight + (weight * torch.where(is_best, 0.0, -2 / 3)).detach()  # the value alone becomes a third
        return expert, weight


class ExpertChoiceRouterConfig(RouterConfig):
    """Each expert takes the ``factor`` · tokens / n_experts tokens of a row (rounded up) that score it highest.

    A row must be whole: a token's experts hang on those behind it, so there is no cache and no packed row.
    """

    factor: float = 2.0

    def check(self) -> None:
        super().check()
        self.require(0 < self.factor <= self.n_experts, "factor", f"more than 0, at most n_experts = {self.n_experts}")

    @property
    def active(self) -> float:
        return self.factor

    @property
    def longest(self) -> int | None:
        return 0

    def choose(self, scores: Tensor, preference: Tensor, valid: Tensor | None, training: bool) -> Choice:
        batch, length, n_experts = scores.shape
        if valid is None:
            lengths = torch.full((batch, 1, 1), length, device=scores.device)
        else:
            preference = preference.masked_fill(~valid[..., None], -torch.inf)
            lengths = valid.sum(-1)[:, None, None]
        rank = preference.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        kept = (rank < torch.ceil(lengths * self.factor / n_experts)) & (preference > -torch.inf)
        experts = torch.arange(n_experts, device=scores.device).expand_as(scores)
        return Choice(experts, scores).where(kept, n_experts)
