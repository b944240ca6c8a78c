from __future__ import annotations

import json
import warnings

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from glassformer.checkpoints.adapter import CONFIG, WEIGHTS, load_adapter, save_adapter
from glassformer.checkpoints.folder import load, save
from glassformer.core.errors import CheckpointError, UnsupportedError
from glassformer.models.adapters import adapt, adapters_of
from glassformer.parts.lora import LoraConfig
from tests.builders import gpt_like, lively
from tests.families.forms import BY_NAME
from tests.families.helpers import Pair, build, close, main_output, run_ours, run_theirs, tokens_like

#: Forms whose weights have names of every kind: plain, transposed, fused whole, fused by head, shared by layers.
NAMES = (
    *("gpt2", "llama", "phi3", "neox", "bert", "albert", "bloom", "falcon", "bigcode", "deberta", "glm", "modernbert"),
    *("mpt", "qwen2-moe", "gpt-oss", "opt", "bart", "t5", "mt5"),
)
#: Forms of which only these modules are adapted: their experts are no linear maps here.
SOME = {
    "mixtral": ["q_proj", "v_proj"],
    "switch": ["q", "o"],
    "deepseek-v3": ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"],
}
IN, OUT = tokens_like(2, 9), tokens_like(2, 5, seed=1)


def answer(theirs, ours, name):
    """What both compute for the same tokens."""
    pair = Pair(BY_NAME[name], theirs, ours, None)
    with torch.no_grad():
        return main_output(run_theirs(pair, IN, OUT)), run_ours(pair, IN, OUT)


def trained_by_peft(name, folder, **settings):
    """A tiny model of transformers with an adapter of peft that was trained for some steps; both are saved."""
    theirs = build(BY_NAME[name])
    theirs.save_pretrained(folder / "base")
    settings = {"r": 3, "lora_alpha": 7, "target_modules": SOME.get(name, "all-linear"), **settings}
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(theirs, peft.LoraConfig(**settings)).train()
        optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.5)
        pair = Pair(BY_NAME[name], model, load(folder / "base"), folder)
        for _ in range(2):
            out = main_output(run_theirs(pair, IN, OUT))
            (out - out.detach().roll(1, 0)).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        model.eval().save_pretrained(folder / "adapter")
    return model


def opened_by_peft(name, folder, adapter):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*(missing|unexpected|fan_in).*")
        return peft.PeftModel.from_pretrained(build(BY_NAME[name]), folder / adapter).eval()


@pytest.mark.parametrize("name", [*NAMES, *SOME])
def test_what_peft_trained_is_computed_here_and_goes_back(name, tmp_path):
    theirs = trained_by_peft(name, tmp_path)
    ours = load(tmp_path / "base", adapter=tmp_path / "adapter")
    want, found = answer(theirs, ours, name)
    close(found, want, name)
    plain = answer(theirs, load(tmp_path / "base"), name)[1]
    assert (plain - found).abs().max() > 1e-3 * found.abs().max()
    assert not ours.training
    save_adapter(ours, tmp_path / "ours")
    close(answer(opened_by_peft(name, tmp_path, "ours"), ours, name)[0], found, f"{name}, back")
    first, second = (load_file(tmp_path / place / WEIGHTS) for place in ("adapter", "ours"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"use_rslora": True, "lora_dropout": 0.1},
        {"use_dora": True, "rank_pattern": {"mlp.c_fc": 5, "c_proj": 2}, "alpha_pattern": {"h.0.attn.c_attn": 9}},
        {"target_modules": ["c_attn"], "layers_to_transform": [1], "layers_pattern": "h"},
        {"init_lora_weights": "gaussian"},
    ],
)
def test_settings_of_peft_are_understood(settings, tmp_path):
    theirs = trained_by_peft("gpt2", tmp_path, **settings)
    ours = load(tmp_path / "base", adapter=tmp_path / "adapter")
    close(*answer(theirs, ours, "gpt2")[::-1])
    save_adapter(ours, tmp_path / "ours")
    close(answer(opened_by_peft("gpt2", tmp_path, "ours"), ours, "gpt2")[0], answer(theirs, ours, "gpt2")[1])


