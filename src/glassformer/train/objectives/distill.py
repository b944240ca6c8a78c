"""Distillation: a model learns what another one says, and not only which answer is right  (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from glassformer.core.discovery import load
from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import IGNORED, Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import ClassifyHeadConfig, PretrainHead, TagHeadConfig, TokenHead
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, routed
from glassformer.train.objectives._frozen import frozen, speaks_alike
from glassformer.train.objectives._scores import scores_at


class DistillConfig(ExampleObjectiveConfig):
    """mix · temperature² · KL(teacher ‖ student), both at this temperature, and (1 - mix) · the loss of ``hard``.

    fields: those of ``hard``, an objective with one right answer for each row of scores, or its name.

    teacher: a folder; it is asked in evaluation mode, and is in no checkpoint.
    """

    teacher: str = ""
    hard: ExampleObjectiveConfig | str = "classify"
    temperature: float = 2.0
    mix: float = 0.5

    def check(self) -> None:
        self.require(self.temperature > 0, "temperature", "above 0")
        self.require(0 <= self.mix <= 1, "mix", "0 to 1")

    @property
    def task(self) -> ExampleObjectiveConfig:
        """The objective with the right answers.

        Raises:
            UnsupportedError: It has no such.
        """
        found = load("train.objectives", self.hard).OBJECTIVE() if isinstance(self.hard, str) else self.hard
        if not isinstance(found, ExampleObjectiveConfig) or found.COMPARED is None:
            expected = "an objective over examples that compares scores with one right answer each"
            raise UnsupportedError("distillation", got=type(found).__name__, expected=expected)
        return found

    @property
    def head(self) -> str:
        return self.task.head

    @property
    def writes(self) -> bool:
        return self.task.writes

    def check_model(self, config: TransformerConfig) -> None:
        teacher = frozen(self.teacher).config
        for one in (config, teacher):
            self.task.check_model(one)
        if _scores(config) != _scores(teacher):
            got, expected = f"{_scores(teacher)} scores of the teacher", f"{_scores(config)}, as the student has"
            raise UnsupportedError("distillation", at=self.teacher, got=got, expected=expected)

    def names(self, example: Example) -> Iterable[str]:
        return self.task.names(example)

    def sample(self, example: Example, reading: Reading) -> Sample:
        return self.samples([example], reading)[0]

    def samples(self, examples: Iterable[Example], reading: Reading) -> list[Sample]:
        if not speaks_alike(self.teacher, reading.tokenizer):
            raise UnsupportedError("a teacher with another vocabulary", at=self.teacher)
        labels = frozen(self.teacher).labels
        is_named = labels != tuple(
            f"LABEL_{number}" for number in range(len(labels))
        )  # as folders say it without names
        if labels and is_named and labels != reading.labels:
            got, expected = ", ".join(labels[:20]), ", ".join(reading.labels[:20])
            raise UnsupportedError("a teacher with other labels", at=self.teacher, got=got, expected=expected)
        return self.task.samples(examples, reading)

    def fit(self, config: TransformerConfig, n_labels: int) -> TransformerConfig:
        return self.task.fit(config, n_labels)

    def labels(self, n_labels: int) -> int:
        return self.task.labels(n_labels)

    def prepare(self, batch: Batch, tokenizer: Any, seed: int) -> Batch:
        return self.task.prepare(batch, tokenizer, seed)

    def weight(self, batch: Batch) -> int:
        return self.task.weight(batch)

    def tokens(self, batch: Batch) -> int:
        return self.task.tokens(batch)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        labels, count = batch.labels[str(self.task.COMPARED)], self.weight(batch)
        said, extra = _said(model, batch, labels != IGNORED, count)
        with torch.no_grad():
            taught, _ = _said(frozen(self.teacher, str(labels.device)), batch, labels != IGNORED, count)
        right = labels[labels != IGNORED]
        smoothing = getattr(self.task, "smoothing", 0.0)  # of those objectives that have one
        hard = functional.cross_entropy(said, right, reduction="sum", label_smoothing=smoothing)
        ours, theirs = (functional.log_softmax(some / self.temperature, -1) for some in (said, taught))
        soft = self.temperature**2 * functional.kl_div(ours, theirs, reduction="sum", log_target=True)
        metrics = {"accuracy": (said.argmax(-1) == right).sum(), "hard": hard.detach(), "soft": soft.detach()}
        return (1 - self.mix) * hard + self.mix * soft + extra, metrics


def _said(model: nn.Module, batch: Batch, places: Tensor, count: int) -> tuple[Tensor, Tensor | float]:
    """float32, place label: the scores of the places that have a right answer, and what routers add."""
    if isinstance(getattr(model, "head", None), TokenHead | PretrainHead):
        return scores_at(model, batch, places, count)
    scores, extra = routed(model, batch, count)
    return scores[places].float(), extra


def _scores(config: TransformerConfig) -> int:
    """How many scores stand in a row."""
    if isinstance(config.head, ClassifyHeadConfig | TagHeadConfig):
        return config.head.n_labels
    return config.vocab_size


OBJECTIVE = DistillConfig
