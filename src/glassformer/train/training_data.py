"""What the training loop asks of the data that a run reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from glassformer.data.batch import Batch
from glassformer.data.images import ImageProcessing
from glassformer.data.sampling import Sampler
from glassformer.data.tokens import TextTokenizer, TokenStream


class TrainingData(Protocol):
    """What a run reads; ``glassformer.data.TextData`` is one."""

    @property
    def tokenizer(self) -> TextTokenizer | ImageProcessing:
        """What made the tokens, or the images; it is saved beside the model."""
        ...

    @property
    def sampler(self) -> Sampler:
        """The training batches."""
        ...

    @property
    def validation(self) -> Mapping[str, TokenStream]:
        """Place → held-out stream; empty where there is none, and where samples have lengths of their own."""
        ...

    def held_out_batches(self, tokens: int) -> Iterator[Batch]:
        """Each held-out sample once, in batches of about so many tokens."""
        ...

    @property
    def length(self) -> int:
        """Tokens to predict in a sample, where the run does not say; 1 where samples have lengths of their own."""
        ...

    @property
    def recipe(self) -> Mapping[str, Any]:
        """How to read the same data again; empty where that cannot be said."""
        ...
