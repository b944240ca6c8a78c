"""What ``glassformer train`` begins with when examples are pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from glassformer.commands._settings import fields_of
from glassformer.core.errors import ConfigError

if TYPE_CHECKING:
    from glassformer.core.terminal import Progress
    from glassformer.data.augment import AugmentConfig, MixConfig
    from glassformer.data.examples import Example
    from glassformer.models.transformer import Transformer, TransformerConfig
    from glassformer.train.config import TrainConfig
    from glassformer.train.image_data import ImageData

#: Pictures of a step, where nothing is said, and the longest side of those that a new model is made for.
PICTURES, LONGEST = 64, 224


def begin_images(
    said: dict[str, Any], plan: TrainConfig, start: Transformer | TransformerConfig | str, progress: Progress
) -> tuple[Transformer, ImageData, TrainConfig]:
    """Model and data of a run over pictures; a new model is as large as the first picture."""
    from glassformer.data.image_files import read_processing
    from glassformer.data.images import ImageProcessingConfig, ResizeConfig
    from glassformer.models.transformer import Transformer
    from glassformer.train.attach import attached, with_head
    from glassformer.train.image_data import prepare
    from glassformer.train.presets import image_preset
    from glassformer.train.task_data import gather

    objective: Any = plan.objective
    examples = gather(said["data"], said["validation"], fields=fields_of(said["field"]), format=said["format"])
    labels = examples.labels(objective)
    if isinstance(start, Transformer):
        processing = read_processing(said["model"]).config
        model, fresh = attached(start, with_head(start, objective, labels), seed=plan.seed)
        if fresh:
            progress.note(f"begin anew: {', '.join(fresh)}")
    else:
        size, channels = size_like(examples.train[0])
        half = (0.5,) * channels
        processing = ImageProcessingConfig(resize=ResizeConfig(size=size), channels=channels, mean=half, std=half)
        described = image_preset(start, size, channels) if isinstance(start, str) else start
        model = objective.fit(described, len(labels)).build(seed=plan.seed)
    objective.check_model(model.config)
    model.labels = labels
    augment, mix = augmentation(said["augment"])
    data = prepare(objective, examples, model, processing, labels=labels, augment=augment, mix=mix, seed=plan.seed)
    plan = plan.replace(batch_tokens=said["batch_rows"] or PICTURES, context=None)
    if said["epochs"] is not None:
        plan = plan.replace(steps=data.steps(said["epochs"], plan.batch_tokens))
    return model, data, plan


def size_like(example: Example) -> tuple[tuple[int, int], int]:
    """Height and width of a picture, in whole patches, and its channels: 1 where it is grey."""
    from glassformer.data.images import as_pixels, channels_of
    from glassformer.train.presets import patch_of

    channels = channels_of(example["image"], example.place)
    height, width, _ = as_pixels(example["image"], channels, example.place).shape
    shrink = min(1.0, LONGEST / max(height, width))
    patch = patch_of(int(min(height, width) * shrink))
    high, wide = (max(patch, int(side * shrink) // patch * patch) for side in (height, width))
    return (high, wide), channels


def augmentation(words: tuple[str, ...]) -> tuple[tuple[AugmentConfig, ...], tuple[MixConfig, ...]]:
    """What is done to pictures, by words.

    Raises:
        ConfigError: A word is none of them.
    """
    from glassformer.data import augment as known
    from glassformer.data.rand_augment import RandAugmentConfig

    single: dict[str, AugmentConfig] = {
        "flip": known.FlipConfig(), "crop": known.PaddedCropConfig(), "resized-crop": known.ResizedCropConfig(),
        "erasing": known.ErasingConfig(), "rand": RandAugmentConfig(),
    }  # fmt: skip
    mixing: dict[str, MixConfig] = {"mixup": known.MixupConfig(), "cutmix": known.CutmixConfig()}
    for word in words:
        if word not in single and word not in mixing:
            raise ConfigError("no such augmentation", got=word, expected=f"one of {', '.join([*single, *mixing])}")
    return tuple(single[word] for word in words if word in single), tuple(
        mixing[word] for word in words if word in mixing
    )
