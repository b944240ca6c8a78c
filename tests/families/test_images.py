"""Every family of images computes what transformers computes: hidden states, gradients, other sizes, folders."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from glassformer.checkpoints.folder import load, save
from tests.families.forms import IMAGE_FAMILIES, IMAGE_FORMS
from tests.families.helpers import Pair, close, fixed_sum, gradients, main_output
from tests.families.test_mutations import Bench, mutants

NAMES = [form.name for form in IMAGE_FORMS]
#: A list of two sizes is one that transformers cannot stretch positions to.
SQUARE = [name for name in NAMES if not name.endswith("uneven")]
every_form = pytest.mark.parametrize("pair", NAMES, indirect=True)


@pytest.fixture
def pair(request, pair_of) -> Pair:
    return pair_of(request.param)


def images_like(pair: Pair, batch: int = 3, size: tuple[int, int] | None = None) -> Tensor:
    patches = pair.ours.config.embedding
    shape = (batch, patches.channels, *(size or patches.image_size))
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@every_form
def test_hidden_states_of_every_layer(pair: Pair):
    images = images_like(pair)
    theirs = pair.theirs(pixel_values=images, output_hidden_states=True).hidden_states
    with torch.no_grad(), pair.ours.trace() as trace:
        trace.read("encoder.embedding")
        trace.read("encoder.blocks.*.output")
        pair.ours(images)
    ours = [trace["encoder.embedding"], *(trace[f"encoder.blocks.{layer}.output"] for layer in range(2))]
    for layer, (mine, their) in enumerate(zip(ours, theirs, strict=True)):
        close(mine, their, f"layer {layer}")


@every_form
def test_output_loss_and_gradients(pair: Pair):
    images, labels = images_like(pair), torch.tensor([0, 2, 1])
    answer, out = pair.theirs(pixel_values=images), pair.ours(images)
    close(out, main_output(answer), "output")
    losses = [fixed_sum(one) if pair.head == "hidden" else cross(one, labels) for one in (main_output(answer), out)]
    close(losses[1], losses[0], "loss")
    for model, loss in zip((pair.theirs, pair.ours), losses, strict=True):
        model.zero_grad()
        loss.backward()
    found = list(gradients(pair))
    largest = max(float(their.abs().max()) for _, _, their in found)
    for name, mine, their in found:
        scale = max(float(their.abs().max()), 0.1 * largest)
        assert (mine - their).abs().max() / scale <= 1e-5, name


def cross(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, labels)


@pytest.mark.parametrize("pair", SQUARE, indirect=True)
@pytest.mark.parametrize("size", [(24, 24), (8, 8), (20, 12)])
def test_positions_are_stretched_to_images_of_another_size(pair: Pair, size: tuple[int, int]):
    images = images_like(pair, 2, size)
    said = {} if "dinov2" in pair.form.family else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        close(pair.ours(images), main_output(pair.theirs(pixel_values=images, **said)))


def check_weights(pair: Pair, folder: Path) -> torch.nn.Module:
    """Their model of a folder, whose config and tensors are those of the pair's."""
    before, after = load_file(pair.folder / "model.safetensors"), load_file(folder / "model.safetensors")
    assert set(after) == set(before) - pair.form.unused
    for name, tensor in after.items():
        assert before[name].dtype == tensor.dtype and torch.equal(before[name], tensor), name
    then, now = (transformers.AutoConfig.from_pretrained(place).to_dict() for place in (pair.folder, folder))
    assert {**now, "_name_or_path": ""} == {**then, "_name_or_path": ""}
    loaded, report = getattr(transformers, pair.form.architecture).from_pretrained(folder, output_loading_info=True)
    assert report.pop("missing_keys") == pair.form.unused
    assert not any(report.values()), report
    return loaded.eval()


@every_form
def test_a_folder_saved_back_is_the_folder(pair: Pair, tmp_path: Path):
    assert save(pair.ours, tmp_path / "back") == pair.form.family
    check_weights(pair, tmp_path / "back")
    again = load(tmp_path / "back")
    assert torch.equal(again(images_like(pair)), pair.ours(images_like(pair)))


@every_form
def test_a_description_says_a_folder_from_nothing(pair: Pair, tmp_path: Path):
    model = load(pair.folder)
    del model.origin
    assert save(model, tmp_path / "new", family=pair.form.family) == pair.form.family
    their_class = check_weights(pair, tmp_path / "new")
    with torch.no_grad():
        images = images_like(pair)
        close(main_output(their_class(pixel_values=images)), main_output(pair.theirs(pixel_values=images)))


@pytest.mark.parametrize("pair", ["vit", "deit", "dinov2", "registers"], indirect=True)
def test_a_new_description_finds_its_family(pair: Pair, tmp_path: Path):
    model = pair.ours.config.build(seed=3)
    assert model.save(tmp_path / "new") is None
    assert json.loads((tmp_path / "new" / "config.json").read_text("utf-8"))["model_type"] == pair.form.family


class ImageBench(Bench):
    """As for tokens, with images."""

    @torch.no_grad()
    def answer(self, theirs: Any) -> Tensor:
        config = self.theirs.config
        shape = (3, config.num_channels, config.image_size, config.image_size)
        return main_output(theirs(pixel_values=self.images(shape)))

    @torch.no_grad()
    def answer_of_ours(self) -> Tensor:
        model = load(self.folder)
        config = self.theirs.config
        return model(self.images((3, config.num_channels, config.image_size, config.image_size)))

    @staticmethod
    def images(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_no_key_is_missed_in_silence(family: str, pair_of, tmp_path: Path, record_property):
    name = next(form.name for form in IMAGE_FORMS if form.family == family)
    bench = ImageBench(pair_of(name).form, pair_of(name).theirs, tmp_path / name)
    found = [(key, bench.outcome(key, config)) for key, config in mutants(bench.config)]
    record_property("mutations", dict(Counter(outcome for _, outcome in found)))
    record_property("refused", sorted({key for key, outcome in found if outcome == "refused"}))
    bad = [(key, outcome) for key, outcome in found if outcome in ("MISSED", "refused without a name")]
    assert not bad and len(found) > 20
