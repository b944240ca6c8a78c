"""The training loop: steps that can be stopped anywhere and go on bit for bit.

Everything random in a step is seeded by the run's seed and the number of the step, and the place in the data is a few
integers; so a checkpoint needs no state of a random generator.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from glassformer import __version__
from glassformer.checkpoints.adapter import save_adapter
from glassformer.checkpoints.folder import load
from glassformer.core.config import read_json
from glassformer.core.errors import CheckpointError, ConfigError, DataError, DivergedError
from glassformer.core.terminal import Progress, duration
from glassformer.data.images import ImageProcessing
from glassformer.data.text_data import from_recipe
from glassformer.data.tokens import TextTokenizer, end_token
from glassformer.models.adapters import adapt, adapters_of
from glassformer.models.transformer import SpecialTokens, Transformer
from glassformer.tokenizers.tokenizer import Tokenizer, check_fits
from glassformer.train import image_data
from glassformer.train.config import Plan, TrainConfig
from glassformer.train.evaluate import Measure, byte_lengths, measure_all, measure_batches, say
from glassformer.train.files import Files
from glassformer.train.folder import ADAPTER, RUN_FILE, Checkpoint, newest, prune, publish, write_checkpoint
from glassformer.train.forms import Forms
from glassformer.train.heap import give_back
from glassformer.train.lock import locked
from glassformer.train.log import Entry, MetricsLog, read_metrics
from glassformer.train.objective import ExampleObjectiveConfig
from glassformer.train.objectives.next_token import NextTokenConfig
from glassformer.train.parallel import Group, joined
from glassformer.train.run import Run
from glassformer.train.sample import sample_text
from glassformer.train.spikes import Recent
from glassformer.train.state import Machine, State, say_what_differs, surroundings
from glassformer.train.step import Learner, Outcome, check_whole
from glassformer.train.stop import StopRequest
from glassformer.train.task_data import again
from glassformer.train.training_data import TrainingData

_MOST_SKIPPED, _MOST_REWINDS = 10, 2
_SMOOTHING = 0.95


def train(
    model: Transformer,
    data: TrainingData,
    config: TrainConfig,
    *,
    out: str | Path,
    machine: Machine | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train a model in a new folder.

    Args:
        model: Is changed in place.
        data: What it reads.
        config: How long, and how.
        out: A folder that does not exist yet.
        machine: Where it computes.
        progress: Where it is shown; stderr when left out.

    Raises:
        CheckpointError: The folder exists, another process holds it, or the disk refuses.
        ConfigError: Model, data and description do not fit together.
        DivergedError: Steps went wrong again and again.
    """
    run, machine = Path(out), machine or Machine()
    plan = Plan(config, data.length)
    _check(model, data, plan)
    with joined(machine.device) as group:
        check_whole(config.objective, group)
        if group.is_first:
            refuse_taken(run)
            Files().make_folder(run)
        with _held(run, group), _shown(progress, group) as shown:
            if group.is_first:
                Files().replace_file(run / RUN_FILE, _described(data, config, machine))
            state = State(cursor=data.sampler.start)
            return _Trainer(run, model, data, plan, machine, state, shown, None, group).run()


def refuse_taken(run: Path) -> None:
    """A run is never overwritten.

    Raises:
        CheckpointError: The folder exists and is not empty.
    """
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        do = f"choose another, or go on with it: glassformer train --resume {run}"
        raise CheckpointError("the output folder exists", at=run, do=do)


