"""Runs whose trained weights are others than those that they measure and save."""

from __future__ import annotations

import io
import json
import signal
import warnings

import peft
import pytest
import torch
import transformers

from glassformer.checkpoints.folder import load
from glassformer.core.errors import ConfigError
from glassformer.core.terminal import Progress
from glassformer.models.adapters import adapt, adapters_of, merged
from glassformer.parts.lora import LoraConfig
from glassformer.train.groups import GroupRule
from glassformer.train.log import TIMED, read_metrics
from glassformer.train.loop import resume, train
from glassformer.train.optimizers import AdafactorConfig, AdamWConfig, MuonConfig
from tests.train import tiny
from tests.train.test_loop import stopping

LORA = LoraConfig(targets=("*_proj",), rank=4, dropout=0.1)
TOKENS = torch.tensor([list(b"9 green bottles")])


@pytest.fixture
def begin(tmp_path):
    """Train a model in ``tmp_path / name``."""

    def run(name, model, *, data=None, **changes):
        data, config = data or tiny.data(tmp_path / "text"), tiny.plan(**changes)
        with Progress(io.StringIO()) as shown:
            return train(model, data, config, out=tmp_path / name, progress=shown)

    return run


def compared(run):
    return [{name: value for name, value in entry.items() if name not in TIMED} for entry in read_metrics(run)]


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def test_a_run_trains_its_adapter_alone_and_saves_it_merged_and_by_itself(begin, tmp_path):
    begin("base", tiny.model(), steps=30, optimizer=MuonConfig(), dropout=0.0)
    model = load(tmp_path / "base")
    before = weights(model)
    run = begin("run", model, steps=30, lora=LORA, learning_rate=0.01, dropout=0.0)
    first, last = run.validation[0][1]["loss"], run.validation[-1][1]["loss"]
    assert last < first - 0.03
    assert len(adapters_of(model)) == 7
    after = weights(model)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert {name.rpartition(".")[2] for name in set(after) - set(before)} == {"lora_a", "lora_b"}
    want = model(TOKENS)
    with torch.no_grad():
        torch.testing.assert_close(run.last()(TOKENS), want, rtol=1e-5, atol=1e-5)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run/step-00000030")
        torch.testing.assert_close(theirs(TOKENS).logits, want, rtol=1e-4, atol=1e-5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
            tuned = peft.PeftModel.from_pretrained(base, tmp_path / "run/step-00000030/adapter")
        torch.testing.assert_close(tuned(TOKENS).logits, want, rtol=1e-4, atol=1e-5)
    again = load(tmp_path / "base", adapter=tmp_path / "run/step-00000030/adapter")
    torch.testing.assert_close(again(TOKENS), want, rtol=1e-5, atol=1e-5)
    assert json.loads((tmp_path / "run/run.json").read_text())["train"]["lora"]["kind"] == "LoraConfig"


RUNS = {
    "adapter": {"lora": LORA},
    "adapter of DoRA, with averages and Muon": {
        "lora": LORA.replace(dora=True),
        "ema": 0.7,
        "optimizer": MuonConfig(),
    },
    "averages": {"ema": 0.9},
    "Adafactor, by layers, unfrozen one by one": {
        "optimizer": AdafactorConfig(
            layer_decay=0.8,
            groups=(GroupRule(names="embedding.*", begins=0.6), GroupRule(names="*.blocks.*", begins=0.3)),
        )
    },
}


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_goes_on_bit_for_bit(name, begin, tmp_path):
    settings = {"steps": 14, "learning_rate": 0.03, "eval_every": 4, **RUNS[name]}
    models = [tiny.model(), tiny.model()]
    begin("unbroken", models[0], **settings)
    data = stopping(tiny.data(tmp_path / "text"), signal.SIGTERM, stop_at=6)
    assert not begin("stopped", models[1], data=data, **settings).is_finished
    assert resume(tmp_path / "stopped", progress=Progress(io.StringIO())).is_finished
    assert compared(tmp_path / "stopped") == compared(tmp_path / "unbroken")
    for file in ("model.safetensors", "training.safetensors"):
        one, two = ((tmp_path / run / "step-00000014" / file).read_bytes() for run in ("stopped", "unbroken"))
        assert one == two, file


def test_what_is_measured_and_published_are_the_averages(begin, tmp_path):
    model = tiny.model()
    run = begin("run", model, steps=12, ema=0.9, eval_every=12)
    published, trained = run.last(), weights(model)
    assert any(not torch.equal(weight, trained[name]) for name, weight in published.named_parameters())
    begin("plain", tiny.model(), steps=12, save_every=1, keep=12)  # the same steps, each of them saved
    average = weights(tiny.model())
    for step in range(1, 13):
        then = weights(load(tmp_path / f"plain/step-{step:08}"))
        average = {name: 0.9 * value + 0.1 * then[name] for name, value in average.items()}
    for name, weight in published.named_parameters():
        torch.testing.assert_close(weight, average[name], rtol=1e-5, atol=1e-6)


def test_frozen_layers_stay_as_they_are(begin, tmp_path):
    model = tiny.model()
    before = weights(model)
    rules = (GroupRule(names="*.norm.*"), GroupRule(names="*", frozen=True))
    begin("run", model, steps=4, optimizer=AdamWConfig(groups=rules))
    changed = {name for name, weight in weights(model).items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if ".norm." in name}
    assert set(weights(load(tmp_path / "run"))) == set(before)


def test_an_adapter_that_is_there_already_is_refused(begin):
    model = tiny.model()
    adapt(model, LORA)
    with pytest.raises(ConfigError, match=r"a model with an adapter · merge it first"):
        begin("run", model)
    with merged(model):
        assert not adapters_of(model)
    with pytest.raises(ConfigError, match="ema"):
        tiny.plan(ema=1.0)
