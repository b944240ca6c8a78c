"""Attention patterns in few bytes: 8-bit codes that keep small weights visible; long rows by their largest weights.

A weight w is stored as the byte round(255 · √w) and read back as (byte / 255)²: off by at most √w / 255 + 1 / 260100.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

#: The longest side of a thumbnail, in cells; many heads share fewer.
THUMBNAIL_SIDE = 64
#: All thumbnails of a page together, in cells.
THUMBNAIL_CELLS = 600_000
#: One kept weight of a long row: its code, the low byte of the gap to the one before it, and a rarely used high byte.
BYTES_PER_KEPT = 2.1
#: One row: the mean of what was not kept, and the first and last key it covers.
BYTES_PER_ROW = 5
#: Fewer weights of a row are not worth a picture; a page of very many heads grows instead.
LEAST_KEPT = 8


@dataclass(frozen=True, kw_only=True)
class Packed:
    """The patterns of one layer (head query key) as text, and what was lost.

    ``kept`` is the number of weights stored of each row, or None when all are; ``worst_error`` and ``mean_rest`` are
    measured, not estimated:
    the largest difference of any weight, and the share of a row's attention, on average, that is known only as a mean.
    """

    heads: int
    queries: int
    keys: int
    kept: int | None
    matrices: tuple[str, ...]
    worst_error: float
    mean_rest: float


def encode(weights: Tensor) -> Tensor:
    """Weights in 0..1 of any shape → codes, uint8."""
    return (weights.float().clamp(0, 1).sqrt() * 255).round().to(torch.uint8)


def decode(codes: Tensor) -> Tensor:
    """Codes, uint8 of any shape → weights, float32."""
    return (codes.float() / 255).square()


def deflate(codes: Tensor) -> str:
    """uint8 of any shape → its bytes in order, deflated (zlib), as base64."""
    return base64.b64encode(zlib.compress(codes.contiguous().cpu().numpy().tobytes(), 9)).decode("ascii")


def inflate(text: str) -> Tensor:
    """What ``deflate`` wrote → uint8, flat."""
    return torch.frombuffer(bytearray(zlib.decompress(base64.b64decode(text))), dtype=torch.uint8)


def kept_per_row(visible: int, rows: int, budget: int) -> int | None:
    """How many weights of each row fit into ``budget`` bytes; None if all ``visible`` cells do."""
    if visible <= budget:
        return None
    return max(LEAST_KEPT, int((budget / rows - BYTES_PER_ROW) / BYTES_PER_KEPT))


def pack_all(layers: Sequence[Tensor], budget: int) -> list[Packed]:
    """Patterns of several layers (head query key each) in ``budget`` bytes: whole, or the largest weights of each row.

    How many fit for sure follows from their number; how well they deflate is then measured, and what was saved is
    spent on more.
    """
    visible, rows = sum(int((layer > 0).sum()) for layer in layers), sum(layer[..., 0].numel() for layer in layers)
    kept = kept_per_row(visible, rows, budget)
    packed = [pack(layer, kept) for layer in layers]
    if kept is None:
        return packed
    more = int(kept * 0.95 * budget / size(packed))  # a little less: more weights deflate less well
    again = [pack(layer, more) for layer in layers] if more > kept else packed
    return again if size(again) <= budget else packed


def size(packed: Sequence[Packed]) -> int:
    """Bytes of the matrices, deflated."""
    return sum(len(matrix) * 3 // 4 for layer in packed for matrix in layer.matrices)


def pack(weights: Tensor, kept: int | None) -> Packed:
    """One layer's patterns (head query key) with all weights (``kept=None``) or the ``kept`` largest of each row."""
    heads, queries, keys = weights.shape
    weights = weights.float()
    if kept is None or kept >= keys:
        kept, rest = None, torch.zeros(1)
        matrices = [deflate(head) for head in encode(weights)]
    else:
        planes, rest = _largest(weights, kept)
        matrices = [deflate(head) for head in planes]
    stored = unpack(matrices, (queries, keys), kept)
    return Packed(
        heads=heads,
        queries=queries,
        keys=keys,
        kept=kept,
        matrices=tuple(matrices),
        worst_error=(stored - weights).abs().max().item(),
        mean_rest=rest.mean().item(),
    )


def unpack(matrices: Sequence[str], shape: tuple[int, int], kept: int | None) -> Tensor:
    """Packed matrices → weights as a page shows them (head query key), float32."""
    queries, keys = shape
    flat = torch.stack([inflate(matrix) for matrix in matrices])
    if kept is None:
        return decode(flat.view(-1, queries, keys))
    sizes = [queries] * BYTES_PER_ROW + [queries * kept] * 3
    rest, first_low, first_high, last_low, last_high, *kept_planes = torch.split(flat, sizes, dim=-1)
    gap_low, gap_high, codes = (plane.view(-1, queries, kept) for plane in kept_planes)
    places = (gap_low.long() + 256 * gap_high.long()).cumsum(dim=-1)
    column = torch.arange(keys)
    first, last = (low.long() + 256 * high.long() for low, high in ((first_low, first_high), (last_low, last_high)))
    covered = (column >= first[..., None]) & (column <= last[..., None])
    return (decode(rest)[..., None] * covered).scatter(-1, places, decode(codes))


def thumbnails(weights: Tensor, side: int) -> Tensor:
    """Patterns (head query key) → codes of the largest weight of each block (head height width, at most ``side``)."""
    height, width = (min(size, side) for size in weights.shape[-2:])
    return encode(adaptive_max_pool2d(weights.float(), (height, width)))


def thumbnail_side(heads: int) -> int:
    """Cells a side for a page with so many heads."""
    return min(THUMBNAIL_SIDE, max(8, int((THUMBNAIL_CELLS / max(heads, 1)) ** 0.5)))


def _largest(weights: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Weights (head query key) → byte planes (head bytes), and the attention of each row that is not kept (head query).

    A row is stored as the mean of what was left out, the first and last key it covers, and for each kept weight the
    gap from the one before it and
    its code. Keys outside first..last are zero (a causal mask, a window, padding); those between that are not kept
    show the mean.
    """
    places = weights.topk(kept, dim=-1).indices.sort(dim=-1).values
    values = weights.gather(-1, places)
    gaps = places.diff(dim=-1, prepend=torch.zeros_like(places[..., :1]))
    seen = weights > 0
    first = seen.int().argmax(dim=-1)
    last = weights.shape[-1] - 1 - seen.flip(-1).int().argmax(dim=-1)
    inside = ((places >= first[..., None]) & (places <= last[..., None])).sum(dim=-1)
    rest = (weights.sum(dim=-1) - values.sum(dim=-1)).clamp(min=0)
    mean = rest / (last - first + 1 - inside).clamp(min=1)
    rows = [encode(mean), first % 256, first // 256, last % 256, last // 256]
    each = [gaps % 256, gaps // 256, encode(values)]
    planes = [plane.to(torch.uint8).flatten(1) for plane in (*rows, *each)]
    return torch.cat(planes, dim=-1), rest
