"""Where a patch stands in its image: a row and a column, learned, computed, or turned into queries and keys.

    GridPositionsConfig   LearnedGridConfig, SinusoidalGridConfig    patch + positions
    RotationConfig        GridRotaryConfig                           query, key turned by row and column

Patches come row by row; tokens that stand in front of them have no place in the image.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError, UnsupportedError
from glassformer.core.part import Part
from glassformer.parts.rotary import Rotary, RotaryConfig, Rotation, RotationConfig
from glassformer.parts.rows import Grid, Rows


class GridPositionsConfig(Config, base=True):
    """Positions that are added to patches, and to the tokens in front of them."""

    def build(self, width: int, grid: Grid) -> Part:
        """The part: a grid, and a tensor of the wanted type → front+patch model; ``grid``: of the model."""
        raise AssertionError(f"{type(self).__name__} lacks build")


class LearnedGridConfig(GridPositionsConfig):
    """A table of learned vectors, stretched to images of another size by bicubic interpolation (Dosovitskiy et al.
    2021, section 3.2); ``antialias``: as DINOv2 with registers does it, which matters for smaller images."""

    antialias: bool = False

    def build(self, width: int, grid: Grid) -> LearnedGrid:
        return LearnedGrid(self, width, grid)


class LearnedGrid(Part):
    """Looks the vectors up; ``weight``: front+patch model."""

    def __init__(self, config: LearnedGridConfig, width: int, grid: Grid) -> None:
        super().__init__()
        self.antialias, self.grid = config.antialias, grid
        self.weight = nn.Parameter(torch.empty(grid.size, width))

    def forward(self, grid: Grid, like: Tensor) -> Tensor:
        if grid == self.grid:
            return self.weight
        front, patches = self.weight.split([grid.front, self.grid.size - grid.front])
        square = patches.unflatten(0, (self.grid.height, self.grid.width)).permute(2, 0, 1)[None].float()
        size = (grid.height, grid.width)
        new = F.interpolate(square, size=size, mode="bicubic", align_corners=False, antialias=self.antialias)
        return torch.cat((front, new[0].flatten(1).mT.to(front.dtype)))


class SinusoidalGridConfig(GridPositionsConfig):
    """Sines and cosines of the column, then of the row, nothing for tokens in front  (He et al. 2022, MAE)."""

    theta: float = 10_000.0

    def check(self) -> None:
        self.require(self.theta > 1, "theta", "more than 1")

    def build(self, width: int, grid: Grid) -> SinusoidalGrid:
        if width % 4:
            raise ConfigError(
                "cannot be built", at="SinusoidalGridConfig", got=f"width {width}", expected="a multiple of 4"
            )
        return SinusoidalGrid(self, width, grid)


class SinusoidalGrid(Part):
    """Computes the vectors; there is no table and nothing to save."""

    def __init__(self, config: SinusoidalGridConfig, width: int, grid: Grid) -> None:
        super().__init__()
        self.theta, self.width = config.theta, width

    def forward(self, grid: Grid, like: Tensor) -> Tensor:
        rows, columns = _coordinates(grid, like.device)
        quarter = self.width // 4
        powers = self.theta ** -(torch.arange(quarter, dtype=torch.float64, device=rows.device) / quarter)
        angles = [coordinate[:, None] * powers for coordinate in (columns, rows)]
        table = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], -1)
        return F.pad(table, (0, 0, grid.front, 0)).to(like.dtype)


class GridRotaryConfig(RotationConfig):
    """Half of the pairs of a head turn with the row, half with the column; tokens in front do not turn.

    theta: as in ``RotaryConfig`` · coordinates: the "index" of a row and column, or where its middle stands between
    -1 and 1, in turns, which follows the image to any size ("unit", DINOv3).
    """

    theta: float = 100.0
    coordinates: Literal["index", "unit"] = "unit"

    def check(self) -> None:
        self.require(self.theta > 1, "theta", "more than 1")

    def build(self, head_dim: int) -> GridRotary:
        if head_dim % 4:
            at, expected = "GridRotaryConfig", "a multiple of 4"
            raise ConfigError("cannot be built", at=at, got=f"head_dim {head_dim}", expected=expected)
        return GridRotary(self, head_dim)


class GridRotary(Rotary):
    """Computes the rotation of all patches of an image, once a forward for all layers that share it."""

    def __init__(self, config: GridRotaryConfig, head_dim: int) -> None:
        super().__init__(RotaryConfig(theta=config.theta), head_dim)
        self.in_turns = config.coordinates == "unit"

    def of(self, rows: Rows) -> Rotation:
        if rows.grid is None:
            raise UnsupportedError("rows and columns of patches", got="tokens", expected="images")
        places = _coordinates(rows.grid, rows.positions.device)
        if self.in_turns:
            sizes = (rows.grid.height, rows.grid.width)
            places = [2 * math.pi * (2 * (at + 0.5) / size - 1) for at, size in zip(places, sizes, strict=True)]
        steps = torch.arange(0, self.dim, 4, dtype=torch.float32, device=rows.positions.device) / self.dim
        angles = torch.cat([at.float()[:, None] * self.config.theta**-steps for at in places], -1)
        angles = F.pad(angles, (0, 0, rows.grid.front, 0))[None, None]
        return Rotation(angles.cos(), angles.sin(), interleaved=False)


def _coordinates(grid: Grid, device: torch.device) -> list[Tensor]:
    """The row and the column of each patch: float64, patch."""
    row, column = (torch.arange(size, dtype=torch.float64, device=device) for size in (grid.height, grid.width))
    return [row.repeat_interleave(grid.width), column.repeat(grid.height)]
