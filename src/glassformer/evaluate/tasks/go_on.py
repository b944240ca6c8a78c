"""What follows a text, from a decoder; what can be measured of it is how well it predicts text."""

from __future__ import annotations

from collections.abc import Sequence

from glassformer.data.examples import Example
from glassformer.evaluate.task import Hand, Prediction, Task
from glassformer.evaluate.tasks.write import ids_of, said, written
from glassformer.models.transformer import Transformer
from glassformer.parts.head import TokenHeadConfig


class GoOn(Task):
    """fields: ``text``."""

    WORD, KIND, MEASURES = "continue", "text", False

    def fits(self, model: Transformer) -> bool:
        return model.config.encoder is None and isinstance(model.config.head, TokenHeadConfig)

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        room = hand.writing.get("max_tokens") or 1
        return [said(one) for one in written([ids_of(example, "text", hand, room) for example in examples], hand)]


TASK = GoOn()
