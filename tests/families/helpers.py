"""A tiny random model of transformers, its folder, and ours loaded from it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers.core_model_loading import revert_weight_conversion

from glassformer.checkpoints.folder import load
from glassformer.checkpoints.matching import claims_of
from glassformer.families import family_of
from glassformer.models.transformer import Transformer
from tests.families.forms import FAMILIES, IMAGE_FAMILIES, VOCAB, Form

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

#: What a comparison in float32 may differ by, as a share of the largest number compared.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Pair:
    """The same model there and here."""

    form: Form
    theirs: nn.Module
    ours: Transformer
    folder: Path

    @property
    def head(self) -> str:
        """What the architecture computes, in the words of the family files."""
        return head_of(self.form)

    @property
    def is_pair(self) -> bool:
        """Whether it has an encoder and a decoder."""
        return self.ours.encoder is not None and self.ours.decoder is not None


def head_of(form: Form) -> str:
    """What a form's architecture computes, in the words of the family files."""
    head: str = family_of(form.family, "test").ARCHITECTURES[form.architecture]
    return head


def build(form: Form, seed: int = 0) -> nn.Module:
    """A model of transformers in which every weight shows, norms and biases too, and whose words vary."""
    config_class = getattr(transformers, form.architecture).config_class
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, form.architecture)(
            config_class(**copy.deepcopy({**(FAMILIES | IMAGE_FAMILIES)[form.family].sizes, **form.settings}))
        )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in filter(lambda one: one.requires_grad, model.parameters()):
            is_table, is_flat = weight.shape[0] == VOCAB, weight.ndim == 1
            drawn = torch.randn(weight.shape, generator=generator) * (0.1 if is_table and not is_flat else 0.25)
            weight.copy_(drawn)
        for name, weight in model.named_parameters():
            if weight.ndim == 1 and name.endswith("weight"):  # of a norm
                weight.add_(1.0)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):  # learned without gradients
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.25)
        if hasattr(model, "final_logits_bias"):  # a buffer, and yet a bias
            model.final_logits_bias.normal_(0.0, 0.25, generator=generator)
    return model.eval()


def make(form: Form, folder: Path, **saving: Any) -> Pair:
    """Build, save there, load here."""
    theirs = build(form, form.seed)
    theirs.save_pretrained(folder, **saving)
    return Pair(form, theirs, load(folder), folder)


def tokens_like(*shape: int, seed: int = 0) -> Tensor:
    """Ids without 0 and 1, the padding tokens, which transformers treats apart: int64, batch position."""
    return torch.randint(1, VOCAB, shape, generator=torch.Generator().manual_seed(seed)).clamp(min=2)


def close(ours: Tensor, theirs: Tensor, what: str = "", scale: float | None = None) -> None:
    """Assert that two tensors differ by no more than the tolerance."""
    assert ours.shape == theirs.shape, what
    assert torch.isfinite(theirs).all() and theirs.abs().max() > 0, f"{what} shows nothing"
    off = (ours - theirs).abs().max() / (theirs.abs().max() if scale is None else scale)
    assert off <= TOLERANCE, f"{what} is off by {off:.1e}"


def forget(theirs: nn.Module) -> None:
    """Undo what rotary embeddings of transformers keep of longer rows that they saw: a row's result hangs on it."""
    for part in theirs.modules():
        if hasattr(part, "original_inv_freq"):
            part.inv_freq.copy_(part.original_inv_freq)
            part.max_seq_len_cached = part.original_max_seq_len


def run_theirs(pair: Pair, tokens: Tensor, target: Tensor | None = None, **more: Any) -> Any:
    """What transformers answers; ``target`` goes to the decoder of a pair."""
    forget(pair.theirs)
    if pair.is_pair:
        more["decoder_input_ids"] = target
    if pair.head == "choice":
        return chosen(pair.theirs, tokens, **more)
    if pair.head == "classify" and pair.is_pair:
        return classified(pair.theirs, tokens, **more)
    answer = pair.theirs(input_ids=tokens, **more)
    if pair.head == "detect":
        answer.logits = answer.logits[..., None]
    return answer


def chosen(theirs: nn.Module, tokens: Tensor, **more: Any) -> Any:
    """Rows as the choices of one question, which transformers gives an axis of their own; a score a row comes back."""
    rows = {"attention_mask": torch.ones_like(tokens), **more}
    labels = {"labels": rows.pop("labels")} if "labels" in rows else {}
    rows = {name: value[None] if isinstance(value, Tensor) else value for name, value in rows.items()}
    answer = theirs(input_ids=tokens[None], **rows, **labels)
    answer.logits = answer.logits.mT
    return answer


def classified(theirs: nn.Module, tokens: Tensor, labels: Tensor | None = None, **more: Any) -> Any:
    """The classes of a pair's target; transformers takes them from where the source has its end token.

    That is the last of the target if that is the source moved by one, as it is there: see test_judgements_pairs.
    """
    answer = theirs.model(input_ids=tokens, **more)
    answer["logits"] = theirs.classification_head(answer.last_hidden_state[:, -1])
    if labels is not None:
        answer["loss"] = cross_entropy(answer["logits"], labels)
    return answer


