"""Encoders: what odd and old files mean, where transformers is in doubt, and configs as they are published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from glassformer.checkpoints.folder import describe, load, save
from glassformer.core.errors import CheckpointError
from glassformer.models.transformer import SpecialTokens, TransformerConfig
from glassformer.parts.disentangled import DisentangledConfig, DistanceVectorsConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.parts.positions import LearnedPositionsConfig
from tests.builders import bert_like
from tests.families.forms import BY_NAME
from tests.families.helpers import Pair, close, main_output, run_ours, run_theirs, tokens_like

WEIGHTS = "model.safetensors"


@torch.no_grad()
def check_equal(folder: Path, name: str) -> None:
    """transformers and we read the folder alike."""
    form = BY_NAME[name]
    theirs = getattr(transformers, form.architecture).from_pretrained(folder).eval()
    pair = Pair(form, theirs, load(folder), folder)
    close(run_ours(pair, tokens_like(2, 12)), main_output(run_theirs(pair, tokens_like(2, 12))))


# Positions


@torch.no_grad()
@pytest.mark.parametrize("name", ["roberta", "mpnet"])
def test_positions_come_from_what_is_padding_and_not_from_ids(pair_of, name: str):
    """transformers would not count the token 1, and give the ones behind it other places."""
    pair, place = pair_of(name), torch.arange(9)[None] + 2
    tokens = tokens_like(1, 9)
    tokens[0, 4] = 1
    close(pair.ours(tokens), main_output(run_theirs(pair, tokens, position_ids=place)))
    assert (main_output(run_theirs(pair, tokens)) - pair.ours(tokens)).abs().max() > 0.1


def test_mpnet_counts_from_two_whatever_its_padding_token(changed):
    folder = changed("mpnet", pad_token_id=7)
    assert load(folder).config.embedding.positions == LearnedPositionsConfig(max_positions=64, offset=2)
    check_equal(folder, "mpnet")


def test_other_buckets_than_those_of_transformers_are_refused(changed):
    """It builds the table that the key says and then looks 32 buckets up: fewer crash, more are never used."""
    with pytest.raises(CheckpointError, match="relative_attention_num_buckets: not supported · got 8 · expected 32"):
        load(changed("mpnet", relative_attention_num_buckets=8))


def test_a_table_of_positions_that_is_all_offset_is_refused(changed):
    with pytest.raises(CheckpointError, match=r"LearnedPositionsConfig.max_positions: cannot be built · got 0"):
        load(changed("roberta", max_position_embeddings=2))


@torch.no_grad()
def test_a_new_model_says_the_padding_token_from_which_its_positions_count(tmp_path: Path):
    config = bert_like()
    positions = LearnedPositionsConfig(max_positions=64, offset=2)
    config = config.replace(embedding=config.embedding.replace(positions=positions))
    block = config.encoder.blocks[0].replace(norm=config.embedding.norm)
    transform = config.head.transform.replace(norm=block.norm)
    head = TokenHeadConfig(bias=True, transform=transform)
    stack = config.encoder.replace(blocks=(block, block))
    model = config.replace(encoder=stack, pooler=None, head=head).build(seed=0)
    assert save(model, tmp_path / "new", family="roberta") == "roberta"
    theirs = transformers.RobertaForMaskedLM.from_pretrained(tmp_path / "new").eval()
    assert theirs.config.pad_token_id == 1
    close(model(tokens_like(2, 9)), theirs(tokens_like(2, 9)).logits)
    model.special = SpecialTokens(pad=5)
    with pytest.raises(CheckpointError, match=r"embedding.positions.*roberta format cannot say"):
        save(model, tmp_path / "other", family="roberta")


# Poolers and heads


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert-hidden", "roberta-hidden", "albert-hidden", "mpnet-hidden"])
def test_a_bare_model_pools_as_transformers_does(pair_of, name: str):
    pair, tokens = pair_of(name), tokens_like(3, 9)
    with pair.ours.trace() as trace:
        trace.read("pooler.output")
        pair.ours(tokens)
    close(trace["pooler.output"], run_theirs(pair, tokens).pooler_output)


@pytest.mark.parametrize("name", ["roberta-hidden", "albert-hidden", "mpnet-hidden"])
def test_a_bare_model_without_a_pooler_is_one(changed, tmp_path: Path, name: str):
    """transformers would make one from nothing."""

    def cut(tensors: dict[str, Tensor]) -> None:
        for one in [one for one in tensors if "pooler" in one]:
            del tensors[one]

    folder = changed(name, cut)
    model = load(folder)
    assert describe(folder).config.pooler is None and model.pooler is None
    save(model, tmp_path / "back")
    assert set(load_file(tmp_path / "back" / WEIGHTS)) == set(load_file(folder / WEIGHTS))
    check_equal(folder, name)


@pytest.mark.parametrize("name", ["roberta-classify", "mpnet-classify", "xlm-roberta-classify"])
def test_a_classifier_that_kept_the_pooler_of_its_backbone(changed, name: str):
    """As roberta-large-mnli is stored: the classifier has a dense layer of its own, and nothing reads the pooler."""
    prefix = "mpnet" if name.startswith("mpnet") else "roberta"
    old = {f"{prefix}.pooler.dense.weight": torch.ones(32, 32), f"{prefix}.pooler.dense.bias": torch.ones(32)}
    check_equal(changed(name, lambda tensors: tensors.update(old)), name)


def test_a_masked_albert_with_the_tensors_of_pretraining_has_both_heads(changed):
    folder = changed("albert-pretrain", architectures=["AlbertForMaskedLM"])
    model = load(folder)
    assert "head.sentence_logits" in model.value_names() and model.pooler is not None
    theirs = transformers.AlbertForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        close(model(tokens_like(2, 9)), theirs(tokens_like(2, 9)).logits)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta"])
@torch.no_grad()
def test_regression_and_many_labels_are_the_same_head(changed, name: str):
    """What differs is the loss: one score, or scores that each stand for themselves."""

    def one(tensors: dict[str, Tensor]) -> None:
        for key in [key for key in tensors if key.startswith("classifier") and tensors[key].shape[0] == 3]:
            tensors[key] = tensors[key][:1].clone()

    keys = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "problem_type": "regression"}
    folder = changed(f"{name}-classify", one, **keys)
    assert load(folder)(tokens_like(2, 5)).shape == (2, 1)
    check_equal(folder, f"{name}-classify")
    many = changed(f"{name}-classify", problem_type="multi_label_classification")
    assert load(many).config.head.n_labels == 3
    check_equal(many, f"{name}-classify")


@torch.no_grad()
def test_choices_are_rows_and_padding_does_not_matter(pair_of):
    """transformers has an axis of choices; here they are rows, which a caller folds."""
    pair = pair_of("bert-choice")
    questions = tokens_like(2, 3, 8)
    valid = torch.arange(8) < torch.tensor([8, 5, 3, 8, 2, 6])[:, None]
    their = pair.theirs(input_ids=questions, attention_mask=valid.view(2, 3, 8).long()).logits
    close(pair.ours(questions.flatten(0, 1), valid=valid).view(2, 3), their)


# ELECTRA, ALBERT


def test_a_summary_that_is_activated_without_a_projection_is_refused(changed):
    with pytest.raises(CheckpointError, match="summary_use_proj: not supported · got False, with a summary_activation"):
        load(changed("electra-choice-bare", summary_activation="tanh"))
    assert load(changed("electra", summary_use_proj=False))  # no summary, no matter


def test_groups_of_layers_that_are_used_once_have_one_inner_layer(changed):
    """Two groups of one layer and one of two share nothing alike: names in a file could mean either."""
    with pytest.raises(CheckpointError, match="inner_group_num: not supported · got 2, in groups that are used once"):
        load(changed("albert-apart", inner_group_num=2))


def test_an_albert_as_wide_as_its_embeddings_is_refused(changed):
    """transformers keeps a projection then, which our embedding has not."""
    with pytest.raises(CheckpointError, match="embedding_size: not supported · got 32 · expected another width"):
        load(changed("albert", embedding_size=32))


def test_layers_that_share_weights_are_stored_once_and_stay_shared(pair_of):
    model = pair_of("albert-inner").ours
    weights = [block.attention.q_proj.weight for block in model.encoder.blocks]
    assert model.config.encoder.weights_of == (0, 1, 0, 1, 0, 1, 6, 7, 6, 7)
    assert all(weights[layer] is weights[of] for layer, of in enumerate(model.config.encoder.weights_of))


# ModernBERT, DeBERTa


def test_an_odd_window_is_the_even_one_below(changed):
    folder = changed("modernbert", local_attention=7)
    assert load(folder).config.encoder.blocks[1].attention.window == 4
    check_equal(folder, "modernbert")


def test_the_words_of_the_first_modernbert(changed):
    """Bases and which layers see all, as they were said before version 5."""
    older = {"global_attn_every_n_layers": 2, "global_rope_theta": 900.0, "local_rope_theta": 30.0}
    folder = changed("modernbert", rope_parameters=..., layer_types=..., **older)
    blocks = load(folder).config.encoder.blocks
    assert [block.attention.positions.theta for block in blocks] == [900.0, 30.0, 900.0, 30.0]
    check_equal(folder, "modernbert")


def test_two_tables_of_rotary_settings_that_differ_are_refused(changed):
    """transformers takes the older one, and forgets the base that the newer one says."""
    with pytest.raises(CheckpointError, match=r"rope_scaling: two settings that differ .* expected rope_theta as in"):
        load(changed("nomic_bert-linear", rope_scaling={"rope_type": "linear", "factor": 2.0}))
    scaling = {"rope_type": "linear", "factor": 2.0, "rope_theta": 50.0}
    check_equal(changed("nomic_bert-linear", rope_scaling=scaling), "nomic_bert-linear")


def test_what_only_some_debertas_have_is_refused_by_name(changed):
    others = {"conv_kernel_size": 3, "embedding_size": 16, "legacy": False, "pos_att_type": "p2p"}
    for key, value in others.items():
        with pytest.raises(CheckpointError, match=f"{key}: not supported"):
            load(changed("deberta", **{key: value}))


def test_deberta_keeps_no_positions_that_it_does_not_add(changed):
    """Nor the detector of its pre-training; transformers leaves both, too."""

    def old(tensors: dict[str, Tensor]) -> None:
        tensors["deberta.embeddings.position_embeddings.weight"] = torch.ones(64, 32)
        tensors["mask_predictions.dense.weight"] = torch.ones(32, 32)

    check_equal(changed("deberta", old, pos_att_type="p2c|c2p"), "deberta")


@torch.no_grad()
def test_the_first_deberta_v3_is_read_with_its_own_head(changed, pair_of, tmp_path: Path):
    """Its config names no class and its head has other names; transformers reads it if told ``legacy: false``."""

    def age(tensors: dict[str, Tensor]) -> None:
        names = {"cls.predictions.transform": "lm_predictions.lm_head", "cls.predictions": "lm_predictions.lm_head"}
        for new, old in names.items():
            for one in [one for one in tensors if one.startswith(f"{new}.")]:
                tensors[one.replace(new, old)] = tensors.pop(one)
        tensors["mask_predictions.dense.weight"] = torch.ones(32, 32)

    folder = changed("deberta", age, architectures=..., legacy=...)
    model = load(folder)
    config = transformers.DebertaV2Config.from_pretrained(folder, legacy=False)
    theirs = transformers.DebertaV2ForMaskedLM.from_pretrained(folder, config=config).eval()
    close(model(tokens_like(2, 9)), theirs(tokens_like(2, 9)).logits)
    assert "lm_predictions.lm_head.bias" in load_file(folder / WEIGHTS)
    save(model, tmp_path / "back")
    assert set(load_file(tmp_path / "back" / WEIGHTS)) == set(load_file(pair_of("deberta").folder / WEIGHTS))
    check_equal(tmp_path / "back", "deberta")


# Configs as they are published; facts, from memory of what stands on the hub


ROBERTA = """{"architectures": ["RobertaForMaskedLM"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0,
"eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
"intermediate_size": 3072, "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "roberta",
"num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1, "type_vocab_size": 1, "vocab_size": 50265}"""
DISTILBERT = """{"activation": "gelu", "architectures": ["DistilBertForMaskedLM"], "attention_dropout": 0.1, "dim": 768,
"dropout": 0.1, "hidden_dim": 3072, "initializer_range": 0.02, "max_position_embeddings": 512,
"model_type": "distilbert", "n_heads": 12, "n_layers": 6, "pad_token_id": 0, "qa_dropout": 0.1,
"seq_classif_dropout": 0.2, "sinusoidal_pos_embds": false, "tie_weights_": true,
"transformers_version": "4.10.0.dev0", "vocab_size": 30522}"""
ALBERT = """{"architectures": ["AlbertForMaskedLM"], "attention_probs_dropout_prob": 0, "bos_token_id": 2,
"classifier_dropout_prob": 0.1, "down_scale_factor": 1, "embedding_size": 128, "eos_token_id": 3, "gap_size": 0,
"hidden_act": "gelu_new", "hidden_dropout_prob": 0, "hidden_size": 768, "initializer_range": 0.02,
"inner_group_num": 1, "intermediate_size": 3072, "layer_norm_eps": 1e-12, "layers_to_keep": [],
"max_position_embeddings": 512, "model_type": "albert", "net_structure_type": 0, "num_attention_heads": 12,
"num_hidden_groups": 1, "num_hidden_layers": 12, "num_memory_blocks": 0, "pad_token_id": 0, "type_vocab_size": 2,
"vocab_size": 30000}"""
MODERNBERT = """{"architectures": ["ModernBertForMaskedLM"], "attention_bias": false, "attention_dropout": 0.0,
"bos_token_id": 50281, "classifier_activation": "gelu", "classifier_bias": false, "classifier_dropout": 0.0,
"classifier_pooling": "mean", "cls_token_id": 50281, "decoder_bias": true, "deterministic_flash_attn": false,
"embedding_dropout": 0.0, "eos_token_id": 50282, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
"gradient_checkpointing": false, "hidden_activation": "gelu", "hidden_size": 768, "initializer_cutoff_factor": 2.0,
"initializer_range": 0.02, "intermediate_size": 1152, "layer_norm_eps": 1e-05, "local_attention": 128,
"local_rope_theta": 10000.0, "max_position_embeddings": 8192, "mlp_bias": false, "mlp_dropout": 0.0,
"model_type": "modernbert", "norm_bias": false, "norm_eps": 1e-05, "num_attention_heads": 12, "num_hidden_layers": 22,
"pad_token_id": 50283, "position_embedding_type": "absolute", "sep_token_id": 50282, "tie_word_embeddings": true,
"torch_dtype": "float32", "transformers_version": "4.47.0.dev0", "vocab_size": 50368}"""
DEBERTA_V3 = """{"model_type": "deberta-v2", "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
"hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
"max_position_embeddings": 512, "relative_attention": true, "position_buckets": 256, "norm_rel_ebd": "layer_norm",
"share_att_key": true, "pos_att_type": "p2c|c2p", "layer_norm_eps": 1e-7, "max_relative_positions": -1,
"position_biased_input": false, "num_attention_heads": 12, "num_hidden_layers": 12, "type_vocab_size": 0,
"vocab_size": 128100}"""


def published(tmp_path: Path, text: str) -> TransformerConfig:
    (tmp_path / "config.json").write_text(text, "utf-8")
    return describe(tmp_path).config


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (ROBERTA, 124_697_433),
        (DISTILBERT, 66_985_530),
        (ALBERT, 11_221_680),
        (MODERNBERT, 149_655_232),
        (DEBERTA_V3, 183_831_552),
    ],
)
def test_published_configs_have_the_published_sizes(tmp_path: Path, text: str, parameters: int):
    model = published(tmp_path, text).build(seed=None, device="meta")
    assert sum(weight.numel() for weight in model.parameters()) == parameters


def test_a_published_deberta_in_full(tmp_path: Path):
    stack = published(tmp_path, DEBERTA_V3).encoder
    attention = stack.blocks[0].attention
    assert isinstance(attention, DisentangledConfig) and attention.shared and len(attention.terms) == 2
    assert stack.positions == DistanceVectorsConfig(reach=512, buckets=256, norm=stack.blocks[0].norm)
