"""mT5 (Xue et al. 2021): T5 1.1 in a hundred languages; its scores are not scaled, whatever they share."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.families import t5
from glassformer.families.t5 import head_name as head_name, rules as rules
from glassformer.models.transformer import TransformerConfig

MODEL_TYPES = ("mt5",)
ARCHITECTURES = {
    "MT5ForConditionalGeneration": "tokens",
    "MT5Model": "hidden",
    "MT5EncoderModel": "encoder",
}
PREFIX, JUNK, TIED_COPIES = t5.PREFIX, t5.JUNK, t5.TIED_COPIES
SPECIAL = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
#: What absent keys mean, where that is not what T5 means by it.
DEFAULTS: dict[str, Any] = {
    "d_ff": 1024,
    "num_layers": 8,
    "num_heads": 6,
    "feed_forward_proj": "gated-gelu",
    "vocab_size": 250112,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an mT5 config.json."""
    keys.only("scale_decoder_outputs", False)
    keys.data["scale_decoder_outputs"] = False
    return read(keys, head)


def read(keys: Keys, head: str) -> TransformerConfig:
    """T5's, with other defaults."""
    for name, value in DEFAULTS.items():
        if keys.data.get(name) is None:
            keys.data[name] = value
    return t5.to_config(keys, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an mT5 config.json; what they cannot say is found by reading them back."""
    keys = t5.from_config(config)
    del keys["scale_decoder_outputs"]
    return keys
