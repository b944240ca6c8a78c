"""Which token comes next: the most probable one, or one that is drawn.

    scores → rules → temperature → top-k → top-p → min-p → draw

The order and the formulas are the usual ones, so that settings mean here what they mean elsewhere. Nothing is on that
was not asked for: without a temperature or a cut the most probable token is taken. Rules are in ``rules.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError, DataError
from glassformer.generate.rules import NOTHING, Past, Rule, judged, rules_of

#: How many of the best tokens are ordered before all are: nuclei are rarely larger.
NUCLEUS = 1024


class SamplingConfig(Config):
    """How a token is chosen.

    temperature: divides the scores; None draws only if another field asks for it, then at 1; 0 never draws · top_k:
    draw from the k best (Fan et al. 2018) · top_p: from the best that together reach this probability (Holtzman et al.
    2020) · min_p: from those with at least this share of the best one's probability (Nguyen et al. 2024) ·
    seed: the same draws for the same seed and row · repetition_penalty: scores of tokens that are already there are
    divided by it, negative ones multiplied (Keskar et al. 2019) · no_repeat_ngram: no so many tokens in a row twice
    (Paulus et al. 2018) · min_tokens: no end token before so many new tokens. The last three are rules for beams too.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram: int | None = None
    min_tokens: int | None = None
    seed: int | None = None

    def check(self) -> None:
        self._bound("temperature", self.temperature is None or self.temperature >= 0, "0 or more")
        self._bound("top_k", self.top_k is None or self.top_k > 0, "1 or more")
        self._bound("top_p", self.top_p is None or 0 < self.top_p <= 1, "more than 0, at most 1")
        self._bound("min_p", self.min_p is None or 0 <= self.min_p <= 1, "0 … 1")
        penalty = self.repetition_penalty
        self._bound("repetition_penalty", penalty is None or 1e-3 <= penalty <= 1e3, "0.001 … 1000")
        self._bound("no_repeat_ngram", self.no_repeat_ngram is None or self.no_repeat_ngram > 0, "1 or more")
        self._bound("min_tokens", self.min_tokens is None or self.min_tokens >= 0, "0 or more")
        self._bound("seed", self.seed is None or 0 <= self.seed < 1 << 63, "0 … 2^63 - 1")
        said = [name for name in ("top_k", "top_p", "min_p", "seed") if getattr(self, name) is not None]
        if said and not self.draws:
            got = "no temperature" if self.temperature is None else "temperature=0"
            raise ConfigError(
                f"{said[0]} is for drawing, and nothing is drawn", got=got, do="say a temperature above 0"
            )

    def _bound(self, field: str, ok: bool, expected: str) -> None:
        if not ok:
            raise ConfigError("out of range", at=field, got=getattr(self, field), expected=expected)

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn; else the most probable one is taken."""
        asked = (self.temperature, self.top_k, self.top_p, self.min_p)
        return self.temperature != 0 and any(one is not None for one in asked)

    def rules(self, ends: Collection[int], beginnings: Tensor | None = None) -> tuple[Rule, ...]:
        """The rules for scores: ``ends`` are the end tokens, ``beginnings`` the forced first tokens of each row."""
        return rules_of(self.repetition_penalty, self.no_repeat_ngram, self.min_tokens, ends, beginnings)


class Sampler:
    """Chooses the next tokens of some rows, each row with random numbers of its own.

    prompt: int64, batch position · valid: bool, batch position, or None where all are real · rules: for the scores ·
    first_row: the number of the first row, for its random numbers.
    """

    def __init__(
        self, config: SamplingConfig, prompt: Tensor, valid: Tensor | None, *, rules: Sequence[Rule] = (),
        first_row: int = 0,
    ) -> None:  # fmt: skip
        self.config, self.rules, self.first_row = config, rules, first_row
        self.generators = [generator_of(config.seed, first_row + row) for row in range(prompt.shape[0])]
        self.past = Past.of(prompt, valid) if rules else None

    def __call__(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """The next token of the given rows (their places in the prompt): batch vocab → int64, batch.

        Raises:
            DataError: a row's scores are not finite numbers, or its rules allow no token.
        """
        check_finite(logits, [self.first_row + row for row in rows])
        logits = self._judged(logits.float(), rows)
        if self.config.draws:
            uniform = torch.cat([torch.rand(1, 1, generator=self.generators[row], dtype=torch.float64) for row in rows])
            tokens = drawn(allowed(logits, self.config), uniform.to(logits.device))
        else:
            tokens = logits.argmax(-1)
        self._remember(tokens, rows)
        return tokens

    def _judged(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """The scores after the rules, of which one is left."""
        if self.past is None:
            return logits
        logits = judged(logits, self.past.kept(torch.tensor(rows, device=logits.device)), self.rules)
        left = (logits > -torch.inf).any(-1).tolist()
        if not all(left):
            raise no_token_left(self.first_row + rows[left.index(False)])
        return logits

    def _remember(self, tokens: Tensor, rows: Sequence[int]) -> None:
        if self.past is not None:
            column = torch.full_like(self.past.rows, NOTHING)
            column[list(rows)] = tokens
            self.past = self.past.with_new(column)


def no_token_left(row: int) -> DataError:
    """What to say where the rules leave nothing to a row."""
    return DataError("the rules allow no token", at=f"row {row}", do="ask for less, or for fewer tokens")


def generator_of(seed: int | None, row: int) -> torch.Generator | None:
    """A generator that depends on nothing but the seed and the row; None is torch's own, which ``manual_seed`` sets."""
    if seed is None:
        return None
    digest = hashlib.sha256(f"{seed}:{row}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def check_finite(logits: Tensor, rows: Sequence[int]) -> None:
    """Refuse scores (batch vocab) without a best one: a NaN, an infinity, or nothing above minus infinity."""
    fine = logits.amax(-1).isfinite()
    if not bool(fine.all()):
        raise not_finite(rows[fine.tolist().index(False)])


def not_finite(row: int) -> DataError:
    """What to say of a row whose scores are no numbers."""
    do = "the weights are broken, or the numbers overflow their type: look with float32"
    return DataError("the model's scores are not finite numbers", at=f"row {row}", do=do)


def allowed(logits: Tensor, config: SamplingConfig) -> Tensor:
    """The scores with which tokens are drawn, minus infinity where they are not: batch vocab."""
    if config.temperature is not None:
        logits = (logits - logits.amax(-1, keepdim=True)) / config.temperature  # the best stays finite at any
    if config.top_k is not None:
        logits = within_top_k(logits, config.top_k)
    if config.top_p is not None and config.top_p < 1:
        logits = within_top_p(logits, config.top_p)
    return logits if config.min_p is None else within_min_p(logits, config.min_p)


def within_top_k(logits: Tensor, k: int) -> Tensor:
    """The k best scores, and those equal to the last of them."""
    least = logits.topk(min(k, logits.shape[-1]), -1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def within_top_p(logits: Tensor, p: float) -> Tensor:
    """The best scores up to and with the one that makes their probability reach p, and those equal to it."""
    probabilities = logits.softmax(-1)
    ordered = probabilities.topk(min(NUCLEUS, probabilities.shape[-1]), -1).values
    if bool((ordered.cumsum(-1)[:, -1] < p).any()):
        ordered = probabilities.sort(-1, descending=True).values
    before = ordered.cumsum(-1) - ordered
    least = ordered.masked_fill(before >= p, torch.inf).amin(-1, keepdim=True)
    return logits.masked_fill(probabilities < least, -torch.inf)


def within_min_p(logits: Tensor, share: float) -> Tensor:
    """The scores whose probability is at least a share of the best one's."""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < share * probabilities.amax(-1, keepdim=True), -torch.inf)


def drawn(logits: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the cumulative probability passes a number in [0, 1): batch vocab, batch 1 → int64, batch."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    total = cumulative[:, -1:]
    below = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, below, right=True)[:, 0]
