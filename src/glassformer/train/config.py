"""What a training run does, as a description: how long, in which steps, how fast, and when it looks up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from glassformer.core.config import Config
from glassformer.core.discovery import load_all
from glassformer.parts.lora import LoraConfig
from glassformer.train.objective import ObjectiveConfig
from glassformer.train.objectives.next_token import NextTokenConfig
from glassformer.train.optimizers import AdamWConfig, OptimizerConfig
from glassformer.train.schedules import CosineConfig, ScheduleConfig

_WARMUP_SHARE = 0.03
_MOST_MICRO_TOKENS = 16_384
_TIMES_A_RUN = 10


class TrainConfig(Config):
    """A run: exactly one of ``steps``, ``tokens`` and ``minutes`` says how long it is.

    batch_tokens: tokens predicted in a step · micro_tokens: of these at once, None = up to 16,384 · context: tokens of
    a sample, None = what the data says; several divide the training into equal parts · learning_rate: of AdamW ·
    warmup_steps: None = 3 % of the steps · clip: norm of the gradient, None = as it is · dropout: of what blocks add
    and of embeddings · eval_every, save_every, sample_every: steps, None = ten times a run, 0 = not before the end ·
    eval_tokens: how much held-out text is looked at each time · keep: newest checkpoints that stay beside the best ·
    patience: measurements without a better one after which a run ends early · skip_sigmas: a step is skipped if its
    loss or gradient norm lies so many standard deviations above the mean of the last 128 and twice above each of them,
    None = only if it is not finite · lora: train changes of low rank alone · ema: share of a moving average of the
    weights that stays at each step; the averages are what is measured and saved, None = the weights themselves ·
    objective: what is learned.
    """

    steps: int | None = None
    tokens: int | None = None
    minutes: float | None = None
    batch_tokens: int = 1024
    micro_tokens: int | None = None
    context: int | tuple[int, ...] | None = None
    learning_rate: float = 1e-3
    warmup_steps: int | None = None
    schedule: ScheduleConfig = CosineConfig()
    optimizer: OptimizerConfig = AdamWConfig()
    clip: float | None = 1.0
    dropout: float = 0.0
    seed: int = 0
    eval_every: int | None = None
    eval_tokens: int = 16_384
    save_every: int | None = None
    sample_every: int | None = None
    keep: int = 2
    patience: int | None = None
    skip_sigmas: float | None = 6.0
    lora: LoraConfig | None = None
    ema: float | None = None
    objective: ObjectiveConfig = NextTokenConfig()

    def check(self) -> None:
        given = [name for name in ("steps", "tokens", "minutes") if getattr(self, name) is not None]
        self.require(len(given) == 1, given[0] if given else "steps", "exactly one of steps, tokens and minutes")
        self.require(getattr(self, given[0]) > 0, given[0], "above 0")
        for name in ("batch_tokens", "micro_tokens", "eval_tokens", "keep"):
            self.require(getattr(self, name) is None or getattr(self, name) > 0, name, "above 0")
        whole = f"None: {type(self.objective).__name__} computes a batch whole"
        self.require(self.micro_tokens is None or not self.objective.COUPLED, "micro_tokens", whole)
        for name in ("warmup_steps", "eval_every", "save_every", "sample_every"):
            self.require(getattr(self, name) is None or getattr(self, name) >= 0, name, "0 or more")
        self.require(self.context is None or (bool(self.contexts) and min(self.contexts) > 0), "context", "above 0")
        self.require(self.learning_rate > 0, "learning_rate", "above 0")
        self.require(self.patience is None or self.patience > 0, "patience", "above 0")
        self.require(self.skip_sigmas is None or self.skip_sigmas > 0, "skip_sigmas", "above 0")
        self.require(self.clip is None or self.clip > 0, "clip", "above 0")
        self.require(0 <= self.dropout < 1, "dropout", "0 to below 1")
        self.require(self.ema is None or 0 < self.ema < 1, "ema", "between 0 and 1")
        self.require(0 <= self.seed < 1 << 63, "seed", "0 … 2^63 - 1")

    @classmethod
    def from_json(cls, data: Any, path: str = "config") -> Self:
        """As of every description; objectives are looked up in their folder."""
        load_all("train.objectives")
        return super().from_json(data, path)

    @property
    def contexts(self) -> tuple[int, ...]:
        """The tokens of a sample, part by part of the training; empty where the data says."""
        return self.context if isinstance(self.context, tuple) else () if self.context is None else (self.context,)


@dataclass(frozen=True)
class Shape:
    """The batch of one step: rows of ``length`` tokens to predict, ``micro_rows`` of them at once."""

    length: int
    rows: int
    micro_rows: int


@dataclass(frozen=True)
class Plan:
    """What follows from a description at each step."""

    config: TrainConfig
    data_length: int

    def shape(self, progress: float) -> Shape:
        """The batch when this share of the training is done."""
        contexts = self.config.contexts or (self.data_length,)
        length = contexts[min(int(progress * len(contexts)), len(contexts) - 1)]
        rows = max(1, self.config.batch_tokens // length)
        return Shape(length, rows, max(1, min(rows, self.micro_tokens // length)))

    @property
    def micro_tokens(self) -> int:
        """Tokens computed at once."""
        return self.config.micro_tokens or min(self.config.batch_tokens, _MOST_MICRO_TOKENS)

    @property
    def longest(self) -> int:
        """The longest sample of the training."""
        return max(self.config.contexts or (self.data_length,))

    def steps(self, done: int, seconds: float) -> float:
        """How many steps the training will have; for a time budget, as fast as it went so far."""
        if self.config.steps is not None:
            return self.config.steps
        if self.config.tokens is not None:
            return -(-self.config.tokens // self.config.batch_tokens)
        share = seconds / (60 * (self.config.minutes or 0.0))
        return done / share if done and share > 0 else float("inf")

    def progress(self, done: int, seconds: float) -> float:
        """Share of the training that is done, 0 to 1."""
        if self.config.minutes is not None:
            return min(1.0, seconds / (60 * self.config.minutes))
        return min(1.0, done / self.steps(done, seconds))

    def rate(self, done: int, seconds: float) -> float:
        """Share of the full learning rate of the step that comes after ``done`` steps."""
        steps = self.steps(done, seconds)
        warmup = self.config.warmup_steps
        return self.config.schedule.factor(done, steps, _WARMUP_SHARE * steps if warmup is None else warmup)

    def is_due(self, every: int | None, done: int, before: float, now: float) -> bool:
        """Whether what happens every so many steps, or ten times a run, happens now.

        Args:
            every: Steps; None = ten times a run, 0 = never.
            done: Steps that are done.
            before: Progress before the last step.
            now: Progress after it.
        """
        if every is not None:
            return every > 0 and done % every == 0
        return int(now * _TIMES_A_RUN) > int(before * _TIMES_A_RUN)
