"""How well a model predicts held-out text: nats per token, and bits per byte, which no tokenizer can flatter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glassformer.data.batch import Batch
from glassformer.data.tokens import TextTokenizer, TokenStream
from glassformer.train.losses import cross_entropy_sum
from glassformer.train.objective import ObjectiveConfig

#: (first, begin, end): the tokens ``begin … end - 1`` are predicted from those from ``first`` on; -1 is the last end.
Window = tuple[int, int, int]


@dataclass(frozen=True)
class Measure:
    """A sum of losses in nats over some tokens, which stand for some bytes."""

    nats: float
    tokens: int
    bytes: float

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of the text, the end of each document counted as one byte."""
        return self.nats / math.log(2) / self.bytes

    def __add__(self, other: Measure) -> Measure:
        return Measure(self.nats + other.nats, self.tokens + other.tokens, self.bytes + other.bytes)

    def to_json(self) -> dict[str, float]:
        """For logs."""
        return {"loss": self.loss, "bits_per_byte": self.bits_per_byte, "tokens": self.tokens}


def byte_lengths(tokenizer: TextTokenizer) -> NDArray[np.int64]:
    """Bytes that each token stands for; the end of a document counts as one."""
    lengths = np.array([len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)], dtype=np.int64)
    if tokenizer.special.end is not None:
        lengths[tokenizer.special.end] = 1
    return lengths


def say(measured: Mapping[str, Any]) -> str:
    """Measures for a person: the loss, then what else there is."""
    if "bits_per_byte" in measured:
        return f"{measured['loss']:.3f} nats/token, {measured['bits_per_byte']:.3f} bits/byte"
    others = (f"{name} {value:.4g}" for name, value in measured.items() if name not in ("loss", "weight"))
    return ", ".join([f"loss {measured['loss']:.4f}", *others])


@torch.no_grad()
def measure_batches(
    model: nn.Module, objective: ObjectiveConfig, batches: Iterable[Batch], tokenizer: Any, seed: int
) -> dict[str, float]:
    """Mean loss and metrics of an objective over held-out batches; what is random about them is so once and for all."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    sums: dict[str, float] = {"loss": 0.0}
    weight = 0
    for plain in batches:
        batch = objective.prepare(plain, tokenizer, seed)
        loss, metrics = objective.loss_sum(model, batch.to(device))
        for name, value in {"loss": loss, **metrics}.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        weight += objective.weight(batch)
    model.train(was_training)
    return {**objective.measures({name: value / max(weight, 1) for name, value in sums.items()}), "weight": weight}


@torch.no_grad()
def measure(
    model: nn.Module,
    stream: TokenStream,
    lengths: NDArray[np.int64],
    *,
    context: int,
    stride: int | None = None,
    most_tokens: int | None = None,
    batch_tokens: int = 8192,
) -> Measure:
    """Predict the tokens of a stream once each.

    Args:
        model: A language model.
        stream: Held-out text.
        lengths: Bytes of each token.
        context: Tokens that are predicted from at most.
        stride: Tokens predicted at a time, all the others being context only; ``context`` when left out, so that the
            first of a window are predicted from little.
        most_tokens: Look at about so many tokens, in windows spread evenly over the stream.
        batch_tokens: Tokens computed at once.
    """
    was_training = model.training
    model.eval()
    nats, seen, seen_bytes = 0.0, 0, 0
    for inputs, targets in _batches(stream, context, stride or context, most_tokens, batch_tokens):
        device = next(model.parameters()).device
        logits = model(inputs.to(device))[:, -targets.shape[1] :]
        nats += float(cross_entropy_sum(logits, targets.to(device))[0])
        seen += targets.numel()
        seen_bytes += int(lengths[targets.numpy()].sum())
    model.train(was_training)
    # a tokenizer that drops or adds characters must not change what a byte is
    scale = stream.text_bytes / max(int(lengths[stream.ids].sum()), 1)
    return Measure(nats, seen, seen_bytes * scale)


def measure_all(
    model: nn.Module,
    streams: Mapping[str, TokenStream],
    lengths: NDArray[np.int64],
    *,
    context: int,
    stride: int | None = None,
    most_tokens: int | None = None,
    batch_tokens: int = 8192,
) -> dict[str, Measure]:
    """``measure`` for each of several streams, which share ``most_tokens`` by their lengths."""
    total = sum(map(len, streams.values()))
    found = {}
    for name, stream in streams.items():
        most = None if most_tokens is None else max(1, most_tokens * len(stream) // total)
        found[name] = measure(
            model, stream, lengths, context=context, stride=stride, most_tokens=most, batch_tokens=batch_tokens
        )
    return found


def _batches(
    stream: TokenStream, context: int, stride: int, most_tokens: int | None, batch_tokens: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows of one shape together: inputs (batch position) and the targets of their last positions."""
    windows = _windows(len(stream), context, stride, most_tokens)
    rows = max(1, batch_tokens // context)
    for _, group in groupby(windows, key=lambda window: (window[2] - window[0], window[2] - window[1])):
        alike = list(group)
        for begin in range(0, len(alike), rows):
            yield _tensors(stream, alike[begin : begin + rows])


def _windows(total: int, context: int, stride: int, most_tokens: int | None) -> list[Window]:
    begins = list(range(0, total, stride))
    if most_tokens is not None and most_tokens < total:
        count = max(1, most_tokens // stride)
        begins = [begins[len(begins) * place // count] for place in range(count)]
    ends = [min(begin + stride, total) for begin in begins]
    return [(max(-1, end - 1 - context), begin, end) for begin, end in zip(begins, ends, strict=True)]


def _tensors(stream: TokenStream, windows: list[Window]) -> tuple[Tensor, Tensor]:
    rows = np.stack([stream.around(first, end - first) for first, _, end in windows]).astype(np.int64)
    tokens = torch.from_numpy(rows)
    return tokens[:, :-1], tokens[:, -(windows[0][2] - windows[0][1]) :]
