"""Where transformers is wrong about mixtures of experts, and we are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glassformer.checkpoints.folder import load
from glassformer.core.errors import CheckpointError
from tests.families.forms import BY_NAME, Form
from tests.families.forms.phimoe import LONG
from tests.families.helpers import build, close, make, tokens_like


@torch.no_grad()
def test_phimoe_turns_long_rows_by_its_long_factors(tmp_path: Path):
    """transformers computes the factors anew in every forward without the row's length, and so always takes the short
    ones; Microsoft's own code, which the models were trained with, takes the long ones behind the limit."""
    settings = {"rope_parameters": {**LONG, "original_max_position_embeddings": 8}}
    pair = make(Form("long", "PhimoeForCausalLM", settings), tmp_path / "long")
    tokens = tokens_like(2, 20)
    their_long = build(
        Form("swapped", "PhimoeForCausalLM", {"rope_parameters": {**LONG, "short_factor": LONG["long_factor"]}})
    )
    close(pair.ours(tokens), their_long(tokens).logits, "long row")
    close(pair.ours(tokens[:, :8]), pair.theirs(tokens[:, :8]).logits, "short row")
    assert not torch.allclose(pair.theirs(tokens).logits, their_long(tokens).logits, atol=1e-3)


def test_phimoe_with_unequal_gains_is_refused(tmp_path: Path):
    """transformers chooses one by the longest row of a batch, so that a row would hang on its neighbours."""
    form = Form("unequal", "PhimoeForCausalLM", {"rope_parameters": {**LONG, "long_mscale": 1.4}})
    build(form).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"rope_parameters: not supported · got longrope, \[1\.3, 1\.4\]"):
        load(tmp_path)


@torch.no_grad()
def test_padding_takes_no_place_in_an_expert_of_switch(tmp_path: Path):
    """In transformers a padding token is routed as any other, and a full expert then drops the row's own tokens."""
    pair = make(BY_NAME["switch-capacity"], tmp_path)
    row, target = tokens_like(1, 12), tokens_like(1, 4, seed=1)
    padded = torch.cat((torch.zeros(1, 20, dtype=torch.int64), row), 1)
    valid = padded > 0
    alone = pair.theirs(input_ids=row, decoder_input_ids=target).logits
    close(pair.ours(padded, target, source_valid=valid), alone, "ours")
    theirs = pair.theirs(input_ids=padded, attention_mask=valid.long(), decoder_input_ids=target).logits
    assert (theirs - alone).abs().max() > 1e-3 * alone.abs().max()
