"""Where files are odd, old, or transformers itself is in doubt: what is computed here, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from glassformer.checkpoints.folder import describe, load, save
from glassformer.core.errors import CheckpointError
from glassformer.models.transformer import SpecialTokens
from glassformer.parts.head import PretrainHeadConfig, TokenHeadConfig
from glassformer.parts.rotary import Llama3ScalingConfig, RotaryConfig
from tests.families.forms import BY_NAME, VOCAB
from tests.families.helpers import Pair, close, main_output, run_ours, run_theirs, tokens_like

WEIGHTS = "model.safetensors"


def pair_from(folder: Path, name: str) -> Pair:
    """What transformers and we make of a folder."""
    form = BY_NAME[name]
    theirs = getattr(transformers, form.architecture).from_pretrained(folder).eval()
    return Pair(form, theirs, load(folder), folder)


@torch.no_grad()
def check_equal(pair: Pair) -> None:
    tokens, target = tokens_like(2, 12), tokens_like(2, 5, seed=1)
    close(run_ours(pair, tokens, target), main_output(run_theirs(pair, tokens, target)))


def give_head(tensors: dict[str, Tensor]) -> None:
    tensors["lm_head.weight"] = torch.randn(VOCAB, 32, generator=torch.Generator().manual_seed(4))


def copy_head(of: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.update({"lm_head.weight": tensors[of].clone()})


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("gpt2", {}),
        ("llama-tied", {}),
        ("t5", {}),
        # as T5 1.1 and Flan-T5 are published: transformers calls it tied, and yet computes with the stored head
        ("t5-1.1-unscaled", {"tie_word_embeddings": False, "scale_decoder_outputs": ...}),
    ],
)
def test_a_stored_head_that_differs_wins_over_the_tie(changed, tmp_path: Path, name: str, keys: Mapping[str, Any]):
    folder = changed(name, give_head, **keys)
    pair = pair_from(folder, name)
    assert pair.ours.head.proj.weight is not pair.ours.embedding.tokens.weight
    check_equal(pair)
    save(pair.ours, tmp_path / "back")
    before, after = load_file(folder / WEIGHTS), load_file(tmp_path / "back" / WEIGHTS)
    assert set(after) == set(before) and all(torch.equal(after[one], before[one]) for one in before)
    check_equal(Pair(pair.form, pair_from(tmp_path / "back", name).theirs, pair.ours, folder))


@pytest.mark.parametrize(
    ("name", "of"),
    [("gpt2", "transformer.wte.weight"), ("llama-tied", "model.embed_tokens.weight"), ("t5", "shared.weight")],
)
def test_a_stored_copy_of_a_shared_table_is_accepted_and_stays_shared(changed, name: str, of: str):
    model = load(changed(name, copy_head(of)))
    assert model.head.proj.weight is model.embedding.tokens.weight
    assert sum(weight.shape[0] == VOCAB for weight in model.parameters()) == 1


def test_a_copy_that_is_not_a_head_must_not_differ(changed):
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"] + 1

    with pytest.raises(
        CheckpointError, match=r"a copy that differs · got encoder.embed_tokens.weight · expected equal to sh"
    ):
        load(changed("t5", spoil))


def test_a_bert_that_is_not_tied_has_the_bias_that_transformers_adds(changed, pair_of):
    """Version 5 has two biases then and adds ``decoder.bias``; before there was one, under the name of the other."""
    old = changed(
        "bert-untied",
        lambda tensors: tensors.update({"cls.predictions.bias": tensors.pop("cls.predictions.decoder.bias")}),
    )
    pair = pair_of("bert-untied")
    with torch.no_grad():
        close(load(old)(tokens_like(2, 9)), main_output(run_theirs(pair, tokens_like(2, 9))))


def test_old_names_of_norms_and_computed_tensors_are_read(changed, pair_of):
    def age(tensors: dict[str, Tensor]) -> None:
        for name in [one for one in tensors if "LayerNorm" in one]:
            tensors[name.replace("weight", "gamma").replace("bias", "beta")] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = torch.arange(64)[None]

    with torch.no_grad():
        close(
            load(changed("bert", age))(tokens_like(2, 9)), main_output(run_theirs(pair_of("bert"), tokens_like(2, 9)))
        )


def test_a_backbone_without_its_prefix_and_masks_of_old_are_read(changed, pair_of):
    """As the published gpt2 is stored."""

    def age(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = torch.ones(1, 1, 64, 64).tril().to(torch.uint8)
        tensors["h.0.attn.masked_bias"] = torch.tensor(-1e4)

    with torch.no_grad():
        close(
            load(changed("gpt2", age))(tokens_like(2, 9)), main_output(run_theirs(pair_of("gpt2"), tokens_like(2, 9)))
        )


def test_a_bias_that_the_first_t5_stored_and_never_used_is_left(changed):
    name = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    folder = changed("t5", lambda tensors: tensors.update({name: torch.ones(8, 4)}))
    check_equal(pair_from(folder, "t5"))


def test_a_masked_bert_with_the_tensors_of_pretraining_has_both_heads(changed):
    """As the published bert-base-uncased is: a BertForMaskedLM by its config, with everything of BertForPreTraining."""
    folder = changed("bert-pretrain", architectures=["BertForMaskedLM"])
    model = load(folder)
    assert isinstance(model.config.head, PretrainHeadConfig) and model.pooler is not None
    check_equal(Pair(BY_NAME["bert-pretrain"], pair_from(folder, "bert-pretrain").theirs, model, folder))


def test_a_bert_without_a_pooler_is_one(changed):
    """transformers would make one from nothing."""

    def cut(tensors: dict[str, Tensor]) -> None:
        for name in [one for one in tensors if "pooler" in one]:
            del tensors[name]

    folder = changed("bert-hidden", cut)
    assert describe(folder).config.pooler is None and load(folder).pooler is None


def test_a_part_of_a_head_that_turns_is_refused_of_llama(changed):
    """transformers computes llama with whole heads whatever this key says; others obey it; so no reading is safe."""
    with pytest.raises(
        CheckpointError, match=r"config.json: partial_rotary_factor: not supported · got 0.5 · expected 1.0"
    ):
        load(changed("llama", partial_rotary_factor=0.5))
    assert load(changed("llama-theta", partial_rotary_factor=1.0))


def test_rotary_settings_in_the_words_before_version_5(changed, pair_of):
    scaling = {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 8
    folder = changed("llama-3", rope_parameters=..., rope_theta=5e5, rope_scaling=scaling)
    assert load(folder).config == pair_of("llama-3").ours.config
    check_equal(pair_from(folder, "llama-3"))


def test_words_before_version_5_are_written_too(pair_of, tmp_path: Path):
    """Versions before 5 pass over rope_parameters and would take 10,000 for theta."""
    model = load(pair_of("llama-3").folder)
    del model.origin
    save(model, tmp_path / "new", family="llama")
    config = json.loads((tmp_path / "new" / "config.json").read_text("utf-8"))
    del config["rope_parameters"]
    (tmp_path / "new" / "config.json").write_text(json.dumps(config), "utf-8")
    assert load(tmp_path / "new").config == model.config


def test_the_length_that_a_row_was_trained_on_beside_the_table(changed):
    """As Phi-3 writes it; it wins over the table's, there and here."""
    folder = changed("llama-long", original_max_position_embeddings=10)
    check_equal(pair_from(folder, "llama-long"))


