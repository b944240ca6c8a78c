"""The tokens that mean something to a program rather than to a reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SETTINGS_FILE = "tokenizer_config.json"
TOKENS_MAP_FILE = "special_tokens_map.json"
#: Our word → the key in ``tokenizer_config.json``.
CONFIG_KEYS = {
    "start": "bos_token",
    "end": "eos_token",
    "pad": "pad_token",
    "unknown": "unk_token",
    "mask": "mask_token",
    "separator": "sep_token",
    "first": "cls_token",
}


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens; None where a tokenizer has none of the kind. ``first`` is BERT's ``[CLS]``."""

    start: int | None = None
    end: int | None = None
    pad: int | None = None
    unknown: int | None = None
    mask: int | None = None
    separator: int | None = None
    first: int | None = None

    def named(self) -> dict[str, int]:
        """The ids that exist."""
        return {name: number for name, number in asdict(self).items() if number is not None}


def token_content(entry: Any) -> str | None:
    """``"<s>"`` from either form of ``tokenizer_config.json``: the text itself or ``{"content": text}``."""
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None
