"""Conversations: what the assistant says, from all that was said before."""

from __future__ import annotations

from collections.abc import Iterable

from glassformer.data.batch import Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.train.objective import Reading
from glassformer.train.objectives._talks import Talk, Turns, told
from glassformer.train.objectives._tokens import TokenLabelsConfig, check_decoder, next_labels


class ChatConfig(TokenLabelsConfig):
    """Cross entropy of the assistant's tokens, with the end of its turn, in the chat template of the folder.

    fields: ``messages``, each with ``role`` and ``content``.

    turns: all answers of a conversation, or the last one, for templates that tell earlier ones in another way.
    """

    FIELDS = ("messages",)
    turns: Turns = "all"

    def check_model(self, config: TransformerConfig) -> None:
        check_decoder("conversations", config)

    def sample(self, example: Example, reading: Reading) -> Sample:
        return self.samples([example], reading)[0]

    def samples(self, examples: Iterable[Example], reading: Reading) -> list[Sample]:
        talks = [Talk(example, example.messages("messages")) for example in examples]
        found = told(talks, reading, self.turns)
        return [Sample(ids, labels={"tokens": next_labels(ids, learned)}) for ids, learned in found]


OBJECTIVE = ChatConfig