@torch.no_grad()
def test_scalings_by_length_look_at_each_row_alone(pair_of):
    """transformers takes the longest row of a batch, and of all batches before, for every row."""
    pair = pair_of("llama-dynamic")
    short, long = tokens_like(6, seed=1), tokens_like(20, seed=2)
    truth = main_output(run_theirs(pair, short[None]))
    close(pair.ours(short[None]), truth)
    pair.ours(long[None])
    close(pair.ours(short[None]), truth, "after a longer one")
    both = torch.stack((torch.cat((short, torch.zeros(14, dtype=torch.int64))), long))
    close(pair.ours(both, lengths=torch.tensor([6, 20]))[0, :6], truth[0], "beside a longer one")
    beside = main_output(pair.theirs(both, attention_mask=(torch.arange(20) < torch.tensor([[6], [20]])).long()))
    assert (beside[0, :6] - truth[0]).abs().max() > 1e-2


# Special tokens


@pytest.mark.parametrize(
    ("keys", "special"),
    [
        ({}, SpecialTokens(None, (), 0)),
        ({"eos_token_id": [3, 4], "bos_token_id": 2, "pad_token_id": None}, SpecialTokens(2, (3, 4), None)),
        ({"pad_token_id": -1}, SpecialTokens(None, (), None)),
        ({"eos_token_id": [None, 3, -1]}, SpecialTokens(None, (3,), 0)),
        (
            {"eos_token_id": 50256, "bos_token_id": ...},
            SpecialTokens(None, (), 0),
        ),  # not said: the vocabulary is another
    ],
)
def test_special_tokens_of_a_config(changed, keys: Mapping[str, Any], special: SpecialTokens):
    assert load(changed("gpt2", **keys)).special == special


def test_absence_means_the_tokens_of_the_family(changed):
    assert load(changed("llama", bos_token_id=..., eos_token_id=...)).special == SpecialTokens(1, (2,), 0)