def resume(folder: str | Path, *, data: TrainingData | None = None, progress: Progress | None = None) -> Run:
    """Go on with a run after its newest whole checkpoint, as if it had never stopped.

    Args:
        folder: The folder of the run.
        data: What it reads, where that did not come from files.
        progress: Where it is shown; stderr when left out.

    Raises:
        CheckpointError: There is no run, no whole checkpoint, or another process holds it.
        DataError: The data is another one than the run began with.
    """
    run = Path(folder)
    if not (run / RUN_FILE).is_file():
        raise CheckpointError("not the folder of a run", at=run, expected=RUN_FILE)
    said = read_json(run / RUN_FILE)
    machine = Machine(**said["machine"])
    with joined(machine.device) as group, _held(run, group), _shown(progress, group) as shown:
        config = TrainConfig.from_json(said["train"], f"{run / RUN_FILE}: train")
        checkpoint = newest(run, shown.note)
        model = load(checkpoint.folder)
        if data is None:
            data = _data_again(said, config, model, checkpoint.folder, run)
        if data.sampler.digest != said["data_sha256"]:
            do = "put the old data back, or begin a new run"
            raise DataError("the data changed since the run began", at=run, do=do)
        say_what_differs(checkpoint.facts, shown)
        state = State.from_json(checkpoint.facts)
        return _Trainer(run, model, data, Plan(config, data.length), machine, state, shown, checkpoint, group).run()


def _held(run: Path, group: Group) -> AbstractContextManager[None]:
    """The folder of a run, for its first process; the others wait until it is there."""
    if group.is_first:
        return _opened(run, group)
    group.wait()
    return nullcontext()


@contextmanager
def _opened(run: Path, group: Group) -> Iterator[None]:
    with locked(run):
        group.wait()
        yield


def _shown(progress: Progress | None, group: Group) -> AbstractContextManager[Progress]:
    """Where a run is shown: only by its first process."""
    if not group.is_first:
        return Progress.silent()
    return nullcontext(progress) if progress is not None else Progress()


