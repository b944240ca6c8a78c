"""Chat templates: messages → the text that a model was trained to answer.

    chat_text(tokenizer, [{"role": "user", "content": "Hello"}])

A template is code from outside. It runs in Jinja's sandbox, in a process of its own that may compute for two seconds,
hold 512 MiB and write a million characters.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.text import refuse_surrogates
from glassformer.tokenizers.special import CONFIG_KEYS
from glassformer.tokenizers.tokenizer import Tokenizer

SECONDS, MEMORY, CHARACTERS = 2, 512 << 20, 1_000_000
#: Bytes of a template and its messages; more than any real conversation has.
LARGEST = 8 << 20
RENDERER = Path(__file__).with_name("render.py")

Message = Mapping[str, Any]


def chat_text(tokenizer: Tokenizer, messages: Sequence[Message], *, answer: bool = True, **variables: Any) -> str:
    """The text of a conversation.

    messages: each with ``role`` (system, user, assistant) and ``content`` · answer: end where the assistant's turn
    begins · variables: what else the template reads, for instance ``tools``.

    Raises:
        UnsupportedError: the tokenizer has no template.
        DataError: no message, or one with the text of a special token; a template that fails or takes too much.
    """
    return chat_texts(tokenizer, [(messages, answer)], **variables)[0]


def chat_texts(tokenizer: Tokenizer, talks: Sequence[tuple[Sequence[Message], bool]], **variables: Any) -> list[str]:
    """``chat_text`` of several conversations, each with its ``answer``, in one process and on one budget.

    Raises:
        UnsupportedError: the tokenizer has no template.
        DataError: one of them cannot be rendered, or all together take too much.
    """
    template = tokenizer.chat_template
    if template is None:
        do = "use a model that was trained for conversations, or `glassformer generate`"
        raise UnsupportedError("this tokenizer has no chat template", do=do)
    several, known = [], special_tokens(tokenizer)
    for messages, answer in talks:
        for place, message in enumerate(messages):
            _check(message, place, tokenizer)
        said = {"messages": [dict(message) for message in messages], "add_generation_prompt": answer, **variables}
        several.append({**known, **said})
    return rendered_all(template, several)


def chat_ids(tokenizer: Tokenizer, messages: Sequence[Message], *, answer: bool = True, **variables: Any) -> list[int]:
    """The tokens of that text; the template has put the special ones where they belong."""
    return tokenizer.encode(chat_text(tokenizer, messages, answer=answer, **variables), add_special=False)


def special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """What templates know the special tokens by: ``bos_token`` and the like."""
    named = tokenizer.special.named()
    return {CONFIG_KEYS[word]: tokenizer.token_content(number) for word, number in named.items()}


def _check(message: Message, place: int, tokenizer: Tokenizer) -> None:
    """Refuse what is no message, and text that the model would read as a special token."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise DataError("no message", at=f"message {place}", got=str(message)[:50], expected="role and content")
    for text in _texts(message):
        refuse_surrogates(text)
        for number in tokenizer.special_ids:
            if (content := tokenizer.token_content(number)) in text:
                do = "take it out: a message cannot end its own turn"
                raise DataError("a message holds a special token", at=f"message {place}", got=repr(content), do=do)


def _texts(value: Any) -> list[str]:
    """Every string inside a message, except its role."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for key, inner in value.items() if key != "role" for text in _texts(inner)]
    return [text for inner in value for text in _texts(inner)] if isinstance(value, list | tuple) else []


def rendered(template: str, variables: Mapping[str, Any]) -> str:
    """The text of a template.

    Raises:
        DataError: it fails, does what the sandbox forbids, or takes too much time, memory or room.
    """
    return rendered_all(template, [variables])[0]


def rendered_all(template: str, several: Sequence[Mapping[str, Any]]) -> list[str]:
    """The texts of a template for several sets of variables, on the budget of one.

    Raises:
        DataError: one of them fails, or all together take too much time, memory or room.
    """
    budget = {"seconds": SECONDS, "memory": MEMORY, "characters": CHARACTERS}
    try:
        asked = json.dumps(
            {"template": template, "variables": [dict(variables) for variables in several], **budget}
        ).encode()
    except (TypeError, ValueError) as error:
        raise DataError("messages that are no JSON", got=error) from error
    if len(asked) > LARGEST:
        raise DataError("the conversation is too long", got=f"{len(asked)} bytes", expected=f"at most {LARGEST}")
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(RENDERER)], input=asked, capture_output=True, timeout=5 * SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise DataError("the chat template takes too long", expected=f"at most {SECONDS} s") from error
    return _answer(done)


def _answer(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:  # the system ended it
        expected = f"at most {SECONDS} s and {MEMORY >> 20} MiB"
        raise DataError("the chat template takes too much", expected=expected) from error
    if "error" in answer:
        raise DataError("the chat template fails", got=answer["error"])
    texts: list[str] = answer["texts"]
    return texts
