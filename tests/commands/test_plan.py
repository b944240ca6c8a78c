"""``glassformer plan``: the memory of a step before it runs, and the settings that fit."""

from __future__ import annotations

import json

import pytest

from glassformer.__main__ import main
from glassformer.commands.plan import size_of
from glassformer.core.errors import ConfigError
from glassformer.train.presets import gpt, preset
from tests.checkpoints.tiny import written


def plan(capsys, *options: str) -> dict:
    assert main(["plan", *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_preset_a_description_and_a_folder(tmp_path, capsys):
    preset("gpt-tiny", 4096, 256).save(tmp_path / "tiny.json")
    by_name, by_file = plan(capsys), plan(capsys, "--model", str(tmp_path / "tiny.json"))
    assert by_name == by_file and by_name["weights"] == 4 * preset("gpt-tiny", 4096, 256).build().summary().parameters
    config = gpt(60, 32, d_model=16, n_layers=1, n_heads=2)
    folder = plan(capsys, "--model", str(written(tmp_path / "model", config)), "--context", "16")
    assert folder["weights"] == 4 * config.build().summary().parameters


OBJECTIVES = {"next_token": "llama-tiny", "masked_token": "bert-tiny", "classify": "bert-tiny", "regress": "bert-tiny",
              "tag": "bert-tiny", "sequence_to_sequence": "t5-tiny"}  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_longer_context_holds_more(objective, capsys):
    said = ["--objective", objective, "--model", OBJECTIVES[objective], "--batch-tokens", "4096"]
    short, long = (plan(capsys, *said, "--context", context)["activations"] for context in ("128", "256"))
    assert short > 0 and 0.7 < long / short < 2.5  # as many tokens in all


def test_what_fits_is_said_from_the_fastest_on(capsys):
    said = ["--model", "llama-small", "--batch-tokens", "16384", "--memory", "900M"]
    found = plan(capsys, *said)
    assert found["total"] > size_of("900M") and [way["recompute"] for way in found["fits"]] == [
        None,
        "products",
        "blocks",
    ]
    tokens = [way["micro_tokens"] for way in found["fits"]]
    assert tokens == sorted(tokens) and all(way["total"] <= size_of("900M") for way in found["fits"])
    assert main(["plan", *said]) == 0
    assert "fits in 900M: --micro-tokens" in capsys.readouterr().out


def test_sizes_and_what_cannot_be(capsys):
    assert size_of("6GiB") == 6 << 30 and size_of("1.5 GB") == 3 << 29 and size_of("500M") == 500 << 20
    for wrong in ("", "G", "6Gx", "much"):
        with pytest.raises(ConfigError, match="not a size"):
            size_of(wrong)
    assert main(["plan", "--memory", "1M"]) == 2
    assert "no setting makes it fit" in capsys.readouterr().err
    assert main(["plan", "--objective", "masked_token"]) == 2
    assert "masked-token training" in capsys.readouterr().err