def test_modules_that_transformers_calls_otherwise_than_their_tensors_are_refused(tmp_path):
    """Of NomicBERT it renames the tensors while it loads them, so that an adapter's names are those of no file."""
    with pytest.raises(CheckpointError, match=r"no linear map of this model · got nomic_bert\.layers\.0"):
        trained_by_peft("nomic_bert", tmp_path, target_modules=["q_proj", "o_proj"])
        load(tmp_path / "base", adapter=tmp_path / "adapter")


def test_a_backbone_alone_has_names_without_the_prefix(tmp_path):
    bare = build(BY_NAME["gpt2"]).transformer
    bare.save_pretrained(tmp_path / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.get_peft_model(bare, peft.LoraConfig(init_lora_weights=False, target_modules=["c_attn"])).eval()
        theirs.save_pretrained(tmp_path / "adapter")
    ours = load(tmp_path / "base", adapter=tmp_path / "adapter")
    close(ours(IN), theirs(IN).last_hidden_state)
    save_adapter(ours, tmp_path / "ours")
    assert set(load_file(tmp_path / "ours" / WEIGHTS)) == set(load_file(tmp_path / "adapter" / WEIGHTS))


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("gpt2", ("*.q_proj", "*.v_proj", "*.1.*.up_proj")),  # two of three maps in one matrix, each with its own A
        ("neox", ("*.k_proj",)),
        ("phi3", ("*.gate_proj", "*.up_proj", "*.o_proj")),
        ("llama", ("*_proj", "head.proj")),
    ],
)
def test_what_was_adapted_here_is_computed_by_peft(name, targets, dora, tmp_path):
    build(BY_NAME[name]).save_pretrained(tmp_path / "base")
    ours = load(tmp_path / "base")
    adapt(ours, LoraConfig(targets=targets, rank=3, alpha=5.0, rslora=True, dora=dora))
    generator = torch.Generator().manual_seed(2)
    for path, part in adapters_of(ours).items():
        part.lora_b.data.normal_(0.0, 0.2, generator=generator)
        part.scale *= 1.5 if path.endswith(("v_proj", "up_proj")) else 1.0  # one scale a matrix is all that peft has
        if part.magnitude is not None:
            part.magnitude.data.mul_(1.3)
    save_adapter(ours, tmp_path / "adapter")
    theirs = opened_by_peft(name, tmp_path, "adapter")
    want, found = answer(theirs, ours, name)
    close(found, want)
    assert (answer(theirs, load(tmp_path / "base"), name)[1] - found).abs().max() > 1e-2
    again = load(tmp_path / "base", adapter=tmp_path / "adapter")
    close(again(IN), found)


