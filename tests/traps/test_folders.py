"""Folders where others fell: old names, names that decide, low precision, and one config for two models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer as Backend, models, processors
from torch import Tensor

from glassformer.checkpoints.folder import load, save
from glassformer.core.config import Config
from glassformer.core.discovery import load_all
from glassformer.parts import kernels
from glassformer.parts.attention import Attending
from glassformer.parts.kernels import explicit, sdpa
from glassformer.tokenizers.chat import chat_ids
from glassformer.tokenizers.tokenizer import Tokenizer
from tests.builders import gpt_like, lively, llama_like, random_tokens, t5_like
from tests.checkpoints.tiny import WEIGHTS, as_bert, same, with_keys, with_tensors, written
from tests.families.forms import BY_NAME
from tests.families.helpers import close, main_output, make, run_theirs, tokens_like


@torch.no_grad()
@pytest.mark.parametrize("name", ["falcon-alibi", "falcon-refined", "falcon-new-alibi"])
def test_falcons_slopes_are_added_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Trap 16: transformers' eager attention adds Falcon's ALiBi twice, its fused one once."""
    pair, tokens = make(BY_NAME[name], tmp_path), tokens_like(2, 20)
    eager = type(pair.theirs).from_pretrained(tmp_path, attn_implementation="eager").eval()
    truth = main_output(run_theirs(pair, tokens))
    assert (main_output(eager(tokens)) - truth).abs().max() > 1e-2 * truth.abs().max()
    for kernel in (explicit, sdpa):
        monkeypatch.setattr(kernels, "kernels", lambda kernel=kernel: (kernel,))
        close(pair.ours(tokens), truth)


def test_models_of_one_description_are_strangers():
    """Trap 17: a config object shared by two models. The second one's choices were the first one's, too."""
    config, tokens = gpt_like(), random_tokens(2, 6)
    one, said = lively(config), config.to_json()
    expected = one(tokens)
    other = config.build(seed=5, dtype=torch.bfloat16).train()
    other.set_dropout(residual=0.5)
    other.compile()
    assert torch.equal(one(tokens), expected) and one.config.to_json() == said
    assert not any(part.compiled for part in one.modules() if isinstance(part, Attending))


def test_no_description_says_how_it_is_computed():
    """Trap 17: what is not architecture is not in the config, and so cannot be shared by it."""
    load_all("parts"), load_all("models")
    fields = {name for kind in Config.kinds.values() for name in kind.__dataclass_fields__}
    assert len(fields) > 80 and "n_heads" in fields
    assert not fields & {"kernel", "backend", "attn_implementation", "dtype", "device", "compiled"}


def test_gamma_and_beta_are_read_and_weight_and_bias_are_written(tmp_path: Path):
    """Trap 18: names that only their writer reads back."""

    def age(tensors: dict[str, Tensor]) -> None:
        for name in [one for one in tensors if "LayerNorm" in one]:
            tensors[name.replace("weight", "gamma").replace("bias", "beta")] = tensors.pop(name)

    folder = written(tmp_path / "new", as_bert())
    old = with_tensors(shutil.copytree(folder, tmp_path / "old"), age)
    save(load(old), tmp_path / "back")
    back, new, before = (set(load_file(place / WEIGHTS)) for place in (tmp_path / "back", folder, old))
    assert back == new != before
    assert same(tmp_path / "back", folder)


def test_stored_frequencies_are_computed_instead(tmp_path: Path):
    """Trap 18: ``inv_freq`` in a file is neither used nor written again."""
    wrong = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.full((4,), 9.0) for layer in range(2)}
    folder = written(tmp_path / "llama", llama_like())
    expected = load(folder)(random_tokens(1, 9))
    model = load(with_tensors(folder, lambda tensors: tensors.update(wrong)))
    assert torch.equal(model(random_tokens(1, 9)), expected)
    save(model, tmp_path / "back")
    assert not [name for name in load_file(tmp_path / "back" / WEIGHTS) if "inv_freq" in name]


@torch.no_grad()
def test_a_t5_of_halves_does_not_overflow(tmp_path: Path):
    """Trap 24: T5 in float16. Its feed-forward passes 65,504; the file's halves are computed in float32 here."""
    model, source, target = lively(t5_like().replace(max_positions=None)), random_tokens(1, 7), random_tokens(1, 4)
    for stack in (model.encoder, model.decoder):
        for block in stack.blocks:
            block.feed_forward.up_proj.weight *= 200
            block.feed_forward.down_proj.weight *= 200
    model.half().save(tmp_path / "t5")
    halves, ours = load(tmp_path / "t5", dtype="float16")(source, target), load(tmp_path / "t5")
    assert {tensor.dtype for tensor in load_file(tmp_path / "t5" / WEIGHTS).values()} == {torch.float16}
    assert not halves.isfinite().all(), "the numbers are too large for halves"
    theirs = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "t5", dtype=torch.float32).eval()
    close(ours(source, target), theirs(input_ids=source, decoder_input_ids=target).logits)


@pytest.mark.parametrize("name", ["llama", "olmo", "gemma"])
def test_a_name_decides_nothing(name: str, tmp_path: Path):
    """Trap 34: litgpt takes a norm's offset and kind from the name of a model."""
    folder = make(BY_NAME[name], tmp_path / name).folder
    expected = load(folder)
    for other in ("Gemma-2b", "OLMo-1B-hf", "Llama-3"):
        renamed = with_keys(shutil.copytree(folder, tmp_path / other), _name_or_path=f"someone/{other}")
        model = load(renamed)
        assert model.config == expected.config
        assert torch.equal(model(tokens_like(1, 9)), expected(tokens_like(1, 9)))


def test_a_template_and_a_tokenizer_start_a_text_once():
    """Special tokens: two of ``<s>`` where the template writes one and the tokenizer puts another before it."""
    backend = Backend(models.BPE({"<s>": 0, "a": 1, "b": 2}, []))
    backend.add_special_tokens(["<s>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    settings: dict[str, Any] = {"bos_token": "<s>", "chat_template": "{{ bos_token }}{{ messages[0].content }}"}
    tokenizer = Tokenizer(backend.to_str(), settings)
    assert tokenizer.encode("ab") == [0, 1, 2] == chat_ids(tokenizer, [{"role": "user", "content": "ab"}])
