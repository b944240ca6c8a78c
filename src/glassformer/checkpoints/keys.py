"""The keys of a config.json, each of which must be read: what is neither used nor known to be harmless is refused."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

from glassformer.core.errors import CheckpointError, near

T = TypeVar("T", int, float, str, bool)

#: Keys that change nothing of what a model computes once it is trained; they are kept and written again.
# fmt: off
HARMLESS = frozenset((
    "transformers_version", "transformers.js_config", "_name_or_path", "name_or_path", "dtype", "torch_dtype",
    "use_cache", "initializer_range", "initializer_factor", "is_llama_config", "output_attentions",
    "output_hidden_states", "return_dict", "chunk_size_feed_forward", "gradient_checkpointing", "problem_type",
    "finetuning_task", "task_specific_params", "tokenizer_class", "id2label", "label2id", "num_labels",
    "_num_labels", "is_encoder_decoder", "model_type", "architectures", "_commit_hash", "torchscript",
    "use_bfloat16", "sep_token_id", "prefix", "_attn_implementation", "attn_implementation",
    "_attn_implementation_autoset", "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
    "attention_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout", "dropout_rate", "hidden_dropout",
    "classifier_dropout_prob", "auto_map", "max_length", "min_length", "do_sample", "early_stopping", "num_beams",
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "bad_words_ids", "num_return_sequences", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "num_beam_groups",
    "diversity_penalty", "encoder_no_repeat_ngram_size", "return_dict_in_generate", "output_scores", "output_past",
))
# fmt: on
#: Keys that old versions wrote into every config; any other value asks for something that most families do not have.
PLAIN = {"is_decoder": False, "add_cross_attention": False, "tie_encoder_decoder": False, "pruned_heads": {}}
CODE = frozenset({"auto_map"})
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


class Keys:
    """A mapping that remembers what was read.

    path: stands in front of every message · tensors: the names of a folder's tensors without the backbone's prefix, or
    None where there are no weights.
    """

    def __init__(self, data: Mapping[str, Any], path: str, tensors: frozenset[str] | None = None) -> None:
        self.data, self.path = dict(data), path
        self.tensors = tensors
        self.read: set[str] = set()

    def raw(self, name: str) -> Any:
        """The value as it stands, None where there is none."""
        self.read.add(name)
        return self.data.get(name)

    def ignore(self, *names: str) -> None:
        """Keys that say nothing about what is computed here."""
        self.read.update(names)

    def take(self, name: str, kind: type[T], default: T | None = None) -> T:
        """A value of a type; null and absence mean the default, and without one they are an error."""
        value = self.raw(name)
        if value is None:
            if default is None:
                raise CheckpointError("a missing key", at=f"{self.path}: {name}", expected=kind.__name__)
            return default
        if kind is float and type(value) is int and abs(value) < 1 << 1000:
            value = float(value)
        if type(value) is not kind:
            got = reprlib.repr(value)
            raise CheckpointError("a key of the wrong type", at=f"{self.path}: {name}", got=got, expected=kind.__name__)
        return value

    def maybe(self, name: str, kind: type[T]) -> T | None:
        """A value of a type, or None."""
        return None if self.raw(name) is None else self.take(name, kind)

    def only(self, name: str, *supported: Any) -> None:
        """Refuse a key whose value is not one of those that are computed here; absence counts as null."""
        value = self.raw(name)
        if value is not None and value not in supported:
            expected = " or ".join(map(repr, supported)) or "nothing"
            raise CheckpointError(
                "not supported", at=f"{self.path}: {name}", got=reprlib.repr(value), expected=expected
            )

    def choose(self, name: str, table: Mapping[str, Any], default: str | None = None) -> Any:
        """What a table says for the value of a key; an unknown value is refused."""
        value = self.take(name, str, default)
        if value not in table:
            expected = f"one of {near(value[:100], table)}"
            raise CheckpointError(
                "not supported", at=f"{self.path}: {name}", got=reprlib.repr(value), expected=expected
            )
        return table[value]

    def size(self, name: str, default: int | None = None, *, most: int = 1 << 24) -> int:
        """A count that is at least 1 and that a machine can hold."""
        value = self.take(name, int, default)
        if not 0 < value <= most:
            at = f"{self.path}: {name}"
            raise CheckpointError("a size out of range", at=at, got=reprlib.repr(value), expected=f"1 … {most}")
        return value

    def labels(self) -> int:
        """How many labels a classification head has."""
        named = self.raw("id2label")
        return len(named) if isinstance(named, dict) and named else self.take("num_labels", int, 2)

    def label_names(self) -> tuple[str, ...]:
        """What the numbers of labels mean; empty where the file does not say it for each."""
        named = self.raw("id2label")
        names = {str(number): name for number, name in named.items()} if isinstance(named, dict) else {}
        found = tuple(names.get(str(number)) for number in range(len(names)))
        return tuple(name for name in found if isinstance(name, str)) if None not in found else ()

    def check_all_read(self) -> None:
        """Refuse keys that nothing has read and that are not known to be harmless; null counts as absence.

        Raises:
            CheckpointError: with their values, and the names of known keys that look like the first.
        """
        known = self.read | HARMLESS | set(SPECIAL)
        unread = sorted(name for name in set(self.data) - known if self.data[name] not in (None, PLAIN.get(name)))
        if unread:
            said = ", ".join(f"{name}={reprlib.repr(self.data[name])}" for name in unread[:3])
            said += f" and {len(unread) - 3} more" if len(unread) > 3 else ""
            do = f"known are {near(unread[0][:100], self.read)}; remove what the model does not need"
            raise CheckpointError("keys that this family does not know", at=self.path, got=said, do=do)
