from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from glassformer.checkpoints.folder import load, save
from glassformer.core.errors import CheckpointError
from glassformer.models.transformer import SpecialTokens
from glassformer.tokenizers.kinds import byte_tokenizer
from glassformer.tokenizers.tokenizer import load_tokenizer
from glassformer.train.average import average
from tests.builders import gpt_like, lively
from tests.train import tiny


def test_the_mean_of_three_models_number_by_number(tmp_path):
    for seed in range(3):
        save(gpt_like().build(seed=seed), tmp_path / str(seed))
    average([tmp_path / str(seed) for seed in range(3)], tmp_path / "mean")
    files = [load_file(tmp_path / name / "model.safetensors") for name in ("0", "1", "2", "mean")]
    for name, mean in files[3].items():
        assert mean.dtype == torch.float32
        torch.testing.assert_close(mean, torch.stack([file[name] for file in files[:3]]).mean(0), rtol=1e-6, atol=1e-8)
    for seed in range(3):
        assert torch.equal(load(tmp_path / str(seed)).embedding.tokens.weight, files[seed]["transformer.wte.weight"])


def test_halves_are_added_as_float32(tmp_path):
    """In bfloat16 half of 1 and half of 1 + 1/128 would be rounded."""
    for name, value in (("a", 1.0), ("b", 1.0 + 2**-7)):
        model = lively(gpt_like()).bfloat16()
        for weight in model.parameters():
            weight.data.fill_(value)
        save(model, tmp_path / name)
    average([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    assert {weight.min().item() for weight in load(tmp_path / "mean").parameters()} == {1.0 + 2**-8}


def test_the_tokenizer_of_the_first_comes_along(tmp_path):
    for name in "ab":
        save(tiny.model(), tmp_path / name, tokenizer=byte_tokenizer())
    average([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    assert load_tokenizer(tmp_path / "mean") == byte_tokenizer()
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(load(tmp_path / "mean")(tokens), load(tmp_path / "a")(tokens))


def test_models_that_do_not_fit_together_are_refused(tmp_path):
    model = gpt_like().build(seed=0)
    save(model, tmp_path / "a")
    save(gpt_like(layers=3).build(seed=0), tmp_path / "b")
    model.special = SpecialTokens(end=(3,))
    save(model, tmp_path / "c")
    with pytest.raises(CheckpointError, match="b: another description · expected that of"):
        average([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    with pytest.raises(CheckpointError, match="c: other special tokens"):
        average([tmp_path / "a", tmp_path / "c"], tmp_path / "mean")
    with pytest.raises(CheckpointError, match="1 folders · expected two or more"):
        average([tmp_path / "a"], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