class _Trainer:
    def __init__(
        self,
        run: Path,
        model: Transformer,
        data: TrainingData,
        plan: Plan,
        machine: Machine,
        state: State,
        progress: Progress,
        checkpoint: Checkpoint | None,
        group: Group,
    ) -> None:
        self.folder, self.model, self.data, self.plan = run, model, data, plan
        self.config, self.machine, self.state, self.progress = plan.config, machine, state, progress
        self.learner, self.group = _learner(model, data, plan, machine, group), group
        self.forms = Forms(model, self.learner.optimizers, plan.config.ema)
        if checkpoint is not None:
            self.forms.load(checkpoint.tensors())
        self.log = MetricsLog(run, upto=state.step) if group.is_first else None
        self.saved_step = None if checkpoint is None else checkpoint.step
        self.shown_loss: float | None = None
        self.shown_speed = 0.0

    def run(self) -> Run:
        """Step until the budget is used or someone asks to stop; the last state is saved in both cases."""
        before = torch.random.get_rng_state()
        self.model.set_dropout(residual=self.config.dropout, embedding=self.config.dropout)
        started = time.monotonic() - self.state.seconds
        try:
            with StopRequest() as stop:
                if self.saved_step is None:
                    self.save(None)
                number = 0
                while not number and not self.is_finished():
                    self.step(started)
                    number = self.group.largest(stop.signal or 0)
                if self.saved_step != self.state.step:
                    self.save(None)
                by = signal.Signals(number).name if number else None
                self.say_the_end(by)
        finally:
            if self.log is not None:
                self.log.close()
            torch.random.set_rng_state(before)
            self.model.set_dropout()
            self.model.eval()
        entries = read_metrics(self.folder) if self.log is None else self.log.entries
        return Run(self.folder, entries, self.is_finished(), by)

    def is_finished(self) -> bool:
        """Whether the budget is used."""
        patience = self.config.patience
        is_stale = patience is not None and self.state.stale >= patience
        return is_stale or self.plan.progress(self.state.step, self.state.seconds) >= 1

    def step(self, started: float) -> None:
        """One step, with everything that comes due at it."""
        state = self.state
        before = self.plan.progress(state.step, state.seconds)
        entry = self.learn(before, started)
        if state.skipped_in_row >= _MOST_SKIPPED:
            self.rewind()
            return
        now = self.plan.progress(state.step, state.seconds)
        measured = None
        if self.is_due(self.config.eval_every, before, now):
            measured = self.group.agreed(self.validate() if self.group.is_first else None)
        is_better = False
        if measured is not None:
            entry["validation"] = measured
            is_better = state.best_loss is None or measured["loss"] < state.best_loss
            state.best_loss = measured["loss"] if is_better else state.best_loss
            state.stale = 0 if is_better else state.stale + 1
        if self.log is not None:
            self.log.append(entry)
        if is_better or self.is_due(self.config.save_every, before, now):
            self.save(measured)
        if self.group.is_first and self.is_due(self.config.sample_every, before, now):
            self.sample()

    def is_due(self, every: int | None, before: float, now: float) -> bool:
        """Whether something is due, as it always is at the end."""
        return now >= 1 or self.plan.is_due(every, self.state.step, before, now)

    def learn(self, progress: float, started: float) -> Entry:
        """Draw a batch and learn from it; the line for the log."""
        state, begun = self.state, time.monotonic()
        shape, factor = self.plan.shape(progress), self.plan.rate(state.step, state.seconds)
        drawn, state.cursor = self.data.sampler.draw(state.cursor, shape.rows, shape.length, progress)
        batch = self.config.objective.prepare(drawn, self.data.tokenizer, self.config.seed).to(self.machine.device)
        micro_rows = max(1, shape.micro_rows * shape.length // max(batch.width - 1, 1))
        recent = Recent(state.losses, state.norms)
        self.learner.optimizers.set_progress(progress)
        found = self.learner.step(batch, number=state.step, micro_rows=micro_rows, factor=factor, recent=recent)
        state.losses, state.norms = recent.losses, recent.norms
        if found.is_taken:
            self.forms.update()
        tokens = self.config.objective.tokens(batch)
        speed = tokens / max(time.monotonic() - begun, 1e-9)
        state.step += 1
        state.tokens += tokens
        state.seconds = self.group.agreed(time.monotonic() - started)
        self.count(found)
        self.show(found, speed)
        return {
            "step": state.step,
            "tokens": state.tokens,
            "loss": found.loss if found.is_taken else None,
            "norm": found.norm if found.is_taken else None,
            "learning_rate": self.config.learning_rate * factor,
            "skipped": state.skipped,
            "seconds": round(state.seconds, 3),
            "tokens_per_second": round(speed, 1),
        }

    def count(self, found: Outcome) -> None:
        """Count a step that would have spoiled the weights, which it left alone."""
        if found.is_taken:
            self.state.skipped_in_row = 0
            return
        self.state.skipped += 1
        self.state.skipped_in_row += 1
        got = f"loss {found.loss:.4g}, gradient norm {found.norm:.4g}"
        self.progress.note(f"step {self.state.step} skipped: {got}")

    def rewind(self) -> None:
        """Go back to the newest checkpoint, and on with the samples behind those that were drawn since.

        Raises:
            DivergedError: That was done too often.
        """
        state = self.state
        if state.rewinds >= _MOST_REWINDS:
            what = f"{_MOST_SKIPPED} steps in a row went wrong, after {state.rewinds} ways back to a checkpoint"
            do = "lower the learning rate, or look at the data; the last checkpoint is from before"
            raise DivergedError(what, at=f"step {state.step}", do=do)
        checkpoint = newest(self.folder, self.progress.note)
        self.progress.note(f"step {state.step}: back to the checkpoint of step {checkpoint.step}, past these samples")
        restore(self.model, checkpoint.folder)
        self.forms.load(checkpoint.tensors())
        again = State.from_json(checkpoint.facts)
        again.cursor, again.rewinds, again.skipped = state.cursor, state.rewinds + 1, state.skipped
        again.seconds, again.skipped_in_row = state.seconds, 0
        self.state, self.saved_step = again, checkpoint.step
        if self.log is not None:
            self.log.close()
            self.log = MetricsLog(self.folder, upto=again.step)

    def validate(self) -> dict[str, Any] | None:
        """Measures of what is held out, together and by place; None where there is nothing."""
        with self.forms.published(), self.machine.precision():
            found = self.text_measures() if isinstance(self.config.objective, NextTokenConfig) else self.measures()
        if found is None:
            return None
        self.progress.note(f"step {self.state.step}: validation {say(found)}")
        return found if math.isfinite(found["loss"]) else None

    def text_measures(self) -> dict[str, Any] | None:
        """How well each held-out text is predicted."""
        if not self.data.validation:
            return None
        found = measure_all(
            self.model,
            self.data.validation,
            byte_lengths(words_of(self.data)),
            context=self.plan.longest,
            most_tokens=self.config.eval_tokens,
            batch_tokens=self.plan.micro_tokens,
        )
        together = sum(found.values(), Measure(0.0, 0, 0.0))
        places = {"places": {name: one.to_json() for name, one in found.items()}} if len(found) > 1 else {}
        return {**together.to_json(), **places}

    def measures(self) -> dict[str, Any] | None:
        """What the objective measures on the held-out samples."""
        batches = self.data.held_out_batches(self.plan.micro_tokens)
        objective, seed = self.config.objective, self.config.seed
        found = measure_batches(self.model, objective, batches, self.data.tokenizer, seed)
        return found if found["weight"] else None

    def save(self, measured: Mapping[str, Any] | None) -> None:
        """Write a checkpoint; the run's own folder becomes the best model so far."""
        if self.log is not None:
            self.write(measured)
        self.saved_step = self.state.step
        self.group.wait()

    def write(self, measured: Mapping[str, Any] | None) -> None:
        """The files of a checkpoint."""
        assert self.log is not None
        self.log.sync()
        loss = None if measured is None else measured["loss"]
        facts = {**self.state.to_json(), **surroundings(), "validation_loss": loss}
        saved = write_checkpoint(self.folder, self.state.step, self.save_model, self.forms.state(), facts)
        if self.state.best_loss is None or loss == self.state.best_loss:
            publish(self.folder, saved)
        prune(self.folder, self.config.keep)

    def save_model(self, folder: Path) -> None:
        """The model's own files, and those of its adapter alone."""
        with self.forms.published():
            self.model.save(folder, tokenizer=self.data.tokenizer)
        if self.config.lora is not None:
            save_adapter(self.model, folder / ADAPTER)

    def sample(self) -> None:
        """Show what the model writes after the start of a held-out document."""
        writes = isinstance(self.config.objective, NextTokenConfig)
        for stream in list(self.data.validation.values())[: int(writes)]:
            turn = self.state.step
            with self.forms.published():
                said = sample_text(self.model, words_of(self.data), stream, turn=turn, context=self.plan.longest)
            prompt, text = said
            self.progress.note(f"step {turn} writes: {_one_line(prompt)} → {_one_line(text)}")

    def show(self, found: Outcome, speed: float) -> None:
        """One line about where the run is."""
        if found.is_taken:
            self.shown_loss = found.loss if self.shown_loss is None else _mixed(self.shown_loss, found.loss)
        self.shown_speed = speed if not self.shown_speed else _mixed(self.shown_speed, speed)
        done, seconds = self.state.step, self.state.seconds
        total = f"/{round(self.plan.steps(done, seconds))}" if self.config.minutes is None else ""
        left = seconds / max(self.plan.progress(done, seconds), 1e-9) - seconds
        loss = "–" if self.shown_loss is None else f"{self.shown_loss:.3f}"
        speed_text = f"{self.shown_speed:,.0f} tokens/s"
        self.progress.update(f"step {done}{total} · loss {loss} · {speed_text} · {duration(left)} left")

    def say_the_end(self, by: str | None) -> None:
        """How to go on after a stop."""
        if by is not None and not self.is_finished():
            why = f"stopped after step {self.state.step} by {by}; everything is saved"
            self.progress.note(f"{why} · go on with: glassformer train --resume {self.folder}")


def _check(model: Transformer, data: TrainingData, plan: Plan) -> None:
    plan.config.objective.check_model(model.config)
    if plan.config.lora is None:  # whose parameters are not there yet
        trained = {weight: weight.requires_grad for weight in model.parameters()}
        plan.config.optimizer.build(model, plan.config.learning_rate)  # refuses rules that are about nothing
        for weight, was_trained in trained.items():
            weight.requires_grad_(was_trained)
    if adapters_of(model):
        do = "merge it first; a new one is made by TrainConfig(lora=LoraConfig(...))"
        raise ConfigError("a model with an adapter", do=do)
    if not isinstance(data.tokenizer, ImageProcessing):
        check_fits(data.tokenizer, model.config.vocab_size)
    reach = model.config.max_positions
    if reach is not None and plan.longest > reach:
        do = "train on shorter samples, or build a model for longer ones"
        raise ConfigError("the context is longer than the model", got=plan.longest, expected=f"at most {reach}", do=do)


def _learner(model: Transformer, data: TrainingData, plan: Plan, machine: Machine, group: Group) -> Learner:
    model.to(machine.device)
    for weight in model.parameters():  # those of a loaded model lie in its file, wherever they happen to be aligned
        weight.data = weight.data.clone()
    if model.special == SpecialTokens() and not isinstance(data.tokenizer, ImageProcessing):
        model.special = SpecialTokens(end=(end_token(data.tokenizer),), pad=data.tokenizer.special.pad)
    if machine.compile:
        model.compile()
    if machine.recompute is not None:
        give_back()
    for stack in (model.encoder, model.decoder):
        if stack is not None:
            stack.recompute = machine.recompute
    config = plan.config
    if config.lora is not None:
        adapt(model, config.lora, seed=config.seed)
    optimizers = config.optimizer.build(model, config.learning_rate)
    return Learner(model, config.objective, optimizers, machine, config.clip, config.seed, group,
                   config.skip_sigmas)  # fmt: skip


@torch.no_grad()
def restore(model: Transformer, folder: Path) -> None:
    """Give a model the weights of a folder that it was saved to; those of an adapter are not in it."""
    held = dict(load(folder).named_parameters())
    for name, weight in model.named_parameters():
        weight.copy_(held.get(name, weight))


def _described(data: TrainingData, config: TrainConfig, machine: Machine) -> bytes:
    said = {
        "glassformer": __version__,
        "train": config.to_json(),
        "data": dict(data.recipe),
        "data_sha256": data.sampler.digest,
        "machine": asdict(machine),
    }
    return (json.dumps(said, indent=1, allow_nan=False) + "\n").encode()


def _data_again(
    said: Mapping[str, Any], config: TrainConfig, model: Transformer, folder: Path, run: Path
) -> TrainingData:
    """What a run read, read again; ``folder``: of the checkpoint."""
    recipe, objective = said["data"], config.objective
    if not recipe:
        raise DataError("this run did not read files", at=run, do="pass its data: gf.resume(folder, data=data)")
    if "processing" in recipe and isinstance(objective, ExampleObjectiveConfig):
        return image_data.again(recipe, objective, model)
    tokenizer = Tokenizer.load(folder)
    if "place" in recipe and isinstance(objective, ExampleObjectiveConfig):
        return again(recipe, objective, model, tokenizer)
    return from_recipe(recipe, tokenizer)


def words_of(data: TrainingData) -> TextTokenizer:
    """The tokenizer of data that has tokens."""
    assert not isinstance(data.tokenizer, ImageProcessing)
    return data.tokenizer


def _mixed(shown: float, new: float) -> float:
    return _SMOOTHING * shown + (1 - _SMOOTHING) * new


def _one_line(text: str) -> str:
    """Text that a model wrote, without the characters that would move a cursor or colour a terminal."""
    return "".join(sign if sign.isprintable() else "·" for sign in text.replace("\n", " / "))
