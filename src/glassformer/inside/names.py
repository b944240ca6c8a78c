"""The names of all values of a model, listed without weights, and the check that their axes are what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from glassformer.core import axes as axis_words
from glassformer.core.errors import UnknownNameError, near
from glassformer.core.part import Part
from glassformer.models.transformer import Transformer, TransformerConfig

#: Words whose size is a choice of each part: layers may have other head counts and widths than their neighbours.
OF_ONE_PART = frozenset({"state", "head", "kv_head", "head_dim", "hidden", "expert"})
#: Values of an attention whose head_dim may be another than that of queries and keys (latent attention).
MIXED = frozenset({"value", "heads", "gate"})


@lru_cache(maxsize=64)
def _listed(config: TransformerConfig) -> tuple[tuple[str, str], ...]:
    model = config.build(seed=None, device="meta")
    last = model.embedding if model.decoder_embedding is None else model.decoder_embedding
    inputs = [embedding.sample("meta") for embedding in (model.embedding, last)]
    with probing(model) as found:
        model(inputs[0]) if config.encoder is None or config.decoder is None else model(*inputs)
    return tuple((address, axes) for address, (axes, _) in found.items())


def value_names(config: TransformerConfig) -> dict[str, str]:
    """address → axes of every value, in the order in which they are computed; no weights are needed."""
    return dict(_listed(config))


def shapes(model: Transformer, *inputs: Tensor, **rows: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """address → axes and shape of every value of one forward, checked: see ``probing``."""
    with probing(model) as found, torch.no_grad():
        model(*inputs, **rows)
    return found


@contextmanager
def probing(model: Transformer) -> Iterator[dict[str, tuple[str, tuple[int, ...]]]]:
    """Record every value of the forwards inside; each axis word has one size wherever it must.

    Sequence words belong to a stack (``key`` of cross-attention to the encoder), those of ``OF_ONE_PART`` to a part.
    """
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    sizes: dict[tuple[str, str], int] = {}
    parts = [(path, part) for path, part in model.named_modules(remove_duplicate=False) if isinstance(part, Part)]
    try:
        for path, part in parts:
            part.taps = _Probe(path, found, sizes)
        yield found
    finally:
        for _, part in parts:
            part.__dict__.pop("taps", None)


class _Probe(dict):
    """A tap table that has every name."""

    def __init__(
        self, path: str, found: dict[str, tuple[str, tuple[int, ...]]], sizes: dict[tuple[str, str], int]
    ) -> None:
        super().__init__()
        self.path, self.found, self.sizes = path, found, sizes

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> _Recorder:
        return _Recorder(self, name)

    def get(self, name: str, default: Any = None) -> _Recorder:
        return _Recorder(self, name)


class _Recorder:
    changes = False

    def __init__(self, probe: _Probe, name: str) -> None:
        self.probe, self.name = probe, name

    def each(self) -> Iterator[_Recorder]:
        yield self

    def rows(self, places: Any) -> None:
        return None

    def heads(self, n_heads: int) -> None:
        return None

    def __call__(self, value: Tensor, axes: str, places: Any = None) -> Tensor:
        address = f"{self.probe.path}.{self.name}".lstrip(".")
        words = axis_words.split(axes)
        assert len(words) == value.ndim, f"{address}: {axes!r} names {len(words)} axes of {tuple(value.shape)}"
        for word, size in zip(words, value.shape, strict=True):
            held = self.probe.sizes.setdefault((self._scope(word), word), size)
            assert held == size, f"{address}: axis {word} is {size}, elsewhere {held}"
        self.probe.found[address] = (axes, tuple(value.shape))
        return value

    def _scope(self, word: str) -> str:
        if word == "head_dim" and self.name in MIXED:
            return f"{self.probe.path}.value"
        if word in OF_ONE_PART:
            return self.probe.path
        if word in axis_words.SEQUENCE:
            return (
                "encoder"
                if "cross_attention" in self.probe.path and word == "key"
                else self.probe.path.partition(".")[0]
            )
        return ""


def _matches(pattern: str, address: str) -> bool:
    """A glob in which ``*`` stands for one step of an address and ``**`` for any number."""
    pieces = re.split(r"(\*\*|\*|\?)", pattern)
    wild = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return re.fullmatch("".join(wild.get(piece) or re.escape(piece) for piece in pieces), address) is not None


def resolve(pattern: str, config: TransformerConfig) -> list[str]:
    """The addresses that an address or a glob means; with one stack, its name in front may be left out.

    Raises:
        UnknownNameError: none; the message has near names.
    """
    known = value_names(config)
    stacks = [name for name in ("encoder", "decoder") if getattr(config, name) is not None]
    forms = [pattern, f"{stacks[0]}.{pattern}"] if len(stacks) == 1 else [pattern]
    for form in forms:
        if form in known:
            return [form]
        matches = [address for address in known if _matches(form, address)]
        if matches:
            return matches
    do = "list them with model.value_names()"
    raise UnknownNameError(f"no value named {pattern!r}", expected=f"for instance {near(forms[-1], known)}", do=do)
