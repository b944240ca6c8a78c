from __future__ import annotations

import errno
import io
import json
import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import transformers

from glassformer.__main__ import report
from glassformer.checkpoints.folder import load
from glassformer.core import discovery
from glassformer.core.errors import CheckpointError, ConfigError, DataError, DivergedError, UnknownNameError
from glassformer.core.terminal import Progress
from glassformer.data.sampling import Windows
from glassformer.tokenizers.kinds import byte_tokenizer
from glassformer.tokenizers.tokenizer import Tokenizer
from glassformer.train import folder as checkpoints
from glassformer.train.config import TrainConfig
from glassformer.train.files import Files
from glassformer.train.log import TIMED, MetricsLog, read_metrics
from glassformer.train.loop import resume, train
from glassformer.train.optimizers import MuonConfig
from glassformer.train.run import open_run
from glassformer.train.schedules import ConstantConfig
from glassformer.train.spikes import Recent
from glassformer.train.state import Machine, State
from tests.train import tiny


@pytest.fixture
def said():
    return io.StringIO()


@pytest.fixture
def begin(tmp_path, said):
    """Train the tiny model in ``tmp_path / name``."""

    def run(name="run", *, data=None, model=None, machine=None, **changes):
        data = data or tiny.data(tmp_path / "text")
        config = tiny.plan(**changes)
        where = tmp_path / name
        with Progress(said) as shown:
            return train(model or tiny.model(), data, config, out=where, machine=machine, progress=shown)

    return run


def compared(run):
    return [{name: value for name, value in entry.items() if name not in TIMED} for entry in read_metrics(run)]


# -- what a run leaves behind -----------------------------------------------------------------------------------------


def test_a_run_learns_and_leaves_a_model_folder(begin, tmp_path, said):
    run = begin(steps=60, optimizer=MuonConfig(), dropout=0.0)
    assert run.is_finished
    assert run.steps == len(run.loss) == 60
    assert run.loss[0] > 5.4
    assert run.loss[-1] < 3.5
    assert run.tokens_per_second > 0
    assert [step for step, _ in run.validation] == [6, 12, 18, 24, 30, 36, 42, 48, 54, 60]
    first, last = run.validation[0][1], run.validation[-1][1]
    assert last["loss"] < first["loss"]
    assert last["bits_per_byte"] == pytest.approx(last["loss"] / math.log(2), rel=1e-6)
    assert 60 * 120 < run.entries[-1]["tokens"] <= 60 * 128  # the last window of an epoch is not full
    ours = load(tmp_path / "run")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    ids = torch.tensor([list(b"9 green bottles")])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids), rtol=1e-4, atol=1e-4)
    assert Tokenizer.load(tmp_path / "run") == byte_tokenizer()
    assert ours.special.end == (256,)
    text = said.getvalue()
    assert "step 60/60 · loss" in text
    assert "validation" in text
    assert "step 60 writes: " in text


def test_the_best_model_is_kept_and_published(begin, tmp_path):
    """At far too high a constant rate the loss goes up and down, so that the last is not the best."""
    run = begin(steps=40, learning_rate=3.0, schedule=ConstantConfig(), eval_every=2, save_every=40, seed=2)
    best_step, best = min(run.validation, key=lambda found: found[1]["loss"])
    assert best_step < 40
    weights = dict(run.best().named_parameters())
    kept = load(tmp_path / f"run/step-{best_step:08}")
    published = load(tmp_path / "run")
    for name, weight in kept.named_parameters():
        assert torch.equal(weights[name], weight)
        assert torch.equal(published.get_parameter(name), weight)
    assert any(not torch.equal(weight, weights[name]) for name, weight in run.last().named_parameters())
    facts = json.loads((tmp_path / f"run/step-{best_step:08}/training.json").read_text())
    assert facts["validation_loss"] == facts["best_loss"] == best["loss"]


def test_everything_is_as_it_was_before(begin):
    model = tiny.model()
    before, handler = torch.random.get_rng_state(), signal.getsignal(signal.SIGINT)
    begin(model=model)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not model.training
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(model.train()(tokens), model.eval()(tokens))