def test_generation_config_has_the_last_word_and_is_written_again(changed, tmp_path: Path):
    folder = changed("llama", eos_token_id=7)
    generation = {"eos_token_id": [7, 9], "temperature": 0.6, "bos_token_id": None}
    (folder / "generation_config.json").write_text(json.dumps(generation), "utf-8")
    model = load(folder)
    assert model.special == SpecialTokens(None, (7, 9), 0)
    save(model, tmp_path / "back")
    back = [
        json.loads((tmp_path / "back" / name).read_text("utf-8")) for name in ("config.json", "generation_config.json")
    ]
    assert back[0]["eos_token_id"] == 7 and back[1] == generation
    model.special = model.special._replace(end=(8,))
    save(model, tmp_path / "other")
    assert load(tmp_path / "other").special == SpecialTokens(None, (8,), 0)
    assert json.loads((tmp_path / "other" / "generation_config.json").read_text("utf-8"))["temperature"] == 0.6


def test_tokens_of_a_new_model_are_said_so_that_no_default_takes_their_place(tmp_path: Path):
    from tests.builders import gpt_like

    model = gpt_like().build(seed=0)
    save(model, tmp_path / "none")
    theirs = transformers.AutoConfig.from_pretrained(tmp_path / "none")
    assert (theirs.bos_token_id, theirs.eos_token_id) == (None, None)
    assert not (tmp_path / "none" / "generation_config.json").exists()
    model.special = SpecialTokens(1, (2,), 3)
    save(model, tmp_path / "some")
    assert load(tmp_path / "some").special == SpecialTokens(1, (2,), 3)
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path / "some")
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (1, 2, 3)


# Configs as they are published; facts, from memory of what stands on the hub


GPT2 = """{"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
"bos_token_id": 50256,
"embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2",
"n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1,
"summary_activation": null, "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index",
"summary_use_proj": true, "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}},
"vocab_size": 50257}"""
LLAMA_3 = """{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
"bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu",
"hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 131072,
"mlp_bias": false, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
"pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0,
"low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
"tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.45.0.dev0", "use_cache": true,
"vocab_size": 128256}"""
SMOLLM = """{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
"bos_token_id": 0, "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 576,
"initializer_range": 0.041666666666666664,
"intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "model_type": "llama",
"num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
"rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true,
"torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true, "vocab_size": 49152}"""
BERT = """{"architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": false,
"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
"intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert",
"num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0, "position_embedding_type": "absolute",
"transformers_version": "4.6.0.dev0", "type_vocab_size": 2, "use_cache": true, "vocab_size": 30522,
"directionality": "bidi", "pooler_fc_size": 768, "pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3,
"pooler_size_per_head": 128, "pooler_type": "first_token_transform"}"""
FLAN_T5 = """{"architectures": ["T5ForConditionalGeneration"], "d_ff": 1024, "d_kv": 64, "d_model": 512,
"decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "gated-gelu",
"initializer_factor": 1.0, "is_encoder_decoder": true, "layer_norm_epsilon": 1e-06, "model_type": "t5",
"n_positions": 512, "num_decoder_layers": 8, "num_heads": 6, "num_layers": 8, "output_past": true, "pad_token_id": 0,
"relative_attention_max_distance": 128, "relative_attention_num_buckets": 32, "tie_word_embeddings": false,
"task_specific_params": {"summarization": {"early_stopping": true, "prefix": "summarize: "}},
"transformers_version": "4.23.1", "use_cache": true, "vocab_size": 32128}"""


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (GPT2, 124_439_808),
        (LLAMA_3, 1_235_814_400),
        (SMOLLM, 134_515_008),
        (BERT, 109_514_298),
        (FLAN_T5, 76_961_152),
    ],
)
def test_published_configs_have_the_published_sizes(tmp_path: Path, text: str, parameters: int):
    (tmp_path / "config.json").write_text(text, "utf-8")
    config = describe(tmp_path).config
    assert sum(weight.numel() for weight in config.build(seed=None, device="meta").parameters()) == parameters


def test_what_old_versions_wrote_into_every_config(changed):
    keys = {"is_decoder": False, "add_cross_attention": False, "pruned_heads": {}, "tie_encoder_decoder": False}
    assert load(changed("llama", **keys))
    with pytest.raises(CheckpointError, match="keys that this family does not know · got is_decoder=True"):
        load(changed("llama-tied", is_decoder=True))


def test_a_published_config_in_full(tmp_path: Path):
    (tmp_path / "config.json").write_text(LLAMA_3, "utf-8")
    described = describe(tmp_path)
    block = described.config.decoder.blocks[0]
    scaling = Llama3ScalingConfig(factor=32.0, original=8192, low=1.0, high=4.0)
    assert block.attention.positions == RotaryConfig(theta=500_000.0, scaling=scaling)
    assert (block.attention.n_kv_heads, block.attention.head_dim, block.norm.eps) == (8, 64, 1e-5)
    assert described.config.head == TokenHeadConfig(tied=True)
    assert described.special == SpecialTokens(128_000, (128_001, 128_008, 128_009), None)
