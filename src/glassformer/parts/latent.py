"""Multi-head latent attention: keys and values of all heads are made of one short vector a token  (DeepSeek-V2 2024).

    latent = norm(kv_a(x)[:rank])          key = (kv_b(latent), turned(kv_a(x)[rank:]))        value = kv_b(latent)

A cache keeps the latent and the turned part of the key, which all heads share; a step of one token attends to those
themselves, with kv_b taken into the query and out of the mix.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import torch
from torch import Tensor, nn

from glassformer.parts.attention import KEY, KEYS, QUERIES, QUERY, Attending, AttentionConfig, View
from glassformer.parts.cache import KeyValue, Store
from glassformer.parts.dropout import Dropout
from glassformer.parts.mask import Places
from glassformer.parts.norm import NormConfig, RMSNormConfig
from glassformer.parts.positions import ScorePositionsConfig


class LatentConfig(AttentionConfig):
    """Attention over latents; positions, a window, a scale and a soft cap are those of any attention.

    kv_rank: of the vector that keys and values are made of · q_rank: of one for queries, None = queries are made of the
    input · nope_dim, rope_dim: of a key and a query, without positions and with them · value_dim: of a value · norm: of
    the latents · bias: of the maps down to them and of the output · scale: None = (nope_dim + rope_dim)^-0.5.
    """

    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    q_rank: int | None = None
    norm: NormConfig = RMSNormConfig()
    bias: bool = False

    def check(self) -> None:
        super().check()
        for name in ("kv_rank", "nope_dim", "rope_dim", "value_dim", "q_rank"):
            size = getattr(self, name)
            self.require(size is None or 0 < size <= 1 << 20, name, "1 … 2^20")
        self.require(self.n_kv_heads in (None, self.n_heads), "n_kv_heads", "None: all heads share one latent")
        self.require(self.head_dim is None, "head_dim", "None: it is nope_dim + rope_dim")
        for name in ("qk_norm", "clip"):
            self.require(getattr(self, name) is None, name, "None: latents have a norm of their own")
        for name in ("sinks", "gate", "biases"):
            self.require(not getattr(self, name), name, "nothing of the kind")

    def width(self, d_model: int) -> int:
        return self.nope_dim + self.rope_dim

    @property
    def turned(self) -> int:
        return self.rope_dim

    def build(self, d_model: int) -> LatentAttention:
        return LatentAttention(self, d_model)


class LatentAttention(Attending):
    """Self-attention: batch position model → the same."""

    def __init__(self, config: LatentConfig, d_model: int) -> None:
        super().__init__()
        self.config: LatentConfig = config
        self.n_heads, self.key_dim, self.value_dim = config.n_heads, config.width(d_model), config.value_dim
        self.scale = self.key_dim**-0.5 if config.scale is None else config.scale
        self._build_queries(config, d_model)
        self.kv_a_proj = nn.Linear(d_model, config.kv_rank + config.rope_dim, bias=config.bias)
        self.kv_a_norm = config.norm.build(config.kv_rank)
        self.kv_b_proj = nn.Linear(config.kv_rank, self.n_heads * (config.nope_dim + config.value_dim), bias=False)
        self.o_proj = nn.Linear(self.n_heads * config.value_dim, d_model, bias=config.bias)
        positions = config.positions
        by_score = isinstance(positions, ScorePositionsConfig)
        self.positions = None if positions is None else positions.build(self.n_heads if by_score else config.rope_dim)
        self.sinks = None
        self.dropout = Dropout()

    def _build_queries(self, config: LatentConfig, d_model: int) -> None:
        across = self.n_heads * self.key_dim
        if config.q_rank is None:
            self.q_proj = nn.Linear(d_model, across, bias=False)
            return
        self.q_a_proj = nn.Linear(d_model, config.q_rank, bias=config.bias)
        self.q_a_norm = config.norm.build(config.q_rank)
        self.q_b_proj = nn.Linear(config.q_rank, across, bias=False)

    @property
    def kept(self) -> int:
        return self.config.kv_rank + self.config.rope_dim

    def forward(self, x: Tensor, view: View, store: Store | None = None) -> Tensor:
        query = self.tap("query", self._query(x, view), QUERY, view.places)
        stepping = store is not None and view.step is not None
        if store is not None and view.step is not None:
            latent, turned = store.extend(view.step, partial(self._latent, x, view))
        else:
            latent, turned = self._latent(x, view)
        if stepping and x.shape[1] == 1 and not self.edits("key", "value"):
            mixed = self._absorbed(query, latent, turned, view)
        else:
            mixed = self._mix(query, *self._expanded(latent, turned, view.places), view)
        heads = self.tap("heads", mixed, QUERY, view.places)
        return self.tap("output", self._join(heads, view), "batch position model")

    def _query(self, x: Tensor, view: View) -> Tensor:
        """batch head query head_dim, its last ``rope_dim`` dimensions turned."""
        if self.config.q_rank is None:
            projected = self.q_proj(x)
        else:
            projected = self.q_b_proj(self.q_a_norm(self.q_a_proj(x), QUERIES, view.places))
        plain, turned = self._parts(projected.unflatten(-1, (self.n_heads, -1)).transpose(1, 2))
        return torch.cat((plain, self._turned(turned, view)), -1)

    def _parts(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """What has no positions and what has some."""
        plain, turned = query.split((self.config.nope_dim, self.config.rope_dim), -1)
        return plain, turned

    def _turned(self, x: Tensor, view: View) -> Tensor:
        return x if view.rotation is None else view.rotation.turn(x)

    def _latent(self, x: Tensor, view: View) -> KeyValue:
        """What a store keeps: batch 1 key state, the latents and the turned parts of keys."""
        latent, turned = self.kv_a_proj(x).split((self.config.kv_rank, self.config.rope_dim), -1)
        latent = self.tap("latent", self.kv_a_norm(latent, KEYS, view.places), KEYS, view.places)
        return latent[:, None], self._turned(turned[:, None], view)

    def _expanded(self, latent: Tensor, turned: Tensor, places: Places) -> KeyValue:
        """Keys and values: batch kv_head key head_dim."""
        places = places if self.taps is None else _seen(places)
        both = self.kv_b_proj(latent[:, 0]).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        plain, value = both.split((self.config.nope_dim, self.config.value_dim), -1)
        key = torch.cat((plain, turned.expand(-1, self.n_heads, -1, -1)), -1)
        return self.tap("key", key, KEY, places), self.tap("value", value, KEY, places)

    def _absorbed(self, query: Tensor, latent: Tensor, turned: Tensor, view: View) -> Tensor:
        """The same, with each head's query as one over latents and its mix a mix of latents."""
        if self.wants("key", "value"):
            self._expanded(latent, turned, view.places)
        weight = self.kv_b_proj.weight.unflatten(0, (self.n_heads, -1))
        to_key, to_value = weight.split((self.config.nope_dim, self.config.value_dim), 1)
        plain, own = self._parts(query)
        wide = torch.cat((plain @ to_key, own), -1)
        return self._mix_shared(wide, torch.cat((latent, turned), -1), latent, view) @ to_value.mT

    def _mix_shared(self, query: Tensor, key: Tensor, value: Tensor, view: View) -> Tensor:
        """``_mix`` of one query with one key head: the heads are taken as queries of one head, and no key is copied."""
        if self.edits("scores", "pattern") or view.mask.bias_:
            return self._mix(query, key, value, view)
        if self.wants("scores", "pattern"):
            self._read_inner(query, key, view)
        across = query.transpose(1, 2)
        return view.attend(across, key, value, scale=self.scale, soft_cap=self.config.soft_cap).transpose(1, 2)


def _seen(places: Places) -> Places:
    """Places whose new keys are all that are stored: those behind a row's newest token are none of its own."""
    newest = places.query.amax(-1, keepdim=True)
    return dataclasses.replace(places, new_key=torch.where(places.key <= newest, places.key, -1))
