"""Direct preference optimisation: of two answers, the better one becomes more probable than before, the other less.

-log σ(beta · (log π(chosen) - log π(rejected) - log ref(chosen) + log ref(rejected)))      (Rafailov et al. 2023)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading
from glassformer.train.objectives._frozen import frozen, speaks_alike
from glassformer.train.objectives._scores import scores_at
from glassformer.train.objectives._talks import Talk, told
from glassformer.train.objectives._tokens import check_decoder, ended, marked

#: The two answers of a row, and which tokens of each are its own.
_Marked = tuple[list[int], list[bool]]


class PreferenceConfig(ExampleObjectiveConfig):
    """The loss above, of the tokens of the answers.

    fields: ``prompt``, ``chosen`` and ``rejected``, texts; or ``chosen`` and ``rejected`` as whole conversations, which
    end with the answer.

    reference: the folder of the model that is departed from, most often the one that is trained; it is asked once for
    each answer, and is in no checkpoint · beta: how much a departure costs · smoothing: share of the pairs that are
    taken to stand the wrong way round  (Mitchell 2023).
    """

    FIELDS = ("chosen", "rejected")
    reference: str = ""
    beta: float = 0.1
    smoothing: float = 0.0

    def check(self) -> None:
        self.require(self.beta > 0, "beta", "above 0")
        self.require(0 <= self.smoothing < 0.5, "smoothing", "0 to below 0.5")

    def check_model(self, config: TransformerConfig) -> None:
        check_decoder("preferences", config)
        check_decoder("a reference", frozen(self.reference).config)

    def sample(self, example: Example, reading: Reading) -> Sample:
        return self.samples([example], reading)[0]

    def samples(self, examples: Iterable[Example], reading: Reading) -> list[Sample]:
        """The better answer as the tokens of a row, the other as its target: no cut of a batch can part them."""
        if not speaks_alike(self.reference, reading.tokenizer):
            raise UnsupportedError("a reference with another vocabulary", at=self.reference)
        several = list(examples)
        talks = [one for one in several if not isinstance(one["chosen"], str)]
        sides = ("chosen", "rejected")
        found = {name: told([Talk(one, one.messages(name)) for one in talks], reading, "last") for name in sides}
        samples = []
        for one in several:
            is_talk = not isinstance(one["chosen"], str)
            chosen, rejected = (_cut(next(found[name])) if is_talk else _after(one, name, reading) for name in sides)
            begins = {name: side[1].index(True) for name, side in zip(sides, (chosen, rejected), strict=True)}
            samples.append(Sample(chosen[0], target=rejected[0], labels=begins))
        return samples

    def weight(self, batch: Batch) -> int:
        return len(batch)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        chosen, extra = log_probability(model, _side(batch, "chosen"), batch.labels["chosen"])
        rejected, more = log_probability(model, _side(batch, "rejected"), batch.labels["rejected"])
        known = _known(self.reference, str(batch.tokens.device))
        margin = chosen - rejected - known.ask(batch, "chosen") + known.ask(batch, "rejected")
        right, wrong = (functional.logsigmoid(sign * self.beta * margin) for sign in (1, -1))
        loss = -(1 - self.smoothing) * right.sum() - self.smoothing * wrong.sum()
        return loss + (extra + more) / 2, {"accuracy": (margin > 0).sum(), "margin": self.beta * margin.detach().sum()}


def _after(example: Example, name: str, reading: Reading) -> _Marked:
    """An answer behind its prompt, with the end token."""
    prompt, answer = example.text("prompt"), example.text(name)
    spans = [(len(prompt), len(prompt) + len(answer))]
    ids, learned = marked(prompt + answer, spans, reading, literal=True, add_special=True)
    return ended(ids, learned, example, reading)


def _cut(side: _Marked) -> _Marked:
    """Without what the template writes behind the answer."""
    ids, learned = side
    count = len(learned) - learned[::-1].index(True)
    return ids[:count], learned[:count]


def _side(batch: Batch, name: str) -> Batch:
    """The rows of one of the two answers."""
    side = batch if name == "chosen" else batch.target
    assert side is not None
    return Batch(side.tokens, side.valid)


def log_probability(model: nn.Module, side: Batch, begin: Tensor) -> tuple[Tensor, Tensor | float]:
    """float32, batch: of the tokens of each row from its place ``begin`` (int64, batch) on; and what routers add."""
    places = torch.arange(side.tokens.shape[1], device=begin.device)
    says = (places >= begin[:, None] - 1) & (places < side.tokens.shape[1] - 1)
    if side.valid is not None:
        says = says & side.valid.roll(-1, 1)
    scores, extra = scores_at(model, side, says, len(side))
    each = -functional.cross_entropy(scores, side.tokens.roll(-1, 1)[says], reduction="none")
    return each.new_zeros(len(side)).index_add(0, says.nonzero()[:, 0], each), extra


@dataclass(frozen=True)
class _Known:
    """What the reference says about the answers that it was asked about, each once and alone, so that the number does
    not hang on what else was in a batch.
    """

    model: Transformer
    found: dict[tuple[int, ...], float] = field(default_factory=dict)

    @torch.no_grad()
    def ask(self, batch: Batch, name: str) -> Tensor:
        """float32, batch."""
        side, begins, said = _side(batch, name), batch.labels[name], []
        for row in range(len(batch)):
            length = side.tokens.shape[1] if side.valid is None else int(side.valid[row].sum())
            alone = Batch(side.tokens[row : row + 1, :length])
            key = (int(begins[row]), *alone.tokens[0].tolist())
            if key not in self.found:
                self.found[key] = float(log_probability(self.model, alone, begins[row : row + 1])[0])
            said.append(self.found[key])
        return torch.tensor(said, device=side.tokens.device)


@lru_cache(maxsize=2)
def _known(folder: str, device: str) -> _Known:
    return _Known(frozen(folder, device))


OBJECTIVE = PreferenceConfig
