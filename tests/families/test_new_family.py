"""A family is one new file: the one in docs/checkpoints.md, dropped into the folder, against transformers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from glassformer.checkpoints.folder import load, save
from glassformer.core.errors import CheckpointError
from glassformer.families import families
from tests.builders import gpt_like, lively
from tests.families.helpers import close

PAGE = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"


@pytest.fixture
def gpt(tmp_path: Path) -> tuple[torch.nn.Module, Path]:
    """A tiny GPT of transformers and its folder."""
    torch.manual_seed(0)
    config = transformers.OpenAIGPTConfig(vocab_size=61, n_positions=32, n_embd=16, n_layer=2, n_head=2, afn="gelu")
    model = transformers.OpenAIGPTLMHeadModel(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.3)
    model.save_pretrained(tmp_path / "gpt")
    return model, tmp_path / "gpt"


def test_without_the_file_the_family_is_not_known(gpt):
    with pytest.raises(CheckpointError, match=r"config.json: unknown model_type · got 'openai-gpt' · expected one of "):
        load(gpt[1])


def test_one_file_adds_a_family(drop_in, gpt, tmp_path: Path):
    (source,) = [
        text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if "MODEL_TYPES" in text
    ]
    drop_in("families", "openai_gpt", source)
    theirs, folder = gpt
    model = load(folder)
    tokens = torch.randint(0, 61, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        close(model(tokens), theirs(tokens).logits)
    assert save(model, tmp_path / "back") == "openai-gpt"
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert set(after) == set(before) and all(torch.equal(after[name], before[name]) for name in before)
    del model.origin
    assert save(model, tmp_path / "new") == "openai-gpt", "a new model finds the family too"
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "new").eval()
    with torch.no_grad():
        close(again(tokens).logits, theirs(tokens).logits)


def test_a_family_takes_nothing_from_the_others(drop_in, tmp_path: Path):
    (source,) = [
        text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if "MODEL_TYPES" in text
    ]
    before = set(families())
    drop_in("families", "openai_gpt", source)
    (added,) = set(families()) - before
    assert added.MODEL_TYPES == ("openai-gpt",) and before < set(families())
    assert save(lively(gpt_like()), tmp_path / "m") == "gpt2"
