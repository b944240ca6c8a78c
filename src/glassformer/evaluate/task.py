"""What every task has: examples → predictions, references to compare them with, and trivial predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from glassformer.core.discovery import load_all
from glassformer.core.errors import UnsupportedError
from glassformer.core.terminal import Progress
from glassformer.data.examples import Example
from glassformer.evaluate.metric import Kind
from glassformer.models.transformer import Transformer
from glassformer.tokenizers.tokenizer import Tokenizer, check_fits
from glassformer.train.objective import Reading

#: Tokens that are computed at once.
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Hand:
    """A model at hand, and how it is asked.

    Args:
        model: Of any kind.
        tokenizer: Of the model.
        truncate: Cut texts that are longer than the model instead of refusing them.
        top: How many guesses are said of each; None says the best in a line, and all that are few in JSON.
        prefix: Put in front of each text that is answered by a text.
        batch_tokens: Tokens computed at once.
        writing: What is said to ``generate``, for models that write.
        progress: Is told of work that takes more than two seconds.
    """

    model: Transformer
    tokenizer: Tokenizer
    truncate: bool = False
    top: int | None = None
    prefix: str = ""
    batch_tokens: int = BATCH_TOKENS
    writing: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress.silent)

    def __post_init__(self) -> None:
        check_fits(self.tokenizer, self.model.config.vocab_size)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of what the head scores; their numbers where the folder names none."""
        count = getattr(self.model.config.head, "n_labels", 0)
        return self.model.labels or tuple(map(str, range(count)))

    @cached_property
    def reading(self) -> Reading:
        """How examples become rows."""
        has_segments = getattr(self.model.config.embedding, "n_segments", 0) > 1
        return Reading(self.tokenizer, self.labels, self.longest, self.truncate, has_segments=has_segments)

    @property
    def longest(self) -> int | None:
        """Tokens of the longest row."""
        return self.model.config.max_positions

    @property
    def pad(self) -> int:
        """The id of padding."""
        return self.model.special.pad or 0


@dataclass(frozen=True)
class Prediction:
    """What a model says of an example.

    Args:
        value: What metrics compare.
        line: For a person, on one line.
        said: For machines.
    """

    value: Any
    line: str
    said: Mapping[str, Any]


class Task:
    """Base of the tasks.

    ``WORD``: what the model does with a text · ``FIELDS``: of an example, first the text · ``PAIR``: the second text,
    if any · ``KIND``: what metrics compare · ``METRICS``: the usual ones · ``FLOOR``: the trivial prediction, in words
    · ``RUNS``, ``MEASURES``: whether it says something of a text, and whether that can be compared.
    """

    WORD: ClassVar[str]
    FIELDS: ClassVar[tuple[str, ...]] = ("text",)
    PAIR: ClassVar[str | None] = None
    KIND: ClassVar[Kind]
    METRICS: ClassVar[tuple[str, ...]] = ()
    FLOOR: ClassVar[str] = ""
    RUNS: ClassVar[bool] = True
    MEASURES: ClassVar[bool] = True

    def fits(self, model: Transformer) -> bool:
        """Whether a model is of this kind."""
        raise AssertionError(f"{type(self).__name__} lacks fits")

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        """What the model says, in the order of the examples.

        Raises:
            DataError: An example cannot be read; with its place.
        """
        raise AssertionError(f"{type(self).__name__} lacks predict")

    def units(self, examples: Sequence[Example], hand: Hand) -> Sequence[Example]:
        """What is compared one by one."""
        return examples

    def metrics(self, hand: Hand) -> tuple[str, ...]:
        """The metrics that are usual for a model."""
        return self.METRICS

    def reference(self, example: Example, hand: Hand) -> Any:
        """What is true of an example.

        Raises:
            DataError: The example does not say it, or the model does not know it; with its place.
        """
        raise AssertionError(f"{type(self).__name__} lacks reference")

    def trivial(self, examples: Sequence[Example], references: Sequence[Any]) -> list[Any]:
        """The predictions of one who has not read the texts."""
        raise AssertionError(f"{type(self).__name__} lacks trivial")


def tasks() -> tuple[Task, ...]:
    """Every task."""
    return tuple(module.TASK for module in load_all("evaluate.tasks"))


def task_of(model: Transformer, *, measures: bool = False) -> Task:
    """What a model does with texts, or, if it ``measures``, what can be compared of it.

    Raises:
        UnsupportedError: Nothing that is known here.
    """
    for task in tasks():
        if (task.MEASURES if measures else task.RUNS) and task.fits(model):
            return task
    got = "no head" if model.config.head is None else type(model.config.head).__name__
    got = got if model.config.reads_tokens else f"{got} over images"
    known = ", ".join(sorted({task.WORD for task in tasks() if task.MEASURES or not measures}))
    raise UnsupportedError("no task for this kind of model", got=got, expected=f"one that can {known}")
