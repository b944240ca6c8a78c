"""Where transformers' encoder-decoders are in doubt, or old files odd: what is computed here, and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassformer.checkpoints.folder import describe, load, save
from glassformer.core.errors import CheckpointError
from tests.families.forms import BY_NAME, LABELS, VOCAB, Form
from tests.families.helpers import Pair, close, main_output, make, run_ours, run_theirs, tokens_like

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def edit(folder: Path, tensors: Callable[[dict[str, Tensor]], object] | None = None, **keys: object) -> Path:
    """A folder with other tensors and other keys."""
    if tensors is not None:
        held = load_file(folder / WEIGHTS)
        tensors(held)
        save_file(held, folder / WEIGHTS, {"format": "pt"})
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    (folder / CONFIG).write_text(json.dumps(config | keys), "utf-8")
    return folder


def opened(folder: Path, name: str) -> Pair:
    """What transformers and we make of a folder."""
    form = BY_NAME[name]
    return Pair(form, getattr(transformers, form.architecture).from_pretrained(folder).eval(), load(folder), folder)


@torch.no_grad()
def check_equal(pair: Pair, factor: float = 1.0) -> None:
    tokens, target = tokens_like(2, 12), tokens_like(2, 5, seed=1)
    close(run_ours(pair, tokens, target) * factor, main_output(run_theirs(pair, tokens, target)))


def give_head(tensors: dict[str, Tensor]) -> None:
    tensors["lm_head.weight"] = torch.randn(VOCAB, 32, generator=torch.Generator().manual_seed(4))


# Heads


@torch.no_grad()
@pytest.mark.parametrize("classes", ["Bart", "MBart"])
def test_the_class_of_a_source_is_read_where_its_copy_in_the_target_ends(tmp_path: Path, classes: str):
    """transformers moves the source by one, and takes the decoder's state where the source has its end token."""
    end = 2
    special = {"eos_token_id": end, "pad_token_id": 1, "decoder_start_token_id": end}
    pair = make(Form("classes", f"{classes}ForSequenceClassification", {**LABELS, **special}), tmp_path)
    source = tokens_like(3, 11).clamp(min=3)
    source[:, -1] = end
    moved = torch.cat((source[:, -1:], source[:, :-1]), 1)
    theirs = pair.theirs(input_ids=source).logits
    close(pair.ours(source, moved), theirs)
    longer = torch.cat((source[:2], torch.ones(2, 4, dtype=torch.int64)), 1)
    valid = torch.arange(15)[None].expand(2, -1) < 11
    moved = torch.cat((moved[:2], torch.ones(2, 4, dtype=torch.int64)), 1)
    close(pair.ours(longer, moved, source_valid=valid, target_valid=valid), theirs[:2])


@pytest.mark.parametrize("name", ["mt5", "umt5"])
def test_a_stored_head_that_differs_wins_over_the_tie(tmp_path: Path, name: str):
    """As mT5 is published: transformers calls it tied, and yet computes with the stored head."""
    make(BY_NAME[name], tmp_path / "there")
    pair = opened(edit(tmp_path / "there", give_head), name)
    assert pair.ours.head.proj.weight is not pair.ours.embedding.tokens.weight
    check_equal(pair)
    save(pair.ours, tmp_path / "back")
    before, after = load_file(tmp_path / "there" / WEIGHTS), load_file(tmp_path / "back" / WEIGHTS)
    assert set(after) == set(before) and all(torch.equal(after[one], before[one]) for one in before)
    check_equal(opened(tmp_path / "back", name))


def test_umt5_that_says_it_is_not_tied_has_scores_that_are_not_scaled(tmp_path: Path):
    """As UMT5 is published, and computed before version 5 of transformers, which says tied and scales."""
    make(BY_NAME["umt5"], tmp_path)
    pair = opened(edit(tmp_path, give_head, tie_word_embeddings=False), "umt5")
    assert pair.ours.config.head.scale == 1.0
    check_equal(pair, factor=32**-0.5)


def test_a_bart_without_the_bias_of_its_scores_has_none(tmp_path: Path):
    make(BY_NAME["bart"], tmp_path / "there")
    folder = edit(tmp_path / "there", lambda tensors: tensors.pop("final_logits_bias"))
    pair = opened(folder, "bart")
    assert pair.ours.head.proj.bias is None
    check_equal(pair)
    save(pair.ours, tmp_path / "back")
    assert "final_logits_bias" not in load_file(tmp_path / "back" / WEIGHTS)


