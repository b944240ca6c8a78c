"""The keys of a config.json, each of which must be read: what is neither used nor known to be harmless is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from glassformer.core.errors import CheckpointError, near

T = TypeVar("T", int, float, str, bool)

#: Keys that change nothing of what a model computes once it is trained; they are kept and written again.
HARMLESS = frozenset(
    """transformers_version _name_or_path name_or_path dtype torch_dtype use_cache initializer_range initializer_factor
    output_attentions output_hidden_states return_dict chunk_size_feed_forward gradient_checkpointing problem_type
    finetuning_task task_specific_params tokenizer_class id2label label2id num_labels is_encoder_decoder model_type
    architectures _commit_hash torchscript use_bfloat16 sep_token_id prefix _attn_implementation
    attn_implementation hidden_dropout_prob attention_probs_dropout_prob classifier_dropout attention_dropout
    resid_pdrop embd_pdrop attn_pdrop dropout dropout_rate hidden_dropout classifier_dropout_prob
    auto_map max_length min_length do_sample early_stopping num_beams temperature top_k top_p
    typical_p repetition_penalty length_penalty no_repeat_ngram_size bad_words_ids num_return_sequences
    forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens
    begin_suppress_tokens num_beam_groups diversity_penalty encoder_no_repeat_ngram_size return_dict_in_generate
    output_scores output_past""".split()
)
CODE = frozenset({"auto_map"})
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


class Keys:
    """A mapping that remembers what was read. ``path`` stands in front of every message."""

    def __init__(self, data: Mapping[str, Any], path: str, tensors: frozenset[str] | None = None) -> None:
        self.data, self.path = dict(data), path
        self.tensors = tensors
        self.read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self.data.get(name) is not None

    def raw(self, name: str) -> Any:
        """The value as it stands, None where there is none."""
        self.read.add(name)
        return self.data.get(name)

    def take(self, name: str, kind: type[T], default: T | None = None) -> T:
        """A value of a type; null and absence mean the default, and without one they are an error."""
        value = self.raw(name)
        if value is None:
            if default is None:
                raise CheckpointError("a missing key", at=f"{self.path}: {name}", expected=kind.__name__)
            return default
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise CheckpointError("a key of the wrong type", at=f"{self.path}: {name}", got=repr(value), expected=kind.__name__)
        return value

    def maybe(self, name: str, kind: type[T]) -> T | None:
        """A value of a type, or None."""
        return None if self.raw(name) is None else self.take(name, kind)

    def only(self, name: str, *supported: Any) -> None:
        """Refuse a key whose value is not one of those that are computed here; absence counts as null."""
        value = self.raw(name)
        if value not in supported:
            expected = " or ".join(map(repr, supported))
            raise CheckpointError("not supported", at=f"{self.path}: {name}", got=repr(value), expected=expected)

    def choose(self, name: str, table: Mapping[str, Any], default: str | None = None) -> Any:
        """What a table says for the value of a key; an unknown value is refused."""
        value = self.take(name, str, default)
        if value not in table:
            expected = near(value, table)
            raise CheckpointError("not supported", at=f"{self.path}: {name}", got=repr(value), expected=f"one of {expected}")
        return table[value]

    def size(self, name: str, default: int | None = None, *, most: int = 1 << 24) -> int:
        """A count that is at least 1 and that a machine can hold."""
        value = self.take(name, int, default)
        if not 0 < value <= most:
            raise CheckpointError("a size out of range", at=f"{self.path}: {name}", got=value, expected=f"1 … {most}")
        return value

    def labels(self) -> int:
        """How many labels a classification head has."""
        named = self.raw("id2label")
        return len(named) if isinstance(named, dict) and named else self.take("num_labels", int, 2)

    def finish(self) -> dict[str, Any]:
        """All keys but those that name code, to be written again beside what the description says.

        Raises:
            CheckpointError: a key that nothing has read and that is not known to be harmless.
        """
        unread = set(self.data) - self.read - HARMLESS - set(SPECIAL)
        unread = {name for name in unread if self.data[name] is not None}
        if unread:
            said = ", ".join(f"{name}={self.data[name]!r}" for name in sorted(unread))
            raise CheckpointError("keys that this family does not know", at=self.path, got=said[:300], do="remove or support them")
        return {name: value for name, value in self.data.items() if name not in CODE}
