"""Beam search: of all texts that were begun, the ones that are most probable so far are continued.

    score of a text = sum of its tokens' log-probabilities / length ** length_penalty

All beams of all prompts are one batch and one forward a step. The rules for when a prompt is done are those of
``transformers.generate``, and so are the texts and their scores. Groups of beams that avoid what the groups before them
say are Vijayakumar et al. 2016.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.generate.beam_config import BeamConfig
from glassformer.generate.generated import Generated, generated_of
from glassformer.generate.rules import NOTHING, Past, Rule, judged
from glassformer.generate.sampling import no_token_left, not_finite
from glassformer.generate.start import Start
from glassformer.generate.steps import Padded
from glassformer.generate.stop import Reason

#: Added to the scores of what may not go on: of an ended text, and of all beams but the first before they differ.
NO_TEXT = -1e9

#: Scores of which the best one is found first, on the way to the best of all.
RUN = 64


def search(start: Start, config: BeamConfig, rules: tuple[Rule, ...]) -> Generated:
    """The best texts of each prompt.

    Raises:
        DataError: scores that are no numbers, or rules that leave no text.
    """
    searching = Search(start, config, rules)
    with start.computing():
        while len(searching.rows):
            searching.step()
    return searching.generated()


class Texts(NamedTuple):
    """tokens: int64, list text position, ``NOTHING`` behind an end · scores: float32, list text."""

    tokens: Tensor
    scores: Tensor

    def kept(self, lists: Tensor) -> Texts:
        """Some of the lists: int64, list."""
        return Texts(self.tokens[lists], self.scores[lists])


class Candidates(NamedTuple):
    """The best continuations of each list's texts, the best first: list candidate, all.

    scores: float32, sums of log-probabilities · parents: int64, which text is continued · tokens: int64, with what ·
    ends: bool, whether that ends it · going: int64, list text, which of them go on, with their scores.
    """

    scores: Tensor
    parents: Tensor
    tokens: Tensor
    ends: Tensor
    going: Tensor
    going_scores: Tensor


class Search:
    """The beams of all prompts that are not done. A list are the texts that one group of one prompt continues."""

    def __init__(self, start: Start, config: BeamConfig, rules: tuple[Rule, ...]) -> None:
        self.start, self.config, self.rules = start, config, rules
        self.groups, self.width = config.groups, config.beams // config.groups
        device, lists = start.device, len(start.limits) * config.groups
        self.rows = torch.arange(len(start.limits), device=device)  # the prompts that are not done
        self.limits, self.lengths = (torch.tensor(one, device=device) for one in (start.limits, start.lengths))
        self.before = Past.of(*start.prompt).tokens
        self.stops = torch.tensor(sorted(start.ends), dtype=torch.int64, device=device)
        nothing = torch.empty(lists, self.width, 0, dtype=torch.int64, device=device)
        scores = torch.full((lists, self.width), NO_TEXT, device=device)
        self.going = Texts(nothing, scores.index_fill(1, self.stops.new_zeros(1), 0.0))
        self.ended = Texts(nothing, scores - torch.inf)  # the best first, minus infinity where there are fewer
        self.open = torch.ones(lists, dtype=torch.bool, device=device)
        self.length = 0  # of the texts that are continued
        self.results: dict[int, tuple[Tensor, Tensor]] = {}

    def step(self) -> None:
        """One token more for every beam."""
        found = self._candidates(self._scores())
        self.length += 1
        self._end(found)
        before, self.going = self.going, self._continued(found)
        self._close()
        self._keep(before, found.parents.gather(1, found.going))

    # What comes next

    def _scores(self) -> Tensor:
        """The log-probabilities of each beam's next token, after the rules: row group text vocab."""
        steps = self.start.steps
        scores = steps(self._input()).float()
        scores = scores if steps.normalised else scores.log_softmax(-1)
        if self.rules:
            scores = judged(scores, self._past(scores.shape[0]), self.rules)
        if self.length == 0:  # so far each prompt is one row
            scores = scores.repeat_interleave(self.config.beams, 0)
        return scores.view(len(self.rows), self.groups, self.width, -1)

    def _input(self) -> Padded:
        """The prompts at first, then the newest token of every beam."""
        return self.start.prompt if self.length == 0 else Padded(self.going.tokens[:, :, -1].reshape(-1, 1))

    def _past(self, batch: int) -> Past:
        """What the rows of the batch said so far."""
        copies = batch // len(self.rows)
        before, rows = self.before.repeat_interleave(copies, 0), self.rows.repeat_interleave(copies)
        new = self.going.tokens.reshape(-1, self.length) if self.length else before[:, :0]
        return Past(torch.cat((before, new), 1), self.length, rows)

    def _candidates(self, scores: Tensor) -> Candidates:
        """For each list so many that ``width`` of them go on, whatever ends."""
        before = self.going.scores.view(len(self.rows), self.groups, self.width)
        said, found = torch.zeros_like(scores[:, 0, :1]), []
        for group in range(self.groups):
            told = scores[:, group]
            if group and self.config.diversity is not None:
                told = told - self.config.diversity * said
            found.append(self._of_group(told, before[:, group]))
            if self.groups > 1:
                on = self.open.view(-1, self.groups)[:, group, None].expand(-1, self.width).to(said.dtype)
                said.scatter_add_(2, found[-1].tokens.gather(1, found[-1].going)[:, None], on[:, None])
        return Candidates(*(torch.stack(same, 1).flatten(0, 1) for same in zip(*found, strict=True)))

    def _of_group(self, scores: Tensor, before: Tensor) -> Candidates:
        """The same for one group of each row: row text vocab, row text."""
        wanted = max(2, 1 + len(self.stops)) * self.width
        values, tokens = best_of(scores, min(wanted, scores.shape[-1]))
        values = (values + before[:, :, None]).flatten(1)
        best, places = values.topk(min(wanted, values.shape[1]))
        if bool(best.isnan().any()):
            raise not_finite(self.start.first_row + int(self.rows[best.isnan().any(-1)][0]))
        parents, tokens = places // tokens.shape[-1], tokens.flatten(1).gather(1, places)
        ends = torch.isin(tokens, self.stops)
        going = torch.where(ends, best + NO_TEXT, best).topk(self.width)
        full = (self.limits == self.length + 1)[:, None]
        return Candidates(best, parents, tokens, ends | full, going.indices, going.values)

    # What becomes of the texts

    def _continued(self, found: Candidates) -> Texts:
        parents, tokens = found.parents.gather(1, found.going), found.tokens.gather(1, found.going)
        return Texts(self._with(parents, tokens), found.going_scores)

    def _with(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """The tokens of some texts and one more each: list text position."""
        past = self.going.tokens.gather(1, parents[:, :, None].expand(-1, -1, self.going.tokens.shape[2]))
        return torch.cat((past, tokens[:, :, None]), 2)

    def _end(self, found: Candidates) -> None:
        """Of the ended texts and those that end now the best are held; only the best candidates may end."""
        scores, ends = found.scores[:, : self.width], found.ends[:, : self.width]
        ends = ends & self.open[:, None] & (scores > NO_TEXT / 2)
        self.ended = self.ended._replace(tokens=F.pad(self.ended.tokens, (0, 1), value=NOTHING))
        if not bool(ends.any()):
            return
        scores = torch.where(ends, scores / self.length**self.config.length_penalty, -torch.inf)
        scores, best = torch.cat((self.ended.scores, scores), 1).topk(self.width)
        new = self._with(found.parents[:, : self.width], found.tokens[:, : self.width])
        tokens = torch.cat((self.ended.tokens, new), 1).gather(1, best[:, :, None].expand(-1, -1, self.length))
        self.ended = Texts(tokens, scores)

    def _close(self) -> None:
        """Which lists may still find a better text."""
        config, limits = self.config, self.limits.repeat_interleave(self.groups)
        ever = config.early_stopping == "never" and config.length_penalty > 0
        length = limits if ever else torch.full_like(limits, self.length)
        best = self.going.scores[:, :1] / length[:, None] ** config.length_penalty
        worst = self.ended.scores[:, -1]
        self.open = self.open & (best[:, 0] > worst) & (limits > self.length)
        if config.early_stopping is True or config.beams == 1:
            self.open = self.open & (worst == -torch.inf)

    # Which rows the batch has

    def _keep(self, before: Texts, parents: Tensor) -> None:
        """Prompts that are done leave, and each beam gets the past of the one that it continues."""
        batch, beams = len(self.rows), self.config.beams
        parents = (parents + torch.arange(len(parents), device=parents.device)[:, None] * self.width).view(batch, beams)
        if self.length == 1:  # so far each prompt was one row
            parents = parents // beams
        live = self.open.view(batch, self.groups).any(1)
        stay = bool(live.all())
        if not stay:
            self._leave(live)
            parents = parents[live]
        if len(self.rows):
            self._move(before, parents.flatten(), None if stay else live.nonzero()[:, 0])

    def _move(self, before: Texts, parents: Tensor, sources: Tensor | None) -> None:
        if sources is not None or self.length == 1:
            self.start.steps.keep(parents, sources)
            return
        past = before.tokens.view(len(parents), -1)
        differs = self.going.tokens[:, :, :-1].reshape(past.shape) != past
        if bool(differs.any()):
            first = int(differs.any(0).long().argmax())
            own = torch.arange(len(parents), device=parents.device)
            parents = torch.where(differs.any(1), parents, own)
            self.start.steps.keep(parents, None, int(self.lengths.amin()) + first)

    def _leave(self, live: Tensor) -> None:
        """Rows (bool, row) that are not live are done: the best of all their groups are their results."""
        texts = self.ended.tokens.view(len(live), self.config.beams, -1)
        scores, best = self.ended.scores.view(len(live), -1).topk(self.config.n_best)
        texts = texts.gather(1, best[:, :, None].expand(-1, -1, self.length))
        for place in (~live).nonzero()[:, 0].tolist():
            self.results[int(self.rows[place])] = (texts[place], scores[place])
        lists = live.repeat_interleave(self.groups).nonzero()[:, 0]
        self.going, self.ended = self.going.kept(lists), self.ended.kept(lists)
        self.open, self.before = self.open[lists], self.before[live]
        self.rows, self.limits, self.lengths = self.rows[live], self.limits[live], self.lengths[live]

    def generated(self) -> Generated:
        """The texts of all prompts, once all are done."""
        rows, reasons, scores = [], [], []
        for number in range(len(self.results)):
            texts, found = self.results[number]
            if not bool(found[0] > -torch.inf):
                raise no_token_left(self.start.first_row + number)
            for text, score in zip(texts.tolist(), found.tolist(), strict=True):
                tokens = [token for token in text if token != NOTHING] if score > -torch.inf else []
                rows.append(tokens)
                scores.append(score)
                reasons.append(self._reason(tokens))
        found_scores = torch.tensor(scores, device=self.start.device)
        return generated_of(
            rows, tuple(reasons), self.start.pad, self.start.device, scores=found_scores, n_best=self.config.n_best
        )

    def _reason(self, tokens: list[int]) -> Reason:
        return "end" if tokens and tokens[-1] in self.start.ends else "length"


def best_of(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` best scores and their places, the best first: … vocab → … count, both.

    They are among the runs with the best maxima; finding those first reads a large vocabulary once.
    """
    runs = scores.shape[-1] // RUN
    if runs < 2 * count:
        best = scores.topk(count)
        return best.values, best.indices
    body = scores[..., : runs * RUN].unflatten(-1, (runs, RUN))
    chosen = body.amax(-1).topk(count).indices[..., None]
    inside = torch.arange(RUN, device=scores.device)
    rest = torch.arange(runs * RUN, scores.shape[-1], device=scores.device)
    found = body.gather(-2, chosen.expand(*chosen.shape[:-1], RUN)).flatten(-2)
    places = torch.cat(((chosen * RUN + inside).flatten(-2), rest.expand(*scores.shape[:-1], -1)), -1)
    best = torch.cat((found, scores[..., runs * RUN :]), -1).topk(count)
    return best.values, places.gather(-1, best.indices)
