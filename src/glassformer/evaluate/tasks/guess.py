"""What stands behind each mask of a text, from a masked language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.batch import Sample
from glassformer.data.examples import Example
from glassformer.evaluate.rows import outputs
from glassformer.evaluate.task import Hand, Prediction, Task
from glassformer.models.transformer import Transformer
from glassformer.parts.head import PretrainHeadConfig, TokenHeadConfig

#: Guesses of a mask, where nobody says how many.
TOP = 5


class Guess(Task):
    """fields: ``text``, with the mask of the tokenizer in it, or ``[MASK]``."""

    WORD, KIND, MEASURES = "guess", "text", False

    def fits(self, model: Transformer) -> bool:
        config = model.config
        return config.decoder is None and isinstance(config.head, TokenHeadConfig | PretrainHeadConfig)

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        mask = hand.tokenizer.special.mask
        if mask is None:
            raise UnsupportedError("guessing", got="a tokenizer without a mask token")
        written = hand.tokenizer.token_content(mask)
        found = [example.text("text").replace("[MASK]", written) for example in examples]
        rows = [_ids(text, mask, example, hand) for text, example in zip(found, examples, strict=True)]

        def read(number: int, scores: Tensor) -> Prediction:
            places = [place for place, token in enumerate(rows[number]) if token == mask]
            return _said(found[number].split(written), written, scores[places], hand)

        return outputs([Sample(row) for row in rows], hand, read)


def _ids(text: str, mask: int, example: Example, hand: Hand) -> list[int]:
    """The row of a text with masks.

    Raises:
        DataError: There is none, or the row is longer than the model.
    """
    most = hand.longest if hand.truncate else None
    ids = hand.reading.fitting(hand.tokenizer.encode(text, max_tokens=most), example)
    if mask not in ids:
        expected = f"{hand.tokenizer.token_content(mask)} where a word is to be guessed"
        raise DataError("a text without a mask", at=example.place, expected=expected)
    return ids


def _said(pieces: Sequence[str], written: str, scores: Tensor, hand: Hand) -> Prediction:
    """The text, which stands in pieces around the masks, with the best guesses in it; all guesses for machines."""
    best = scores.float().softmax(-1).topk(min(hand.top or TOP, scores.shape[-1]))
    guesses: list[list[dict[str, Any]]] = []
    for tokens, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True):
        pairs = zip(tokens, shares, strict=True)
        guesses.append([{"token": _text(token, hand), "id": token, "probability": share} for token, share in pairs])
    filled = pieces[0]
    for number, piece in enumerate(pieces[1:]):  # a mask that was cut off stays
        word = guesses[number][0]["token"] if number < len(guesses) else written
        filled += (word if filled and not filled[-1].isspace() else word.lstrip()) + piece
    return Prediction(filled, " ".join(filled.split()), {"filled": filled, "guesses": guesses})


def _text(token: int, hand: Hand) -> str:
    """A token as text; one that only the model's padded vocabulary has has none."""
    return hand.tokenizer.decode([token]).removeprefix("##") if token < hand.tokenizer.vocab_size else ""


TASK = Guess()
