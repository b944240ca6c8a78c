"""Conversations as tokens, and which of them the assistant says.

The template of the folder is rendered up to where an answer begins, and up to where it ends; both must be beginnings of
the whole conversation, so that what stands between is what the model is asked for when it chats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.examples import Example
from glassformer.tokenizers.chat import chat_texts
from glassformer.train.objective import Reading
from glassformer.train.objectives._tokens import marked

Turns = Literal["all", "last"]
#: Texts that are rendered at once.
_AT_ONCE = 128


class Talk(NamedTuple):
    """A conversation, and the example that it comes from."""

    example: Example
    messages: Sequence[Mapping[str, Any]]

    def answers(self, turns: Turns) -> list[int]:
        """The numbers of the assistant's messages that are learned.

        Raises:
            DataError: There is none.
        """
        found = [number for number, message in enumerate(self.messages) if message["role"] == "assistant"]
        if not found:
            expected = "one with the role 'assistant'"
            raise DataError("a conversation without an answer", at=self.example.place, expected=expected)
        return found[-1:] if turns == "last" else found

    def pieces(self, turns: Turns) -> list[tuple[Sequence[Mapping[str, Any]], bool]]:
        """The whole, and for each answer what comes before it and what ends with it."""
        found: list[tuple[Sequence[Mapping[str, Any]], bool]] = [(self.messages, False)]
        for number in self.answers(turns):
            found += [(self.messages[:number], True), (self.messages[: number + 1], False)]
        return found


def told(talks: Sequence[Talk], reading: Reading, turns: Turns = "all") -> Iterator[tuple[list[int], list[bool]]]:
    """The ids of each conversation, and which of them are learned.

    Raises:
        DataError: A conversation cannot be rendered, or is too long; with its place.
        UnsupportedError: The template does not let the answers be found.
    """
    texts = iter(_rendered(talks, reading, turns))
    ends = tuple(reading.tokenizer.token_content(token) for token in reading.tokenizer.special_ids)
    for talk in talks:
        whole, spans = next(texts), []
        for _ in talk.answers(turns):
            before, through = next(texts), next(texts)
            if not (whole.startswith(through) and through.startswith(before) and len(before) < len(through)):
                what = "a chat template in which answers cannot be told from the rest"
                do = "learn the last answer only: --set turns=last" if turns == "all" else None
                raise UnsupportedError(
                    what, at=talk.example.place, got="it renders a part otherwise than the whole", do=do
                )
            bare = through.rstrip()  # the line end behind an end token is written by the template, not by the model
            spans.append((len(before), len(bare if bare.endswith(ends) else through)))
        ids, learned = marked(whole, spans, reading, literal=False, add_special=False)
        if reading.truncate and reading.max_tokens is not None:
            ids, learned = ids[: reading.max_tokens], learned[: reading.max_tokens]
        if not any(learned[1:]):
            raise DataError("no token of an answer is left", at=talk.example.place, got=f"{len(ids)} tokens")
        yield reading.fitting(ids, talk.example), learned


def _rendered(talks: Sequence[Talk], reading: Reading, turns: Turns) -> Iterator[str]:
    """The texts of the pieces of all conversations."""
    held: list[Talk] = []
    for talk in talks:
        held.append(talk)
        if sum(len(one.pieces(turns)) for one in held) >= _AT_ONCE:
            yield from _together(held, reading, turns)
            held = []
    yield from _together(held, reading, turns)


def _together(talks: Sequence[Talk], reading: Reading, turns: Turns) -> list[str]:
    """Texts rendered at once; where one fails, each alone, so that the one that does is named."""
    pieces = [piece for talk in talks for piece in talk.pieces(turns)]
    if not pieces:
        return []
    try:
        return chat_texts(reading.tokenizer, pieces)
    except DataError:
        return [text for talk in talks for text in _alone(talk, reading, turns)]


def _alone(talk: Talk, reading: Reading, turns: Turns) -> list[str]:
    try:
        return chat_texts(reading.tokenizer, talk.pieces(turns))
    except DataError as error:
        at = talk.example.place if error.at is None else f"{talk.example.place}, {error.at}"
        raise DataError(error.what, at=at, got=error.got, expected=error.expected, do=error.do) from error