def test_a_model_of_our_own_form_has_our_names(tmp_path):
    model = lively(gpt_like())
    adapt(model, LoraConfig(rank=2))
    for part in adapters_of(model).values():
        part.lora_b.data.fill_(0.1)
    save_adapter(model, tmp_path / "adapter")
    assert "base_model.model.decoder.blocks.0.attention.q_proj.lora_A.weight" in load_file(
        tmp_path / "adapter" / WEIGHTS
    )
    other = lively(gpt_like())
    load_adapter(other, tmp_path / "adapter")
    assert torch.equal(other(IN), model(IN))


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of GPT-2 and one of an adapter."""
    place = tmp_path_factory.mktemp("adapter")
    trained_by_peft("gpt2", place, target_modules=["c_attn"])
    return place


def spoiled(made, folder, change=None, **keys):
    """A copy of the adapter with other keys and tensors."""
    folder.mkdir()
    words = json.loads((made / "adapter" / CONFIG).read_text("utf-8")) | keys
    (folder / CONFIG).write_text(json.dumps(words), "utf-8")
    tensors = load_file(made / "adapter" / WEIGHTS)
    if change is not None:
        change(tensors)
    save_file(tensors, folder / WEIGHTS)
    return folder


@pytest.mark.parametrize(
    "keys",
    [
        {"peft_type": "IA3"},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"target_parameters": ["mlp.experts.gate_up_proj"]},
        {"layer_replication": [[0, 1]]},
        {"lora_bias": True},
        {"use_qalora": True},
        {"trainable_token_indices": [3]},
        {"megatron_config": {"a": 1}},
        {"alora_invocation_tokens": [1, 2]},
        {"a_key_of_tomorrow": 1},
        {"r": -1},
        {"r": 0},
        {"r": 3.5},
        {"lora_dropout": 2.0},
        {"use_dora": "yes"},
        {"rank_pattern": {"c_attn": 0}},
        {"lora_alpha": "16"},
        {"rank_pattern": {"(a+)+$": 3}},
        {"rank_pattern": [3]},
        {"alpha_pattern": {"c_attn": None}},
    ],
)
def test_keys_that_change_numbers_are_refused_by_name(keys, made, tmp_path):
    with pytest.raises(CheckpointError, match=f"{CONFIG}: {next(iter(keys))}"):
        load(made / "base", adapter=spoiled(made, tmp_path / "adapter", **keys))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda held: held.update({"base_model.model.transformer.wte.lora_embedding_A": torch.ones(2, 2)}), "not read"),
        (lambda held: held.update({"base_model.model.lm_head.weight": torch.ones(2, 2)}), "not read"),
        (lambda held: held.update({f"{FIRST}.lora_A.weight": torch.ones(4, 32)}), "not the tensors of this adapter"),
        (lambda held: held.pop(f"{FIRST}.lora_B.weight"), "not the tensors of this adapter"),
        (lambda held: held.update({f"{FIRST}.lora_magnitude_vector": torch.ones(96)}), "not the tensors"),
        (lambda held: held.update({f"{FIRST}x.lora_A.weight": torch.ones(3, 32)}), "no linear map of this model"),
        (lambda held: held.update({f"{FIRST}.lora_B.weight": torch.ones(96, 3).int()}), "wrong dtype"),
        (lambda held: held.clear(), "without tensors"),
    ],
)
def test_tensors_that_do_not_belong_are_refused(change, said, made, tmp_path):
    with pytest.raises(CheckpointError, match=said):
        load(made / "base", adapter=spoiled(made, tmp_path / "adapter", change))


FIRST = "base_model.model.transformer.h.0.attn.c_attn"


def test_folders_that_are_none_are_refused(made, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load(made / "base", adapter=tmp_path)
    pickled = spoiled(made, tmp_path / "pickled")
    (pickled / WEIGHTS).rename(pickled / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="never read"):
        load(made / "base", adapter=pickled)
    (pickled / CONFIG).write_text("[]")
    with pytest.raises(CheckpointError, match="expected an object"):
        load(made / "base", adapter=pickled)
    cut = spoiled(made, tmp_path / "cut")
    (cut / WEIGHTS).write_bytes((cut / WEIGHTS).read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="truncated"):
        load(made / "base", adapter=cut)


def test_saving_what_cannot_be_said_is_refused(made, tmp_path):
    model = load(made / "base")
    with pytest.raises(CheckpointError, match="without an adapter"):
        save_adapter(model, tmp_path / "adapter")
    load_adapter(model, made / "adapter")
    with pytest.raises(UnsupportedError, match="a second adapter"):
        load_adapter(model, made / "adapter")
    with pytest.raises(CheckpointError, match="a model with an adapter"):
        save(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())
    save_adapter(model, tmp_path / "adapter")
    with pytest.raises(CheckpointError, match="exists"):
        save_adapter(model, tmp_path / "adapter")
