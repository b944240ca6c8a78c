"""Sequence to sequence: a target text from a source text, such as its translation or its summary."""

from __future__ import annotations

from torch import nn

from glassformer.core.errors import DataError
from glassformer.data.batch import IGNORED, Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.train.losses import cross_entropy_sum
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, refuse, routed


class SequenceToSequenceConfig(ExampleObjectiveConfig):
    """Cross entropy of each token of the target, with label smoothing  (Vaswani et al. 2017, section 5.4).

    fields: ``source`` and ``target``.
    """

    FIELDS = ("source", "target")
    smoothing: float = 0.1

    def check(self) -> None:
        self.require(0 <= self.smoothing < 1, "smoothing", "0 to below 1")

    def check_model(self, config: TransformerConfig) -> None:
        if config.encoder is None or config.decoder is None or not isinstance(config.head, TokenHeadConfig):
            refuse("sequence to sequence", config, "an encoder with a decoder and TokenHeadConfig")

    def sample(self, example: Example, reading: Reading) -> Sample:
        """The target is given one place later, behind the start token, and ends with the end token."""
        source = reading.ids(example, "source")
        given, said = reading.shifted(reading.ids(example, "target"), example)
        return Sample(source, target=given, labels={"tokens": said})

    def weight(self, batch: Batch) -> int:
        return int((batch.labels["tokens"] != IGNORED).sum())

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        labels = batch.labels["tokens"]
        if batch.target is None:
            raise DataError("no target to say")
        logits, extra = routed(model, batch, self.weight(batch))
        right = (logits.argmax(-1) == labels) & (labels != IGNORED)
        loss, _ = cross_entropy_sum(logits, labels, smoothing=self.smoothing)
        plain = cross_entropy_sum(logits.detach(), labels)[0] if self.smoothing else loss.detach()
        return loss + extra, {"accuracy": right.sum(), "nats": plain}


OBJECTIVE = SequenceToSequenceConfig