def run_ours(pair: Pair, tokens: Tensor, target: Tensor | None = None, **more: Any) -> Tensor:
    """The same from here."""
    return pair.ours(tokens, target, **more) if pair.is_pair else pair.ours(tokens, **more)


def main_output(answer: Any) -> Tensor:
    """The tensor that we call the output, among those of an answer of transformers."""
    if "start_logits" in answer:
        return torch.stack((answer.start_logits, answer.end_logits), -1)
    for name in ("prediction_logits", "logits", "last_hidden_state"):
        if name in answer:
            return answer[name]
    raise AssertionError(f"nothing known in {list(answer)}")


# Losses, as transformers defines them; without a head, a fixed sum.


def pretraining_label(pair: Pair) -> str:
    """What transformers calls the label of two sentences: whether one follows, or whether they are in order."""
    return "sentence_order_label" if pair.form.family == "albert" else "next_sentence_label"


def labels_for(pair: Pair, tokens: Tensor) -> dict[str, Tensor]:
    """Labels by the names that transformers gives them, some of them ignored."""
    draw = torch.Generator().manual_seed(9)
    batch, length = tokens.shape
    words = torch.randint(0, VOCAB, tokens.shape, generator=draw).masked_fill(
        torch.rand(tokens.shape, generator=draw) < 0.3, -100
    )
    words[:, -1] = 5
    rows, places = torch.randint(0, 2, (batch,), generator=draw), torch.randint(0, length, (2, batch), generator=draw)
    return {
        "tokens": {"labels": words},
        "tag": {"labels": torch.randint(0, 3, tokens.shape, generator=draw)},
        "classify": {"labels": rows},
        "sentence": {"labels": rows},
        "span": {"start_positions": places[0], "end_positions": places[1]},
        "choice": {"labels": torch.tensor([1])},
        "detect": {"labels": torch.randint(0, 2, tokens.shape, generator=draw)},
        "pretrain": {"labels": words, pretraining_label(pair): rows},
    }.get(pair.head, {})


def our_loss(pair: Pair, out: Tensor, sentence: Tensor | None, labels: dict[str, Tensor]) -> Tensor:
    """The loss of our output."""
    if not labels:
        return fixed_sum(out)
    if pair.head == "span":
        return (
            cross_entropy(out[..., 0], labels["start_positions"]) + cross_entropy(out[..., 1], labels["end_positions"])
        ) / 2
    wanted = labels["labels"]
    if pair.head == "choice":
        return cross_entropy(out.mT, wanted)
    if pair.head == "detect":
        return binary_cross_entropy_with_logits(out[..., 0], wanted.float())
    if pair.head == "tokens" and pair.ours.encoder is None:  # the next token
        out, wanted = out[:, :-1], wanted[:, 1:]
    loss = cross_entropy(out.flatten(0, -2), wanted.flatten())
    return loss if sentence is None else loss + cross_entropy(sentence, labels[pretraining_label(pair)])


def fixed_sum(out: Tensor) -> Tensor:
    """A scalar that weighs every number of a tensor differently."""
    return (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(3))).sum()


def gradients(pair: Pair) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name in the files, our gradient in their form, theirs; a weight that a loss does not reach has zeros."""
    family = family_of(pair.form.family, "test")
    weights = dict(pair.ours.named_parameters())
    ours = {name: torch.zeros_like(one) if one.grad is None else one.grad for name, one in weights.items()}
    theirs = their_gradients(pair)
    for claim in claims_of(pair.ours, family):
        if not all(weights[name].requires_grad for name in claim.ours):
            continue
        mine = claim.of(ours)
        bare = claim.theirs.removeprefix(family.PREFIX)
        name = bare if pair.ours.config.head is None else claim.theirs
        if name not in dict(pair.theirs.named_buffers()):  # the bias of BART's scores, which is not trained there
            yield claim.theirs, claim.rule.save(mine), theirs[name]


def their_gradients(pair: Pair) -> dict[str, Tensor]:
    """The gradients of transformers under the names and in the form of its files, which its modules need not have."""
    weights = dict(pair.theirs.named_parameters(remove_duplicate=False))
    found = {name: torch.zeros_like(one) if one.grad is None else one.grad for name, one in weights.items()}
    in_files: dict[str, Tensor] = revert_weight_conversion(pair.theirs, found)
    return in_files


# Rows of different lengths


def padded(rows: list[Tensor], side: str) -> tuple[Tensor, Tensor]:
    """Rows as one batch and which of its tokens are real: batch position, both."""
    longest = max(len(row) for row in rows)
    tokens, valid = (
        torch.zeros(len(rows), longest, dtype=torch.int64),
        torch.zeros(len(rows), longest, dtype=torch.bool),
    )
    for index, row in enumerate(rows):
        place = slice(longest - len(row), None) if side == "left" else slice(len(row))
        tokens[index, place], valid[index, place] = row, True
    return tokens, valid