def test_the_same_seed_is_the_same_run_and_micro_batches_change_rounding_only(begin, tmp_path):
    for name, changes in {"a": {}, "b": {}, "c": {"seed": 1}, "d": {"micro_tokens": 32, "dropout": 0.0}}.items():
        begin(name, steps=4, **changes)
    begin("e", steps=4, dropout=0.0)
    assert compared(tmp_path / "a") == compared(tmp_path / "b")
    assert compared(tmp_path / "a") != compared(tmp_path / "c")
    losses = [[entry["loss"] for entry in compared(tmp_path / name)] for name in "de"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_budgets_in_tokens_and_minutes(begin):
    assert begin("tokens", steps=None, tokens=1000).steps == 8
    run = begin("minutes", steps=None, minutes=0.005)
    assert run.is_finished
    assert run.entries[-1]["seconds"] >= 0.3
    assert run.entries[0]["learning_rate"] < run.entries[len(run.entries) // 2]["learning_rate"]
    assert 1 <= len(run.validation) <= 10


def test_a_longer_context_in_the_second_half(begin):
    model, seen = tiny.model(), []
    model.register_forward_pre_hook(lambda part, inputs: seen.append(tuple(inputs[0].shape)) if part.training else None)
    begin(model=model, steps=4, context=(8, 32), batch_tokens=64)
    assert seen == [(8, 8), (8, 8), (2, 32), (2, 32)]


def test_text_without_validation_is_trained_on_all_the_same(begin, tmp_path):
    data = tiny.data(tmp_path / "text", train_on=("train", "validation"))
    run = begin(data=data, steps=5)
    assert run.validation == []
    assert run.best().config == run.last().config
    assert (tmp_path / "run/model.safetensors").exists()


def test_compiling_is_asked_for(begin, monkeypatch):
    model, asked = tiny.model(), []
    monkeypatch.setattr(type(model), "compile", lambda self: asked.append(self))
    begin(model=model, steps=1, machine=Machine(compile=True))
    assert asked == [model]
    with pytest.raises(ConfigError, match="float32 or bfloat16"):
        Machine(dtype="float16")


def test_mixed_precision_trains_and_is_written_down(begin, tmp_path):
    run = begin(steps=3, machine=Machine(dtype="bfloat16"))
    assert run.loss[-1] < run.loss[0]
    assert json.loads((tmp_path / "run/run.json").read_text())["machine"]["dtype"] == "bfloat16"


OBJECTIVE = """
from glassformer.train.objectives.next_token import NextTokenConfig


class HalfConfig(NextTokenConfig):
    share: float = 0.5

    def loss_sum(self, model, batch):
        total, metrics = super().loss_sum(model, batch)
        return total * self.share, metrics


OBJECTIVE = HalfConfig
"""


def test_a_new_file_in_the_folder_adds_an_objective(begin, drop_in, tmp_path):
    drop_in("train.objectives", "half", OBJECTIVE)
    half = discovery.load("train.objectives", "half").OBJECTIVE
    halves, whole = begin("half", steps=2, objective=half()), begin("whole", steps=2)
    assert halves.loss[0] == pytest.approx(whole.loss[0] / 2)
    said = json.loads((tmp_path / "half/run.json").read_text())["train"]
    assert TrainConfig.from_json(said).objective == half()
    with pytest.raises(UnknownNameError, match="nothing called 'quarter'"):
        discovery.load("train.objectives", "quarter")


# -- stopping and going on --------------------------------------------------------------------------------------------


class StoppingSampler(Windows):
    """Sends its own process a signal when it is asked for a certain batch."""

    def draw(self, cursor, rows, length, progress=0.0):
        if cursor[0] == self.stop_at * 128:
            os.kill(os.getpid(), self.number)
        return super().draw(cursor, rows, length, progress)


def stopping(data, number, stop_at):
    sampler = StoppingSampler(data.sampler.stream, data.sampler.seed)
    object.__setattr__(sampler, "number", number)
    object.__setattr__(sampler, "stop_at", stop_at)
    object.__setattr__(data, "sampler", sampler)
    return data


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_finish_and_the_rest_is_bit_for_bit(begin, tmp_path, said, number):
    begin("unbroken", steps=20)
    stopped = begin("stopped", steps=20, data=stopping(tiny.data(tmp_path / "text"), number, stop_at=6))
    assert stopped.stopped_by == number.name
    assert not stopped.is_finished
    assert stopped.steps == 7
    assert f"stopped after step 7 by {number.name}; everything is saved · go on with: glassformer train --resume" in (
        said.getvalue()
    )
    run = resume(tmp_path / "stopped", progress=Progress(said))
    assert run.is_finished
    assert compared(tmp_path / "stopped") == compared(tmp_path / "unbroken")
    weights = [(tmp_path / name / "step-00000020/model.safetensors").read_bytes() for name in ("stopped", "unbroken")]
    assert weights[0] == weights[1]


def test_a_second_signal_acts_at_once(begin, tmp_path):
    class Twice(StoppingSampler):
        def draw(self, cursor, rows, length, progress=0.0):
            if cursor[0] == 128:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            return Windows.draw(self, cursor, rows, length, progress)

    data = tiny.data(tmp_path / "text")
    object.__setattr__(data, "sampler", Twice(data.sampler.stream, 0))
    with pytest.raises(KeyboardInterrupt):
        begin(data=data, save_every=1)
    assert resume(tmp_path / "run", progress=Progress(io.StringIO())).is_finished


def test_a_thread_trains_without_touching_signals(begin):
    found = []
    thread = threading.Thread(target=lambda: found.append(begin(steps=2)))
    thread.start()
    thread.join()
    assert found[0].is_finished


def test_killed_at_any_moment_it_goes_on_bit_for_bit(tmp_path):
    command = [sys.executable, "-m", "tests.train.kill_loop", str(tmp_path), "12", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["difference"] == ""
    assert found["kills"] >= 12


@pytest.mark.parametrize("bug", ["random state", "data restarts", "moments forgotten"])
def test_the_kill_loop_itself_notices_a_bug(tmp_path, bug):
    command = [sys.executable, "-m", "tests.train.kill_loop", str(tmp_path), "1", "1", bug]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["difference"]


def test_a_finished_run_stays_as_it_is(begin, tmp_path, said):
    begin(steps=5)
    before = compared(tmp_path / "run")
    run = resume(tmp_path / "run", progress=Progress(said))
    assert run.is_finished
    assert run.stopped_by is None
    assert compared(tmp_path / "run") == before
    assert open_run(tmp_path / "run").loss == run.loss


def test_a_damaged_checkpoint_is_passed_over(begin, tmp_path, said):
    begin("unbroken", steps=10, save_every=2)
    begin("damaged", steps=10, save_every=2)
    (tmp_path / "damaged/step-00000010/model.safetensors").write_bytes(b"")
    with (tmp_path / "damaged/metrics.jsonl").open("a") as log:
        log.write('{"step": 11, "to')
    run = resume(tmp_path / "damaged", progress=Progress(said))
    assert "passed over" in said.getvalue()
    assert "step-00000010/model.safetensors: a file is cut short" in said.getvalue()
    assert run.is_finished
    assert compared(tmp_path / "damaged") == compared(tmp_path / "unbroken")


def test_what_differs_from_before_is_said(begin, tmp_path, said, monkeypatch):
    begin(steps=2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    resume(tmp_path / "run", progress=Progress(said))
    assert "threads was 1 and is 77: the last bits may differ" in said.getvalue()


def test_data_that_changed_is_refused(begin, tmp_path):
    begin(steps=2)
    (tmp_path / "text/bottles.txt").write_text(tiny.TEXT + "one more line\n")
    with pytest.raises(DataError, match="the data changed since the run began"):
        resume(tmp_path / "run")


def test_data_of_ones_own_must_be_given_again(begin, tmp_path):
    @dataclass
    class Own:
        tokenizer: object
        sampler: object
        length: int
        validation: ClassVar[dict] = {}
        recipe: ClassVar[dict] = {}

    plain = tiny.data(tmp_path / "text")
    own = Own(plain.tokenizer, plain.sampler, 16)
    begin(data=own, steps=2)
    with pytest.raises(DataError, match=r"did not read files.*gf.resume\(folder, data=data\)"):
        resume(tmp_path / "run")
    assert resume(tmp_path / "run", data=own).is_finished


# -- what goes wrong --------------------------------------------------------------------------------------------------


def poisoned(model, steps):
    """The loss is NaN whenever the counter of training batches is in ``steps``."""
    counts = {"batch": 0}

    def hook(part, inputs, output):
        if not part.training:
            return None
        counts["batch"] += 1
        return output * math.nan if counts["batch"] in steps else None

    model.register_forward_hook(hook)
    return model


def test_a_loss_that_is_not_finite_costs_one_step(begin, tmp_path, said):
    run = begin(model=poisoned(tiny.model(), {1, 7}), steps=10)
    assert [entry["step"] for entry in run.entries if entry["loss"] is None] == [1, 7]
    assert run.entries[-1]["skipped"] == 2
    assert len(run.loss) == 8
    assert all(map(math.isfinite, run.loss))
    assert said.getvalue().count("skipped: loss nan") == 2
    assert "NaN" not in (tmp_path / "run/metrics.jsonl").read_text()


def test_too_many_in_a_row_go_back_past_the_samples_that_did_it(begin, tmp_path, said):
    model, data = poisoned(tiny.model(), set(range(9, 19))), tiny.data(tmp_path / "text")
    drawn = []
    plain = type(data.sampler).draw

    class Watched(type(data.sampler)):
        def draw(self, cursor, rows, length, progress=0.0):
            drawn.append(cursor[0])
            return plain(self, cursor, rows, length, progress)

    object.__setattr__(data, "sampler", Watched(data.sampler.stream, data.sampler.seed))
    run = begin(model=model, data=data, steps=20, save_every=4)
    assert run.is_finished and run.steps == 20 and run.entries[-1]["skipped"] == 10
    assert said.getvalue().count("back to the checkpoint of step 16") == 1
    assert drawn == sorted(set(drawn))  # no sample twice
    assert [entry["step"] for entry in run.entries] == list(range(1, 21))


def test_a_run_that_goes_wrong_again_and_again_ends_with_the_last_state_saved(begin, tmp_path):
    model = poisoned(tiny.model(), set(range(6, 1000)))
    what = r"10 steps in a row went wrong, after 2 ways back to a checkpoint.*lower the learning rate"
    with pytest.raises(DivergedError, match=what):
        begin(model=model, steps=500, save_every=5)
    assert report(DivergedError("x"), debug=False) == 3
    newest = checkpoints.newest(tmp_path / "run", print).folder
    assert all(torch.isfinite(weight).all() for weight in load(newest).parameters())


def test_what_is_not_finite_in_validation_is_not_the_best(begin, tmp_path):
    model = tiny.model()
    model.register_forward_hook(lambda part, inputs, output: None if part.training else output * math.nan)
    run = begin(model=model, steps=3)
    assert run.validation == []


def test_an_existing_run_is_never_overwritten(begin, tmp_path):
    begin(steps=1)
    with pytest.raises(CheckpointError, match=r"the output folder exists.*choose another.*--resume"):
        begin(steps=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="the output folder exists"):
        begin("file", steps=1)
    (tmp_path / "empty").mkdir()
    assert begin("empty", steps=1).is_finished


HOLD = """
import pathlib, sys, time
from glassformer.train.lock import locked

with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_runs_in_one_folder(begin, tmp_path):
    begin(steps=1)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match=f"another process trains in this folder · got process {other.pid}"):
            resume(tmp_path / "run")
        other.kill()
    assert resume(tmp_path / "run").is_finished


@pytest.mark.parametrize(("save", "step"), [(1, 0), (2, 5), (3, 10)])
def test_a_full_disk_leaves_the_checkpoints_before(begin, tmp_path, monkeypatch, save, step):
    writes = {"manifest.json": 0}
    plain = Files.write

    def write(self, file, content):
        if file.name == "manifest.json":
            writes["manifest.json"] += 1
            if writes["manifest.json"] == save:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        plain(self, file, content)

    monkeypatch.setattr(Files, "write", write)
    with pytest.raises(CheckpointError, match=r"could not be saved.*No space left on device.*free some space"):
        begin(steps=15, save_every=5, eval_every=15)
    monkeypatch.undo()
    if step == 0:
        with pytest.raises(CheckpointError, match="there is no checkpoint"):
            resume(tmp_path / "run")
        return
    assert resume(tmp_path / "run").is_finished
    begin("unbroken", steps=15, save_every=5, eval_every=15)
    assert compared(tmp_path / "run") == compared(tmp_path / "unbroken")


def test_a_log_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path)
    log.append({"step": 1})

    class Full:
        def write(self, content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def fileno(self):
            return 999_999

    log.close()
    monkeypatch.setattr(log, "_stream", Full())
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl.*No space left"):
        log.append({"step": 2})
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        log.sync()


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(CheckpointError, match=r"not the folder of a run · expected run\.json"):
        resume(tmp_path)


def test_model_data_and_plan_must_fit(begin, tmp_path):
    with pytest.raises(ConfigError, match="the context is longer than the model · got 64 · expected at most 32"):
        begin(context=64)
    small = tiny.config().replace(vocab_size=100).build()
    with pytest.raises(ConfigError, match="tokens that the model does not know"):
        begin(model=small)
    assert not (tmp_path / "run").exists()


def test_state_goes_to_json_and_back():
    state = State(cursor=(1, 2), step=3, best_loss=0.1)
    assert State.from_json(json.loads(json.dumps(state.to_json())) | {"other": 1}) == state


def test_a_log_goes_on_after_a_step(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    log = MetricsLog(tmp_path, upto=2)
    log.append({"step": 3, "loss": 0.1})
    log.close()
    assert read_metrics(tmp_path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.1}]
    assert read_metrics(Path("nowhere")) == []


# -- steps that go wrong, and runs that end early ----------------------------------------------------------------------


def test_a_step_far_above_those_before_it_is_skipped_and_touches_nothing(begin, tmp_path, said):
    """Its loss is 40 times the usual one: no moment and no weight knows of it."""
    model, calls = tiny.model(), {"batch": 0}

    def hook(part, inputs, output):
        calls["batch"] += part.training
        return output * -60 if part.training and calls["batch"] == 45 else None

    model.register_forward_hook(hook)
    run = begin(model=model, steps=46, save_every=1, keep=4, dropout=0.0)
    skipped = [entry["step"] for entry in run.entries if entry["loss"] is None]
    assert skipped == [45] and said.getvalue().count("step 45 skipped") == 1
    before, after = ((tmp_path / f"run/step-000000{step}") for step in (44, 45))
    for name in ("model.safetensors", "training.safetensors"):
        assert (before / name).read_bytes() == (after / name).read_bytes()
    assert (tmp_path / "run/step-00000046/model.safetensors").read_bytes() != (after / "model.safetensors").read_bytes()


def test_without_a_bound_only_what_is_not_finite_is_skipped():
    recent = Recent([1.0, 1.1] * 20, [0.5] * 40)
    assert recent.accepts(2.2, 1.0, 6.0) and not recent.accepts(2.3, 0.5, 6.0) and not recent.accepts(1.0, 1.1, 6.0)
    wild = Recent([0.1, 2.0] * 20, [0.5] * 40)
    assert wild.accepts(6.0, 0.5, 6.0) and not wild.accepts(7.0, 0.5, 6.0)  # six of its own deviations
    assert recent.accepts(99.0, 99.0, None) and not recent.accepts(math.nan, 0.5, None)
    assert Recent([1.0] * 5, [1.0] * 5).accepts(99.0, 99.0, 6.0)  # too few to say
    for number in range(200):
        recent.add(number, number)
    assert len(recent.losses) == len(recent.norms) == 128 and recent.losses[-1] == 199


def test_a_run_ends_when_it_gets_no_better(begin):
    run = begin(steps=400, eval_every=1, learning_rate=1e-12, patience=3)
    assert run.is_finished and run.steps < 100
    losses = [found["loss"] for _, found in run.validation]
    assert min(losses[-3:]) >= min(losses[:-3])
