"""Pictures for a run: an order that the seed and one integer decide, shares of labels, and a run that learns."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from glassformer.checkpoints.folder import load
from glassformer.core.errors import ConfigError, DataError, UnsupportedError
from glassformer.core.terminal import Progress
from glassformer.data.augment import CutmixConfig, ErasingConfig, FlipConfig, MixupConfig
from glassformer.data.batch import Batch
from glassformer.data.image_files import read_processing
from glassformer.data.images import ImageProcessingConfig, ResizeConfig
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.grid import LearnedGridConfig
from glassformer.parts.head import ClassifyHeadConfig, PoolerConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.patches import PatchEmbeddingConfig
from glassformer.parts.stack import StackConfig
from glassformer.train.config import TrainConfig
from glassformer.train.image_data import ImageData, again, prepare
from glassformer.train.loop import resume, train
from glassformer.train.objectives.classify_images import ClassifyImagesConfig
from glassformer.train.task_data import gather

PROCESSING = ImageProcessingConfig(channels=1, mean=(0.5,), std=(0.25,))
OBJECTIVE = ClassifyImagesConfig()


def describe(n_labels: int = 3, size: int = 8) -> TransformerConfig:
    block = BlockConfig(
        attention=AttentionConfig(n_heads=2), feed_forward=FeedForwardConfig(d_ff=32), norm=LayerNormConfig()
    )
    patches = PatchEmbeddingConfig(
        image_size=(size, size), patch_size=(4, 4), channels=1, positions=LearnedGridConfig()
    )
    return TransformerConfig(
        d_model=16,
        embedding=patches,
        encoder=StackConfig(blocks=(block,), norm=LayerNormConfig()),
        pooler=PoolerConfig(),
        head=ClassifyHeadConfig(n_labels=n_labels),
    )


def rows(count: int = 50, n_labels: int = 3) -> list[dict]:
    """Pictures whose label is which third of them is bright."""
    draw = np.random.default_rng(0)
    found = []
    for number in range(count):
        image = draw.integers(0, 120, (8, 8)).astype(np.uint8)
        image[3 * (number % n_labels) : 3 * (number % n_labels) + 2] += 120
        found.append({"image": image, "label": str(number % n_labels)})
    return found


def data_of(**said) -> ImageData:
    return prepare(OBJECTIVE, gather(rows(), rows(9)), describe().build(), PROCESSING, **said)


def test_an_epoch_shows_every_picture_once_in_an_order_of_the_seed():
    sampler = data_of().sampler
    first, cursor = sampler.draw(sampler.start, 50, 1)
    second, _ = sampler.draw(cursor, 50, 1)
    assert first.tokens.shape == (50, 1, 8, 8) and first.tokens.dtype == torch.float32 and cursor == (50,)
    plain = next(iter(sampler.in_order(50)))
    for batch in (first, second):
        assert sorted(map(tuple, batch.tokens.flatten(1).tolist())) == sorted(
            map(tuple, plain.tokens.flatten(1).tolist())
        )
    assert not torch.equal(first.tokens, second.tokens)
    other = data_of(seed=1).sampler.draw((0,), 50, 1)[0]
    assert not torch.equal(first.tokens, other.tokens)
    assert plain.labels["label"].tolist() == [number % 3 for number in range(50)]


@pytest.mark.parametrize("augment", [(), (FlipConfig(), ErasingConfig(share=1.0))])
def test_what_is_drawn_hangs_on_the_cursor_alone(augment):
    sampler = data_of(augment=augment).sampler
    whole, _ = sampler.draw((30,), 40, 1)  # over the end of an epoch
    pieces, cursor = [], (30,)
    for count in (7, 20, 13):
        batch, cursor = sampler.draw(cursor, count, 1)
        pieces.append(batch)
    assert torch.equal(torch.cat([piece.tokens for piece in pieces]), whole.tokens)
    assert torch.equal(torch.cat([piece.labels["label"] for piece in pieces]), whole.labels["label"])
    assert whole.samples.tolist() == list(range(30, 70))


def test_pictures_are_changed_for_training_and_never_for_measuring():
    data = data_of(augment=(ErasingConfig(share=1.0),))
    held = torch.cat([batch.tokens for batch in data.held_out_batches(4)])
    wanted = PROCESSING.build()([row["image"] for row in rows(9)])
    assert torch.equal(held, wanted)
    drawn, _ = data.sampler.draw((0,), 50, 1)
    plain = {tuple(image.flatten().tolist()) for image in next(iter(data.sampler.in_order(50))).tokens}
    assert not plain & {tuple(image.flatten().tolist()) for image in drawn.tokens}


def test_mixed_pictures_have_shares_of_labels():
    sampler = data_of(mix=(MixupConfig(), CutmixConfig())).sampler
    batch, _ = sampler.draw((0,), 12, 1)
    again, _ = sampler.draw((0,), 12, 1)
    assert batch.labels["label"].shape == (12, 3) and torch.equal(batch.tokens, again.tokens)
    torch.testing.assert_close(batch.labels["label"].sum(-1), torch.ones(12))


def test_a_batch_of_images_counts_images():
    batch, _ = data_of().sampler.draw((0,), 12, 1)
    assert batch.width == 1 and batch.count == len(batch) == 12
    assert [len(piece) for piece in batch.cut(5)] == [5, 5, 2] and OBJECTIVE.weight(batch) == 12
    assert data_of().steps(2, 10) == 10


def test_the_digest_tells_data_apart(tmp_path):
    plain = data_of().sampler.digest
    assert plain == data_of().sampler.digest
    assert plain != data_of(augment=(FlipConfig(),)).sampler.digest != data_of(seed=1).sampler.digest
    changed = rows()
    changed[7]["image"] = changed[8]["image"]
    other = prepare(OBJECTIVE, gather(changed, rows(9)), describe().build(), PROCESSING)
    assert plain != other.sampler.digest


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_labels_or_shares(smoothing):
    model, objective = describe().build(seed=1), ClassifyImagesConfig(smoothing=smoothing)
    images, label = torch.randn(4, 1, 8, 8), torch.tensor([0, 2, 1, 1])
    shares = functional.one_hot(label, 3).float() * 0.7 + 0.1
    for target in (label, shares):
        loss, metrics = objective.loss_sum(model, Batch(images, labels={"label": target}))
        wanted = functional.cross_entropy(model(images), target, reduction="sum", label_smoothing=smoothing)
        torch.testing.assert_close(loss, wanted)
        assert metrics["accuracy"] == (model(images).argmax(-1) == label).sum()


def test_models_and_data_that_do_not_fit():
    with pytest.raises(ConfigError, match="labels of the model · got 5 · expected 3"):
        prepare(OBJECTIVE, gather(rows(), rows(9)), describe(5).build(), PROCESSING)
    odd = [*rows(9), {"image": rows(1)[0]["image"], "label": "9"}]
    with pytest.raises(DataError, match="example 9: a label that is not in the set · got 9"):
        prepare(OBJECTIVE, gather(rows(), odd), describe().build(), PROCESSING)
    with pytest.raises(DataError, match="no field 'label'"):
        prepare(OBJECTIVE, gather([{"image": 1}], rows(9)), describe().build(), PROCESSING)
    with pytest.raises(UnsupportedError, match="a model of tokens"):
        OBJECTIVE.check_model(describe().replace(embedding=EmbeddingConfig(), vocab_size=9))
    with pytest.raises(UnsupportedError, match="ClassifyHeadConfig"):
        OBJECTIVE.check_model(describe().replace(head=None))
    assert OBJECTIVE.fit(describe().replace(head=None, pooler=None), 7).head == ClassifyHeadConfig(n_labels=7)


def test_a_picture_that_cannot_be_decoded_is_named():
    spoilt = rows()
    spoilt[31]["image"] = b"nothing"
    data = prepare(OBJECTIVE, gather(spoilt, rows(9)), describe().build(), PROCESSING)
    with pytest.raises(DataError, match="example 31: a picture that cannot be decoded"):
        data.sampler.draw((0,), 50, 1)


def folder_of(place) -> None:
    for number, row in enumerate(rows(40)):
        (place / row["label"]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(row["image"]).save(place / row["label"] / f"{number}.png")


def test_a_run_learns_resumes_to_the_bit_and_says_its_processing(tmp_path):
    folder_of(tmp_path / "pictures")
    processing = PROCESSING.replace(resize=ResizeConfig(size=(8, 8)))
    config = TrainConfig(
        steps=60, batch_tokens=16, learning_rate=3e-3, objective=OBJECTIVE, eval_every=0, save_every=30, seed=3
    )

    model = describe().build(seed=1)
    data = prepare(OBJECTIVE, gather(tmp_path / "pictures"), model, processing, augment=(FlipConfig(),))
    model.labels = data.labels
    whole = train(model, data, config, out=tmp_path / "whole", progress=Progress(io.StringIO()))
    assert whole.entries[-1]["validation"]["accuracy"] == 1.0
    assert whole.entries[0]["loss"] > 1.0 > 0.3 > whole.entries[-1]["loss"]
    model = load(tmp_path / "whole")
    assert model.labels == ("0", "1", "2")
    assert read_processing(tmp_path / "whole").config == processing
    images = read_processing(tmp_path / "whole")([row["image"] for row in rows(9)])
    assert model(images).argmax(-1).tolist() == [number % 3 for number in range(9)]
    newest = tmp_path / "whole" / "step-00000060" / "model.safetensors"
    before = newest.read_bytes()
    newest.write_bytes(b"")
    assert resume(tmp_path / "whole", progress=Progress(io.StringIO())).is_finished
    assert newest.read_bytes() == before


def test_the_recipe_reads_the_same_again(tmp_path):
    folder_of(tmp_path)
    said = {"augment": (FlipConfig(share=0.3),), "mix": (CutmixConfig(alpha=0.5),), "seed": 4}
    data = prepare(OBJECTIVE, gather(tmp_path), describe().build(), PROCESSING, **said)
    same = again(data.recipe, OBJECTIVE, describe().build())
    assert same.sampler.digest == data.sampler.digest and same.labels == data.labels
    assert torch.equal(same.sampler.draw((5,), 9, 1)[0].tokens, data.sampler.draw((5,), 9, 1)[0].tokens)