# Tables


def test_copies_of_the_one_table_are_known(tmp_path: Path):
    def copy(tensors: dict[str, Tensor]) -> None:
        for name in ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = tensors["model.shared.weight"].clone()

    make(BY_NAME["bart"], tmp_path)
    model = load(edit(tmp_path, copy))
    assert model.embedding.tokens.weight is model.decoder_embedding.tokens.weight is model.head.proj.weight
    assert sum(weight.shape == (VOCAB, 32) for weight in model.parameters()) == 1
    assert model.embedding.positions.weight is not model.decoder_embedding.positions.weight


def test_a_copy_that_differs_is_refused(tmp_path: Path):
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors["model.decoder.embed_tokens.weight"] = tensors["model.shared.weight"] + 1

    make(BY_NAME["bart"], tmp_path)
    with pytest.raises(CheckpointError, match=r"a copy that differs · got model.decoder.embed_tokens.weight"):
        load(edit(tmp_path, spoil))


@torch.no_grad()
def test_files_before_version_5_that_are_not_tied_share_the_table_of_both_sides(tmp_path: Path):
    """Then the head alone was apart; transformers 5 would begin such a model's embeddings anew."""
    pair = make(BY_NAME["bart"], tmp_path / "there")
    folder = edit(tmp_path / "there", give_head, tie_word_embeddings=False)
    model = load(folder)
    pair.theirs.lm_head.weight = torch.nn.Parameter(load_file(folder / WEIGHTS)["lm_head.weight"])
    tokens, target = tokens_like(2, 12), tokens_like(2, 5, seed=1)
    close(model(tokens, target), main_output(run_theirs(pair, tokens, target)))
    save(model, tmp_path / "back")
    check_equal(opened(tmp_path / "back", "bart-untied"))


# Positions


@torch.no_grad()
def test_positions_of_m2m_come_from_what_is_padding_and_not_from_ids(pair_of):
    """transformers gives the padding token's id the place of padding wherever it stands."""
    pair, target = pair_of("m2m"), tokens_like(2, 5, seed=1)
    tokens = tokens_like(2, 9)
    theirs = main_output(run_theirs(pair, tokens, target))
    close(pair.ours(tokens, target), theirs)
    tokens[0, 4] = 1
    ours, theirs = pair.ours(tokens, target), main_output(run_theirs(pair, tokens, target))
    close(ours[1], theirs[1])
    assert (ours[0] - theirs[0]).abs().max() > 1e-2
    embedded = pair.theirs.model.shared(tokens)  # without ids there is nothing to take for padding
    close(ours, pair.theirs(inputs_embeds=embedded, decoder_input_ids=target).logits)


def test_positions_that_files_hold_and_code_computes_are_left(tmp_path: Path):
    make(BY_NAME["pegasus"], tmp_path)
    assert not [name for name in load(tmp_path).state_dict() if "positions" in name]


# What is not computed


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("bart", "normalize_before", True),
        ("bart", "add_final_layer_norm", True),
        ("bart", "normalize_embedding", False),
        ("bart", "static_position_embeddings", True),
        ("bart", "add_bias_logits", True),
        ("bart", "num_hidden_layers", 7),
        ("mbart", "normalize_before", False),
        ("marian", "share_encoder_decoder_embeddings", False),
        ("marian", "decoder_vocab_size", 70),
        ("mt5", "scale_decoder_outputs", True),
    ],
)
def test_what_is_not_computed_is_refused_by_name(tmp_path: Path, name: str, key: str, value: object):
    make(BY_NAME[name], tmp_path)
    with pytest.raises(CheckpointError, match=key):
        describe(edit(tmp_path, **{key: value}))


def test_what_targets_begin_with_is_read(tmp_path: Path):
    make(BY_NAME["bart"], tmp_path)
    (tmp_path / "generation_config.json").unlink()
    found = load(edit(tmp_path, decoder_start_token_id=7, forced_bos_token_id=9))
    assert found.special.decoder_start == 7 and found.origin.kept["forced_bos_token_id"] == 9
