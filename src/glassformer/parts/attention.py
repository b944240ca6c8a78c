"""Attention = projections × positions × mask × kernel × cache.

    heads  = softmax(query keyᵀ / sqrt(head_dim) + mask) value
    output = o_proj(heads)                                        (Vaswani et al. 2017, section 3.2)

Grouped and multi-query attention share each key head between several query heads (Ainslie et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.part import Part, Read
from glassformer.parts.cache import KeyValue, Step, Store
from glassformer.parts.dropout import Dropout
from glassformer.parts.kernels import Attend, Needs, choose
from glassformer.parts.kernels.explicit import mix, pattern_of, scores_of
from glassformer.parts.mask import Mask, Places
from glassformer.parts.norm import NormConfig
from glassformer.parts.positions import ScorePositionsConfig
from glassformer.parts.rotary import Rotary, Rotation, RotationConfig
from glassformer.parts.rows import Rows

QUERY, KEY, SCORES = "batch head query head_dim", "batch kv_head key head_dim", "batch head query key"
QUERIES, KEYS = "batch query state", "batch key state"  # before they are split into heads


class AttentionConfig(Config):
    """Multi-head attention; what is not said is the plain form.

    n_kv_heads: None = n_heads, 1 = multi-query · head_dim: None = d_model / n_heads · window: keys less than so many
    positions away · scale: of the scores, None = head_dim^-0.5 · soft_cap: scores become cap · tanh(scores / cap) ·
    qk_norm: norm of queries and keys, over each head (with weights that heads share, or "own" ones for each) or over
    the whole projection · biases: of which projections · clip: projections (normed, where the norm is over them) are
    clamped to ±clip (OLMo, MPT) · sinks: a
    learned score a head that takes its share of each row (gpt-oss) · gate: heads are multiplied with
    sigmoid(gate_proj(x)) (Qwen3-Next).
    """

    n_heads: int
    n_kv_heads: int | None = None
    head_dim: int | None = None
    positions: RotationConfig | ScorePositionsConfig | None = None
    window: int | None = None
    scale: float | None = None
    soft_cap: float | None = None
    qk_norm: NormConfig | None = None
    qk_norm_over: Literal["head", "own", "projection"] = "head"
    biases: tuple[Literal["query", "key", "value", "output"], ...] = ()
    clip: float | None = None
    sinks: bool = False
    gate: bool = False

    def check(self) -> None:
        self.require(0 < self.n_heads <= 1 << 16, "n_heads", "1 … 65536")
        kv = self.n_heads if self.n_kv_heads is None else self.n_kv_heads
        self.require(kv > 0 and self.n_heads % kv == 0, "n_kv_heads", f"a divisor of n_heads = {self.n_heads}")
        self.require(self.head_dim is None or 0 < self.head_dim <= 1 << 16, "head_dim", "1 … 65536")
        self.require(self.window is None or self.window > 0, "window", "at least 1")
        self.require(self.soft_cap is None or self.soft_cap > 0, "soft_cap", "more than 0")
        self.require(self.clip is None or self.clip > 0, "clip", "more than 0")

    def width(self, d_model: int) -> int:
        """head_dim, said or d_model / n_heads."""
        if self.head_dim is None:
            self.require(d_model % self.n_heads == 0, "n_heads", f"a divisor of d_model = {d_model}, or a head_dim")
        return self.head_dim or d_model // self.n_heads

    @property
    def turned(self) -> int | None:
        """How many dimensions of a head the positions are given, None = all of head_dim."""
        return self.head_dim

    def build(self, d_model: int) -> Attending:
        return Attention(self, d_model)


@dataclass(frozen=True)
class View:
    """What the attentions of one kind share in one forward: computed once, used by all their layers.

    memory: batch key model, the keys' source in cross-attention · step: what a cache is to take in.
    """

    places: Places
    mask: Mask
    attend: Attend
    rotation: Rotation | None = None
    memory: Tensor | None = None
    step: Step | None = None


class Attending(Part):
    """What every attention does with its queries, keys and values; how it makes them is its own."""

    compiled = False  # whether its block is a compiled graph, which must be the same for every batch

    config: AttentionConfig
    n_heads: int
    scale: float
    positions: Part | None
    sinks: nn.Parameter | None
    o_proj: nn.Linear
    dropout: Dropout
    key_dim: int
    value_dim: int

    def view(
        self, places: Places, mask: Mask, rows: Rows, *, shared: Part | None = None, memory: Tensor | None = None,
        step: Step | None = None,
    ) -> View:  # fmt: skip
        """What this attention and all of its kind need in a forward; ``shared`` are a stack's own score positions."""
        own, rotation = self.positions, None
        if isinstance(own, Rotary):
            if rows.documents is not None:
                own.check_packed(rows.lengths)
            rotation = own.of(rows)
        for added in (shared, None if isinstance(own, Rotary) else own):
            if added is not None:
                mask = mask & Mask.bias(added(places.query, places.key).to(self.o_proj.weight.dtype))
        if self.config.window is not None:
            mask = mask & Mask.window(self.config.window)
        return View(places, mask, choose(mask, places, self.needs), rotation, memory, step)

    @property
    def needs(self) -> Needs:
        """What to ask of a kernel besides the mask."""
        return Needs(soft_cap=self.config.soft_cap is not None, compiled=self.compiled)

    @property
    def kept(self) -> int:
        """The numbers that a cache keeps for each token."""
        raise AssertionError(f"{type(self).__name__} lacks kept")

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, view: View) -> Tensor:
        """batch head query head_dim; on the fused path unless a trace edits what that path hides."""
        if self.edits("scores", "pattern"):
            return self._explicit(query, key, value, view)
        if self.wants("scores", "pattern"):
            self._read_inner(query, key, view)
        dropout = self.dropout.rate if self.training else 0.0
        return view.attend(
            query, key, value, scale=self.scale, soft_cap=self.config.soft_cap, sinks=self.sinks, dropout=dropout
        )

    def _scores(self, query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
        return scores_of(query, key, scale=self.scale, soft_cap=self.config.soft_cap, bias=bias)

    def _explicit(self, query: Tensor, key: Tensor, value: Tensor, view: View) -> Tensor:
        scores = self.tap("scores", self._scores(query, key, view.mask.added()), SCORES, view.places)
        pattern = pattern_of(scores, view.mask.allowed(view.places), self.sinks)
        pattern = self.tap("pattern", pattern, SCORES, view.places)
        return mix(self.dropout(pattern), value)

    def _read_inner(self, query: Tensor, key: Tensor, view: View) -> None:
        """Scores and patterns on the side, for the heads and queries that each read asks for."""
        for name, read in self._reads("scores", "pattern"):
            rows, heads = read.rows(view.places), read.heads(self.n_heads)
            some_query, some_key, bias = _chosen(query, key, view.mask, rows, heads)
            scores = self._scores(some_query, some_key, bias)
            if name == "scores":
                read(scores, SCORES, view.places)
                continue
            mask, places = (view.mask, view.places) if rows is None else _rows(view, rows)
            sinks = self.sinks if self.sinks is None or heads is None else self.sinks[heads.to(self.sinks.device)]
            read(pattern_of(scores, mask.allowed(places), sinks), SCORES, view.places)

    def _join(self, heads: Tensor, view: View) -> Tensor:
        """batch position model; head by head only if a trace asks for that."""
        if self.wants("head_outputs"):
            weight = self.o_proj.weight.unflatten(1, (self.n_heads, -1))
            each = torch.einsum("bhqd,mhd->bhqm", heads, weight)
            each = self.tap("head_outputs", each, "batch head query model", view.places)
            if self.edits("head_outputs"):
                joined = each.sum(1)
                return joined if self.o_proj.bias is None else joined + self.o_proj.bias
        out: Tensor = self.o_proj(heads.transpose(1, 2).flatten(2))
        return out

    def _reads(self, *names: str) -> Iterator[tuple[str, Read]]:
        """The reads of some values, one by one, each with its name."""
        for name in names:
            if self.taps is not None and name in self.taps:
                for read in self.taps[name].each():
                    yield name, read


class Attention(Attending):
    """Self- or cross-attention: batch position model → the same."""

    def __init__(self, config: AttentionConfig, d_model: int) -> None:
        super().__init__()
        self.config = config
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads or config.n_heads
        self.head_dim = self.key_dim = self.value_dim = config.width(d_model)
        self.scale = self.head_dim**-0.5 if config.scale is None else config.scale
        across, kv_across = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        self.q_proj = nn.Linear(d_model, across, bias="query" in config.biases)
        self.k_proj = nn.Linear(d_model, kv_across, bias="key" in config.biases)
        self.v_proj = nn.Linear(d_model, kv_across, bias="value" in config.biases)
        self.o_proj = nn.Linear(across, d_model, bias="output" in config.biases)
        self.positions = _positions(config, self.n_heads, self.head_dim)
        self.gate_proj = nn.Linear(d_model, across, bias=False) if config.gate else None
        self.sinks = nn.Parameter(torch.empty(self.n_heads)) if config.sinks else None
        self.q_norm = _norm(config, across, self.n_heads, self.head_dim)
        self.k_norm = _norm(config, kv_across, self.n_kv_heads, self.head_dim)
        self.norm_first = config.qk_norm_over == "projection"
        self.dropout = Dropout()

    def forward(self, x: Tensor, view: View, store: Store | None = None) -> Tensor:
        query = self._turned(self._normed(self.q_proj(x), self.q_norm, QUERIES, QUERY, view), view)
        query = self.tap("query", query, QUERY, view.places)
        key, value = self._key_value(x if view.memory is None else view.memory, view, store)
        mixed = self._mix(query, key, value, view)
        if self.gate_proj is not None:
            mixed = mixed * self.tap("gate", self._split(self.gate_proj(x)).sigmoid(), QUERY, view.places)
        heads = self.tap("heads", mixed, QUERY, view.places)
        return self.tap("output", self._join(heads, view), "batch position model")

    @property
    def kept(self) -> int:
        return 2 * self.n_kv_heads * self.head_dim

    def _split(self, projected: Tensor) -> Tensor:
        """batch position heads·head_dim → batch heads position head_dim."""
        return projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def _clipped(self, projected: Tensor) -> Tensor:
        clip = self.config.clip
        return projected if clip is None else projected.clamp(-clip, clip)

    def _normed(self, projected: Tensor, norm: nn.Module | None, whole: str, split: str, view: View) -> Tensor:
        """Split into heads, normed over the whole projection before or over each head after, if at all."""
        if norm is not None and self.norm_first:
            return self._split(self._clipped(norm(projected, whole, view.places)))
        heads = self._split(self._clipped(projected))
        if norm is not None:
            heads = norm(heads, split, view.places)
        return heads

    def _turned(self, heads: Tensor, view: View) -> Tensor:
        return heads if view.rotation is None else view.rotation.turn(heads)

    def _key_value(self, source: Tensor, view: View, store: Store | None) -> KeyValue:
        """Keys and values of the source, behind those that a store holds."""
        if store is None or view.step is None:
            return self._fresh(source, view)
        return store.extend(view.step, partial(self._fresh, source, view))

    def _fresh(self, source: Tensor, view: View) -> KeyValue:
        key = self._turned(self._normed(self.k_proj(source), self.k_norm, KEYS, KEY, view), view)
        key = self.tap("key", key, KEY, view.places)
        return key, self.tap("value", self._split(self._clipped(self.v_proj(source))), KEY, view.places)


def _positions(config: AttentionConfig, n_heads: int, head_dim: int) -> Part | None:
    if isinstance(config.positions, ScorePositionsConfig):
        return config.positions.build(n_heads)
    return None if config.positions is None else config.positions.build(head_dim)


def _norm(config: AttentionConfig, across: int, n_heads: int, head_dim: int) -> Part | None:
    """The norm of queries or keys, if there is one."""
    if config.qk_norm is None:
        return None
    if config.qk_norm_over == "projection":
        return config.qk_norm.build(across)
    return config.qk_norm.build(head_dim, n_heads) if config.qk_norm_over == "own" else config.qk_norm.build(head_dim)


def _chosen(
    query: Tensor, key: Tensor, mask: Mask, rows: Tensor | None, heads: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Queries, keys and bias of some rows (int64, batch row) and heads (int64, head)."""
    bias = (mask if rows is None else mask.rows(rows)).added()
    if rows is not None:
        index = rows[:, None, :, None].expand(query.shape[0], query.shape[1], -1, query.shape[3])
        query = query.gather(2, index)
    if heads is not None:
        heads, groups = heads.to(query.device), query.shape[1] // key.shape[1]
        query, key = query.index_select(1, heads), key.index_select(1, heads // groups)
        bias = bias if bias is None or bias.shape[1] == 1 else bias.index_select(1, heads)
    return query, key, bias


def _rows(view: View, rows: Tensor) -> tuple[Mask, Places]:
    """The mask and the places of some queries: int64, batch row."""
    batch = max(rows.shape[0], view.places.query.shape[0])
    query = view.places.query.expand(batch, -1).gather(1, rows.expand(batch, -1))
    return view.mask.rows(rows), view.places.rows(query)
