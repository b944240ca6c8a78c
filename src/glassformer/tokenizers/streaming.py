"""Text from tokens that come one at a time; a character is shown when its last byte is there, never half of it."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glassformer.tokenizers.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"
_WINDOW = 64  # tokens after which a broken character is given up; the longest honest wait is one token per byte, so 4


class ByteStreamDecoder:
    """For tokenizers whose tokens are bytes: UTF-8 decoded step by step."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that this token completes, often empty inside a character."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def finish(self) -> str:
        """What was held back: the start of a character that never ended, as the replacement character."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


class WindowStreamDecoder:
    """For all other tokenizers: decode a short window with and without its newest tokens, and show the difference.

    The window starts one shown piece back: decoders such as Metaspace treat the first token of a text differently.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._shown: list[int] = []
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """The text that this token completes, often empty inside a character."""
        self._held.append(token)
        before, after = self._texts()
        if len(after) <= len(before) or (after.endswith(_REPLACEMENT) and len(self._held) < _WINDOW):
            return ""
        self._shown, self._held = self._held, []
        return after[len(before) :]

    def finish(self) -> str:
        """What was held back at the end."""
        before, after = self._texts()
        self._shown, self._held = [], []
        return after[len(before) :]

    def _texts(self) -> tuple[str, str]:
        return self._tokenizer.decode(self._shown), self._tokenizer.decode(self._shown + self._held)


StreamDecoder = ByteStreamDecoder | WindowStreamDecoder
