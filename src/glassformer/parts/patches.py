"""Images as rows of patches, with what is put in front of them before the first block.

patches = projection(image)               a convolution as wide as its stride
x = norm(front tokens, patches + positions)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.errors import DataError
from glassformer.core.part import Part
from glassformer.parts.activations import ACTIVATIONS, Activation
from glassformer.parts.dropout import Dropout
from glassformer.parts.grid import GridPositionsConfig
from glassformer.parts.norm import LayerNormConfig, NoNorm, NormConfig
from glassformer.parts.rows import Frame, Grid, Rows, plain_rows

#: Height and width.
Size = tuple[int, int]


class ConvStemConfig(Config):
    """Convolutions of 3 x 3 that halve the image each, in front of the patches  (Xiao et al. 2021).

    widths: channels behind each · norm: of the channels of a place.
    """

    widths: tuple[int, ...]
    activation: Activation = "relu"
    norm: NormConfig | None = LayerNormConfig()

    def check(self) -> None:
        self.require(0 < len(self.widths) <= 8, "widths", "1 … 8 convolutions")
        self.require(all(0 < width <= 1 << 16 for width in self.widths), "widths", "1 … 65536 channels")

    def build(self, channels: int) -> ConvStem:
        return ConvStem(self, channels)


class ConvStem(Part):
    """batch channel height width → the same with more channels on a smaller image."""

    def __init__(self, config: ConvStemConfig, channels: int) -> None:
        super().__init__()
        widths = (channels, *config.widths)
        pairs = zip(widths, config.widths, strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(old, new, 3, stride=2, padding=1) for old, new in pairs)
        self.norms = nn.ModuleList(NoNorm() if config.norm is None else config.norm.build(w) for w in config.widths)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution(x)
            x = norm(x.flatten(2).mT, "batch state hidden").mT.unflatten(2, x.shape[2:])
            x = self.activation(x)
        return x


class PatchEmbeddingConfig(Config):
    """The patches of an image as positions of a row.

    image_size, patch_size: height and width; other images may be given if they are whole patches · front: learned
    tokens before the patches that have positions · registers: more of them, behind the first, without positions
    (Darcet et al. 2024) · stem: in front of the projection · norm: of all that the first block is given (CLIP).
    """

    image_size: Size
    patch_size: Size
    channels: int = 3
    front: tuple[Literal["class", "distillation"], ...] = ("class",)
    registers: int = 0
    positions: GridPositionsConfig | None = None
    stem: ConvStemConfig | None = None
    bias: bool = True
    norm: NormConfig | None = None

    def check(self) -> None:
        self.require(all(0 < size <= 1 << 16 for size in self.image_size), "image_size", "1 … 65536")
        fits = all(0 < part <= size for part, size in zip(self.patch_size, self.image_size, strict=True))
        self.require(fits, "patch_size", f"1 … the image's {self.image_size}")
        whole = all(size % part == 0 for part, size in zip(self.patch_size, self.image_size, strict=True))
        self.require(whole, "image_size", f"whole patches of {self.patch_size}")
        self.require(0 < self.channels <= 1 << 12, "channels", "1 … 4096")
        self.require(len(set(self.front)) == len(self.front), "front", "each token once")
        self.require(0 <= self.registers <= 1 << 12, "registers", "0 … 4096")
        self.require(all(part % self.halved == 0 for part in self.patch_size), "patch_size",
                     f"a multiple of {self.halved}, by which the stem makes images smaller")  # fmt: skip

    @property
    def halved(self) -> int:
        """By how much a stem makes images smaller."""
        return 1 if self.stem is None else int(2 ** len(self.stem.widths))

    @property
    def n_front(self) -> int:
        """Tokens before the patches."""
        return len(self.front) + self.registers

    @property
    def n_positions(self) -> int:
        """Positions of an image of ``image_size``."""
        return self.n_front + self.grid(self.image_size).size - len(self.front)

    def grid(self, size: Size) -> Grid:
        """The rows and columns of an image, behind the tokens that have positions."""
        height, width = (whole // part for whole, part in zip(size, self.patch_size, strict=True))
        return Grid(len(self.front), height, width)

    def build(self, vocab_size: int, d_model: int) -> PatchEmbedding:
        return PatchEmbedding(self, d_model)


class PatchEmbedding(Part):
    """images: float, batch channel height width → batch position model."""

    frame: Frame | None = None  # a trace puts one here

    def __init__(self, config: PatchEmbeddingConfig, d_model: int) -> None:
        super().__init__()
        self.config = config
        channels = config.channels if config.stem is None else config.stem.widths[-1]
        kernel = (config.patch_size[0] // config.halved, config.patch_size[1] // config.halved)
        self.stem = nn.Identity() if config.stem is None else config.stem.build(config.channels)
        self.projection = nn.Conv2d(channels, d_model, kernel, stride=kernel, bias=config.bias)
        self.front = nn.ParameterDict({name: nn.Parameter(torch.empty(d_model)) for name in config.front})
        self.registers = nn.Parameter(torch.empty(config.registers, d_model)) if config.registers else None
        grid = config.grid(config.image_size)
        self.positions = None if config.positions is None else config.positions.build(d_model, grid)
        self.norm = NoNorm() if config.norm is None else config.norm.build(d_model)
        self.dropout = Dropout()

    def forward(self, images: Tensor, rows: Rows, segments: Tensor | None = None) -> Tensor:
        if segments is not None:
            raise DataError("images have no segments", do="leave them out")
        if self.frame is not None:
            self.frame.positions = rows.positions
        patches = self.projection(self.stem(images.to(self.projection.weight.dtype))).flatten(2).mT
        patches = self.tap("patches", patches, "batch patch model")
        front = [token.expand(len(patches), 1, -1) for token in self.front.values()]
        x = torch.cat((*front, patches), 1)
        if self.positions is not None:
            x = x + self.positions(self._grid(images), x)
        if self.registers is not None:
            first = min(1, len(front))
            x = torch.cat((x[:, :first], self.registers.expand(len(x), -1, -1), x[:, first:]), 1)
        out: Tensor = self.dropout(self.norm(x))
        return out

    def rows(self, images: Tensor, **said: Tensor | None) -> Rows:
        """The rows of images, which have no padding.

        Raises:
            DataError: not images that the model can take, or padding.
        """
        for name in (name for name, value in said.items() if value is not None):
            raise DataError(f"{name} is for tokens", do="leave it out: every patch of an image is real")
        self._check(images)
        grid = self._grid(images)
        rows = plain_rows(0, grid.size + self.config.registers, images.device)
        return replace(rows, grid=grid._replace(front=grid.front + self.config.registers))

    def sample(self, device: torch.device | str) -> Tensor:
        """An image of zeros."""
        return torch.zeros(1, self.config.channels, *self.config.image_size, device=device)

    @property
    def multiplications(self) -> int:
        """Of one image of ``image_size``, in the projection and the stem."""
        height, width = self.config.image_size
        sizes = [one.weight.numel() for one in self.stem.modules() if isinstance(one, nn.Conv2d)]
        stem = sum(size * (height >> turn) * (width >> turn) for turn, size in enumerate(sizes, 1))
        patches = self.config.grid(self.config.image_size)
        return stem + self.projection.weight.numel() * patches.height * patches.width

    def _grid(self, images: Tensor) -> Grid:
        return self.config.grid((images.shape[2], images.shape[3]))

    def _check(self, images: Tensor) -> None:
        """Raise a ``DataError`` unless these are images of whole patches."""
        channels, patch = self.config.channels, self.config.patch_size
        if images.ndim != 4 or not images.dtype.is_floating_point or images.numel() == 0:
            got, expected = f"{images.dtype} {tuple(images.shape)}", "float, batch channel height width"
            raise DataError("images", got=got, expected=expected, do="glassformer.data.images makes them of pictures")
        if images.shape[1] != channels:
            raise DataError("channels of images", got=images.shape[1], expected=channels)
        if any(size % part > 0 for size, part in zip(images.shape[2:], patch, strict=True)):
            raise DataError("an image that is no whole number of patches", got=tuple(images.shape[2:]),
                            expected=f"multiples of {patch}")  # fmt: skip
