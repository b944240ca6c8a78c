"""Disentangled attention: what a token says and how far away it stands are two vectors  (He et al. 2021, DeBERTa).

    scores = (query keyᵀ + query distance_keyᵀ + distance_query keyᵀ) / sqrt(terms · head_dim)

The vectors of distances are a table that all layers of a stack read; each makes keys and queries of them, by the
projections of its tokens or by ones of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.part import Part
from glassformer.parts.attention import Attention, AttentionConfig, View
from glassformer.parts.cache import Step
from glassformer.parts.dropout import Dropout
from glassformer.parts.kernels import Attend, kernel_for
from glassformer.parts.mask import Mask, Places
from glassformer.parts.norm import NoNorm, NormConfig
from glassformer.parts.rows import Rows

#: content to position: the query and the distance · position to content: the distance and the key.
Term = Literal["content_to_position", "position_to_content"]


class DistanceVectorsConfig(Config):
    """A vector for each distance from -reach to reach - 1, farther ones counting as the last.

    buckets: None, or how many distances on a side are told apart, near ones exactly and far ones by their logarithm ·
    norm: of the vectors.
    """

    reach: int
    buckets: int | None = None
    norm: NormConfig | None = None

    def check(self) -> None:
        self.require(0 < self.reach <= 1 << 20, "reach", "1 … 2^20")
        fits = self.buckets is None or (self.buckets >= 2 and self.buckets // 2 < self.reach - 1)
        self.require(fits, "buckets", f"at least 2, and half of them less than reach - 1 = {self.reach - 1}")

    @property
    def side(self) -> int:
        """How many vectors there are for each side."""
        return self.buckets or self.reach

    def build(self, d_model: int) -> DistanceVectors:
        return DistanceVectors(self, d_model)


class DistanceVectors(Part):
    """``weight``: 2 · side, model; row ``side`` is distance 0, rows behind it are keys before the query."""

    def __init__(self, config: DistanceVectorsConfig, d_model: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(2 * config.side, d_model))
        self.norm = NoNorm() if config.norm is None else config.norm.build(d_model)
        self.dropout = Dropout()

    def forward(self, places: Places) -> tuple[Tensor, Tensor]:
        """The vectors, state model, and the row for each pair of tokens: int64, batch|1 query key."""
        distance = places.query[:, :, None] - places.key[:, None, :]
        side = self.config.side
        rows = (self.bucket(distance) + side).clamp(0, 2 * side - 1)
        return self.dropout(self.norm(self.weight, "state model")), rows

    def bucket(self, distance: Tensor) -> Tensor:
        """query - key → the distance, or its bucket."""
        if self.config.buckets is None:
            return distance
        exact = self.config.buckets // 2
        far = distance.abs().clamp(min=exact)
        last = torch.tensor((self.config.reach - 1) / exact, device=distance.device)
        steps = torch.ceil(torch.log(far / exact) / torch.log(last) * (exact - 1)).long() + exact
        return torch.where(distance.abs() <= exact, distance, steps * distance.sign())


class DisentangledConfig(AttentionConfig):
    """Attention that also looks at distances; its stack has ``DistanceVectorsConfig`` as positions.

    terms: which pairs of token and distance are scored · shared: distances are projected as tokens are. ``scale``:
    None = (head_dim · (1 + number of terms))^-0.5.
    """

    terms: tuple[Term, ...] = ("content_to_position", "position_to_content")
    shared: bool = True

    def check(self) -> None:
        super().check()
        self.require(self.positions is None, "positions", "None: distances are the positions")
        self.require(self.n_kv_heads in (None, self.n_heads), "n_kv_heads", "None: each head has its own keys")
        self.require(0 < len(self.terms) == len(set(self.terms)), "terms", "one or two different ones")

    def build(self, d_model: int) -> DisentangledAttention:
        return DisentangledAttention(self, d_model)


@dataclass(frozen=True, kw_only=True)
class DistanceView(View):
    """vectors: state model · rows: of them, for each pair of tokens, int64, batch|1 query key · prepare: lowers a mask
    together with what distances add to the scores, which each layer computes for itself."""

    vectors: Tensor
    rows: Tensor
    prepare: Callable[[Mask, Places], Attend]


class DisentangledAttention(Attention):
    """Self-attention: batch position model → the same. What distances add to the scores is a bias of the mask."""

    def __init__(self, config: DisentangledConfig, d_model: int) -> None:
        super().__init__(config, d_model)
        self.terms = config.terms
        if config.scale is None:
            self.scale = (self.head_dim * (1 + len(config.terms))) ** -0.5
        across = self.n_heads * self.head_dim
        own = () if config.shared else config.terms
        self.distance_k_proj = nn.Linear(d_model, across) if "content_to_position" in own else None
        self.distance_q_proj = nn.Linear(d_model, across) if "position_to_content" in own else None

    @property
    def distance_projections(self) -> tuple[nn.Linear, ...]:
        """The projections that distances have for themselves."""
        return tuple(proj for proj in (self.distance_k_proj, self.distance_q_proj) if proj is not None)

    def view(
        self, places: Places, mask: Mask, rows: Rows, *, shared: Part | None = None, memory: Tensor | None = None,
        step: Step | None = None,
    ) -> View:  # fmt: skip
        assert isinstance(shared, DistanceVectors)
        vectors, pairs = shared(places)
        plain = super().view(places, mask, rows, memory=memory, step=step)
        kernel = kernel_for(plain.mask & Mask.bias(vectors.new_zeros(1, 1, 1, 1)), places, self.needs)
        return DistanceView(**vars(plain), vectors=vectors, rows=pairs, prepare=kernel.prepare)

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, view: View) -> Tensor:
        assert isinstance(view, DistanceView)
        mask = view.mask & Mask.bias(self._of_distances(query, key, view))
        attend = view.prepare(mask, view.places)
        return super()._mix(query, key, value, dataclasses.replace(view, mask=mask, attend=attend))

    def _of_distances(self, query: Tensor, key: Tensor, view: DistanceView) -> Tensor:
        """What distances add to the scores: batch head query key."""
        rows = view.rows[:, None].expand(query.shape[0], self.n_heads, -1, -1)
        added = query.new_zeros(())
        if "content_to_position" in self.terms:
            distance_key = self._projected(view.vectors, self.distance_k_proj or self.k_proj)
            added = added + (query @ distance_key.mT).gather(-1, rows)
        if "position_to_content" in self.terms:
            distance_query = self._projected(view.vectors, self.distance_q_proj or self.q_proj)
            added = added + (key @ distance_query.mT).gather(-1, rows.mT).mT
        return added * self.scale

    def _projected(self, vectors: Tensor, proj: nn.Linear) -> Tensor:
        """state model → head state head_dim."""
        out: Tensor = proj(vectors)
        return out.unflatten(-1, (self.n_heads, -1)).transpose(0, 1)
