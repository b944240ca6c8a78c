"""Sequence to sequence: a target text from a source text, such as its translation or its summary."""

from __future__ import annotations

from glassformer.data.batch import Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.train.objective import Reading
from glassformer.train.objectives._tokens import TokenLabelsConfig, check_pair


class SequenceToSequenceConfig(TokenLabelsConfig):
    """Cross entropy of each token of the target, with label smoothing  (Vaswani et al. 2017, section 5.4).

    fields: ``source`` and ``target``.
    """

    FIELDS = ("source", "target")
    smoothing: float = 0.1

    def check_model(self, config: TransformerConfig) -> None:
        check_pair("sequence to sequence", config)

    def sample(self, example: Example, reading: Reading) -> Sample:
        """The target is given one place later, behind the start token, and ends with the end token."""
        source = reading.ids(example, "source")
        given, said = reading.shifted(reading.ids(example, "target"), example)
        return Sample(source, target=given, labels={"tokens": said})


OBJECTIVE = SequenceToSequenceConfig
