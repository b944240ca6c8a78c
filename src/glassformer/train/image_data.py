"""Pictures made ready for an objective: an order of one integer, in which each is shown a little differently."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glassformer.core.errors import ConfigError, DataError
from glassformer.data.augment import AugmentConfig, MixConfig, augmented, mixed
from glassformer.data.batch import Batch
from glassformer.data.examples import Example
from glassformer.data.images import Encoded, ImageProcessing, ImageProcessingConfig, stacked
from glassformer.data.order import Permutation, mix
from glassformer.data.rand_augment import RandAugmentConfig as RandAugmentConfig
from glassformer.data.sampling import Cursor
from glassformer.data.tokens import TokenStream
from glassformer.models.transformer import Transformer
from glassformer.train.objective import ExampleObjectiveConfig
from glassformer.train.task_data import Examples, gather


@dataclass(frozen=True, eq=False)
class Pictures:
    """A ``Sampler`` of pictures with a label: an epoch is a keyed permutation, the cursor counts what was drawn.

    Args:
        examples: All of them.
        labels: int64, the label of each.
        n_labels: How many there are.
        processing: Makes numbers of them.
        augment: What is done to each picture, in turn.
        mix: Ways of mixing a batch, of which each gets one.
        seed: Decides the order and what is random.
    """

    examples: Sequence[Example]
    labels: NDArray[np.int64]
    n_labels: int
    processing: ImageProcessing
    augment: tuple[AugmentConfig, ...] = ()
    mix: tuple[MixConfig, ...] = ()
    seed: int = 0

    @property
    def start(self) -> Cursor:
        return (0,)

    @cached_property
    def digest(self) -> str:
        """sha256 of how pictures are made, of labels, and of pictures; of those in files, their names and sizes."""
        said = [self.processing.config, *self.augment, *self.mix]
        total = hashlib.sha256(json.dumps([one.to_json() for one in said] + [self.seed]).encode())
        for example, label in zip(self.examples, self.labels.tolist(), strict=True):
            total.update(f"{label}:".encode() + _identity(example["image"]))
        return total.hexdigest()

    def draw(self, cursor: Cursor, rows: int, length: int, progress: float = 0.0) -> tuple[Batch, Cursor]:
        """The next ``rows`` pictures; ``length`` is of no account."""
        numbers = np.arange(cursor[0], cursor[0] + rows)
        epochs, turns = np.divmod(numbers, len(self.examples))
        places = np.concatenate([self._order(epoch)(turns[epochs == epoch]) for epoch in np.unique(epochs).tolist()])
        images = stacked([self._shown(*pair) for pair in zip(places.tolist(), numbers.tolist(), strict=True)])
        labels = torch.from_numpy(self.labels[places])
        if self.mix:
            images, labels = mixed(images, labels, self.n_labels, self.mix, self.seed, cursor[0])
        return Batch(images, labels={"label": labels}, samples=torch.from_numpy(numbers)), (cursor[0] + rows,)

    def in_order(self, rows: int) -> Iterator[Batch]:
        """Every picture once as it is, for measuring."""
        for first in range(0, len(self.examples), rows):
            places = range(first, min(first + rows, len(self.examples)))
            images = stacked([self.processing.numbers(self._pixels(place)) for place in places])
            labels = {"label": torch.from_numpy(self.labels[first : first + rows])}
            yield Batch(images, labels=labels, samples=torch.arange(places.start, places.stop))

    def _order(self, epoch: int) -> Permutation:
        return Permutation(len(self.examples), mix(self.seed, epoch))

    def _shown(self, place: int, number: int) -> NDArray[np.float32]:
        """A picture as the sample of that number is shown."""
        return self.processing.numbers(augmented(self._pixels(place), self.augment, self.seed, number))

    def _pixels(self, place: int) -> NDArray[np.uint8]:
        example = self.examples[place]
        return self.processing.pixels(example["image"], example.place)


def _identity(picture: Any) -> bytes:
    """What tells a picture from others without reading a file."""
    if isinstance(picture, Encoded) and picture.raw is None:
        size = picture.file.stat().st_size if picture.size is None else picture.size
        return f"{picture.file.name}:{picture.start}:{size}".encode()
    raw = picture.raw if isinstance(picture, Encoded) else picture
    found = np.asarray(raw).tobytes() if isinstance(raw, np.ndarray) else raw
    return hashlib.sha256(found if isinstance(found, bytes) else repr(found).encode()).digest()


@dataclass(frozen=True, eq=False)
class ImageData:
    """What a run over pictures reads; a ``TrainingData`` whose tokens are pictures."""

    tokenizer: ImageProcessing
    sampler: Pictures
    held_out: Pictures | None
    labels: tuple[str, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    length: int = 1

    @property
    def validation(self) -> Mapping[str, TokenStream]:
        """None: what is held out are pictures."""
        return {}

    def held_out_batches(self, tokens: int) -> Iterator[Batch]:
        """Each held-out picture once, so many at a time."""
        return iter(()) if self.held_out is None else self.held_out.in_order(tokens)

    def steps(self, epochs: float, batch_tokens: int) -> int:
        """How many steps so many passes over the pictures take."""
        return max(1, round(epochs * len(self.sampler.examples) / batch_tokens))


def prepare(
    objective: ExampleObjectiveConfig,
    examples: Examples,
    model: Transformer,
    processing: ImageProcessingConfig,
    *,
    labels: tuple[str, ...] = (),
    augment: tuple[AugmentConfig, ...] = (),
    mix: tuple[MixConfig, ...] = (),
    seed: int = 0,
) -> ImageData:
    """The pictures of examples, for a model that is to be trained; a picture is decoded when its turn comes.

    Args:
        objective: What is learned.
        examples: From what.
        model: Says how many labels there may be.
        processing: Makes numbers of pictures.
        labels: Their names by number; those of the examples when left out.
        augment: What is done to each picture that is trained on.
        mix: Ways of mixing the pictures that are trained on.
        seed: Decides the order and what is random.

    Raises:
        ConfigError: The model has another number of labels.
        DataError: An example has no label, or one that no training example has; with its place.
    """
    labels, maker = labels or examples.labels(objective), processing.build()
    n_labels = getattr(model.config.head, "n_labels", None)
    if n_labels != len(labels):
        raise ConfigError("labels of the model", got=n_labels, expected=f"{len(labels)}, as the data has")
    said = {"processing": processing.to_json(), "seed": seed, "labels": list(labels)}
    changes = {"augment": [one.to_json() for one in augment], "mix": [one.to_json() for one in mix]}
    recipe = {**examples.recipe, **said, **changes} if examples.recipe else {}
    train = Pictures(examples.train, _numbered(examples.train, labels), len(labels), maker, augment, mix, seed)
    held_out = Pictures(examples.held_out, _numbered(examples.held_out, labels), len(labels), maker)
    return ImageData(maker, train, held_out if examples.held_out else None, labels, recipe)


def again(recipe: Mapping[str, Any], objective: ExampleObjectiveConfig, model: Transformer) -> ImageData:
    """The same data, read again."""
    return prepare(
        objective,
        gather(recipe["place"], recipe.get("validation"), fields=recipe["fields"]),
        model,
        ImageProcessingConfig.from_json(recipe["processing"], "data.processing"),
        labels=tuple(recipe["labels"]),
        augment=tuple(AugmentConfig.from_json(one, "data.augment") for one in recipe["augment"]),
        mix=tuple(MixConfig.from_json(one, "data.mix") for one in recipe["mix"]),
        seed=recipe["seed"],
    )


def _numbered(examples: Sequence[Example], labels: tuple[str, ...]) -> NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(labels)}
    for example in examples:
        if example.label("label") not in numbers:
            got, expected = example.label("label")[:100], ", ".join(labels[:20])
            raise DataError("a label that is not in the set", at=example.place, got=got, expected=expected)
    return np.array([numbers[example.label("label")] for example in examples], dtype=np.int64)
