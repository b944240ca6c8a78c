"""Text ↔ token ids: a thin layer over the `tokenizers` library that is never silent about what it changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from glassformer.core.errors import CheckpointError, ConfigError, DataError
from glassformer.core.hub import local
from glassformer.data.batch import Batch, Side, pad_rows
from glassformer.data.text import refuse_surrogates
from glassformer.data.tokens import TextTokenizer
from glassformer.tokenizers.boundary import library_errors
from glassformer.tokenizers.convert import from_older_files
from glassformer.tokenizers.files import json_object, read_object, read_text
from glassformer.tokenizers.pieces import Pieces
from glassformer.tokenizers.special import CONFIG_KEYS, SETTINGS_FILE, TOKENS_MAP_FILE, SpecialIds, token_content
from glassformer.tokenizers.streaming import ByteStreamDecoder, StreamDecoder, WindowStreamDecoder

TOKENIZER_FILE = "tokenizer.json"
#: Files beside tokenizer.json that are carried along unread or half read.
CARRIED_FILES = (TOKENS_MAP_FILE, "added_tokens.json", "chat_template.jinja")

TextOrPair = str | tuple[str, str]


class Tokenizer:
    """A ``tokenizer.json`` with its ``tokenizer_config.json``.

    Padding and truncation sections of the file are not honoured: padding is what ``encode_batch`` does, and a text is
    cut only when ``max_tokens`` asks for it.
    """

    def __init__(
        self,
        source: str,
        settings: Mapping[str, Any] | None = None,
        *,
        carried: Mapping[str, str] | None = None,
        at: object = None,
    ) -> None:
        """``source`` is the text of a ``tokenizer.json``.

        Raises:
            CheckpointError: The library cannot read it, or its special tokens contradict its vocabulary.
        """
        self._source, self.settings, self._carried = source, dict(settings or {}), dict(carried or {})
        self._tokens_map = json_object(self._carried.get(TOKENS_MAP_FILE, "{}"), at=at)
        with library_errors(CheckpointError, "not a tokenizer that can be read", at=at):
            self._backend = _backend(source)
            described = json.loads(source)
            self._pieces = Pieces(described)
            added = [(token["content"], token["id"], token["special"]) for token in described.get("added_tokens") or ()]
        for content, number, _ in added:  # the library would give such a token another id without a word
            if (found := self._backend.token_to_id(content)) != number:
                got = f"id {number} for {content!r}"
                raise CheckpointError("a token contradicts the vocabulary", at=at, got=got, expected=f"id {found}")
        self._added_special = frozenset(number for _, number, special in added if special)

    # -- what it knows -------------------------------------------------------------------------------------------------

    @cached_property
    def vocab_size(self) -> int:
        """Rows that an embedding needs: the highest token id and one."""
        return max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def vocab(self) -> dict[str, int]:
        """Every token as the vocabulary writes it, and its id."""
        return self._backend.get_vocab(with_added_tokens=True)

    @cached_property
    def special(self) -> SpecialIds:
        """Ids of the special tokens that ``tokenizer_config.json`` (or ``special_tokens_map.json``) names."""
        named = self._tokens_map | self.settings
        contents = {word: token_content(named.get(key)) for word, key in CONFIG_KEYS.items()}
        return SpecialIds(
            **{word: self._backend.token_to_id(text) for word, text in contents.items() if text is not None}
        )

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Every id that text does not show: what the file marks as special and what the settings name."""
        return self._added_special | frozenset(self.special.named().values())

    @property
    def chat_template(self) -> str | None:
        """The Jinja text of the chat format, where there is one."""
        template = self._carried.get("chat_template.jinja", self.settings.get("chat_template"))
        if isinstance(template, list):  # several with names, of which one is the default
            named = {one.get("name"): one.get("template") for one in template if isinstance(one, Mapping)}
            template = named.get("default")
        return template if isinstance(template, str) else None

    @property
    def byte_level(self) -> bool:
        """Whether every token is a string of bytes, so that any text has exactly one byte length in tokens."""
        return self._pieces.byte_level

    def token_id(self, content: str) -> int | None:
        """The id of the token that is written ``content`` in the vocabulary."""
        return self._backend.token_to_id(content)

    def token_content(self, token: int) -> str:
        """The token as the vocabulary writes it.

        Raises:
            DataError: There is no such id.
        """
        content = self._backend.id_to_token(token) if 0 <= token < 2**32 else None
        if content is None:
            raise DataError("no such token", got=token, expected=f"an id below {self.vocab_size}")
        return content

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token adds to a text; a special token adds none."""
        return b"" if token in self.special_ids else self._pieces.bytes_of(self.token_content(token))

    # -- text to ids ---------------------------------------------------------------------------------------------------

    def encode(
        self, text: TextOrPair, *, add_special: bool = True, literal: bool = False, max_tokens: int | None = None
    ) -> list[int]:
        """Ids of a text, or of a pair of texts.

        Args:
            text: The text, or two texts that the tokenizer joins in its own way.
            add_special: Add the special tokens that the tokenizer puts around a text.
            literal: Read ``<s>`` and the like in the text as plain characters; a must with text that others wrote.
            max_tokens: Cut the text so that this many tokens, special ones included, are left.

        Raises:
            DataError: The text holds a lone surrogate, or the library fails.
        """
        return list(self._encoding(text, add_special, literal, max_tokens).ids)

    def offsets(
        self, text: TextOrPair, *, add_special: bool = True, literal: bool = False, max_tokens: int | None = None
    ) -> list[tuple[int, int]]:
        """Where in its text each token of ``encode`` stands: first character and the one behind the last.

        Two equal numbers are no character: a special token that the tokenizer has put there. Each token of a character
        in several has its place; the second text of a pair is counted from its own start.
        """
        return [(start, end) for start, end in self._encoding(text, add_special, literal, max_tokens).offsets]

    def encode_batch(
        self,
        texts: Sequence[TextOrPair],
        *,
        side: Side = "right",
        add_special: bool = True,
        literal: bool = False,
        max_tokens: int | None = None,
    ) -> Batch:
        """Several texts as one padded batch; pairs of texts also give ``segments``."""
        found = [self._encoding(text, add_special, literal, max_tokens) for text in texts]
        pad = next((number for number in (self.special.pad, self.special.end) if number is not None), 0)
        paired = any(isinstance(text, tuple) for text in texts)
        segments = [encoding.type_ids for encoding in found] if paired else None
        return pad_rows([encoding.ids for encoding in found], pad=pad, side=side, segments=segments)

    def encode_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts that others wrote: special tokens in them are plain characters; the tokenizer adds its own."""
        return _encoded(self._literal, texts)

    def encode_rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of several texts, each as ``encode`` gives them, computed side by side."""
        return _encoded(self._backend, texts)

    def _encoding(
        self, text: TextOrPair, add_special: bool, literal: bool, max_tokens: int | None
    ) -> tokenizers.Encoding:
        backend = self._literal if literal else self._backend
        parts = text if isinstance(text, tuple) else (text,)
        for part in parts:
            refuse_surrogates(part)
        with library_errors(DataError, "this text cannot be encoded"):
            if max_tokens is None:
                pair = parts[1] if len(parts) == 2 else None
                return backend.encode(parts[0], pair, add_special_tokens=add_special)
            return _cut(backend, parts, add_special, max_tokens)

    @cached_property
    def _literal(self) -> tokenizers.Tokenizer:
        backend = _backend(self._source)
        backend.encode_special_tokens = True
        return backend

    # -- ids to text ---------------------------------------------------------------------------------------------------

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of some ids.

        Raises:
            DataError: An id is not in the vocabulary.
        """
        for token in ids:
            self.token_content(token)
        if skip_special:
            ids = [token for token in ids if token not in self.special_ids]
        with library_errors(DataError, "these ids cannot be decoded"):
            return self._backend.decode(list(ids), skip_special_tokens=skip_special)

    def stream(self) -> StreamDecoder:
        """A decoder for tokens that come one at a time; special ones are not shown."""
        return ByteStreamDecoder(self) if self.byte_level else WindowStreamDecoder(self)

    # -- folders -------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json``, ``tokenizer_config.json`` and what was loaded beside them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | self.settings
        files = {TOKENIZER_FILE: self._source, SETTINGS_FILE: json.dumps(settings, ensure_ascii=False, indent=2) + "\n"}
        for name, text in (files | self._carried).items():
            (folder / name).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, place: str | Path) -> Tokenizer:
        """Read a folder, or a ``tokenizer.json`` by its own name; without one, a folder's older files.

        Raises:
            CheckpointError: There are none, or they cannot be read.
        """
        place = Path(place)
        file = place / TOKENIZER_FILE if place.is_dir() else place
        folder = file.parent
        if file.is_file():
            source, settings = read_text(file), read_object(folder / SETTINGS_FILE)
        else:
            source, settings = from_older_files(place)
        carried = {name: read_text(folder / name) for name in CARRIED_FILES if (folder / name).is_file()}
        return cls(source, settings, carried=carried, at=file if file.is_file() else place)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self._source == other._source and self.special == other.special

    def __hash__(self) -> int:
        return hash(self._source)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a model folder, of ``org/name``, or a ``tokenizer.json`` by its own name.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    return Tokenizer.load(folder if Path(folder).is_file() else local(folder))


def check_fits(tokenizer: TextTokenizer, vocab_size: int) -> None:
    """A model must have a row for every token.

    Raises:
        ConfigError: The tokenizer has more tokens than the model, which may read images alone.
    """
    if vocab_size == 0:
        raise ConfigError("this model reads images, not tokens", do="give it images: model(images)")
    if tokenizer.vocab_size > vocab_size:
        do = "use the tokenizer that the model was trained with, or a model with a larger vocab_size"
        raise ConfigError(
            "the tokenizer has tokens that the model does not know",
            got=tokenizer.vocab_size,
            expected=f"at most {vocab_size}",
            do=do,
        )


def _encoded(backend: tokenizers.Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    for text in texts:
        refuse_surrogates(text)
    with library_errors(DataError, "these texts cannot be encoded"):
        return [encoding.ids for encoding in backend.encode_batch_fast(list(texts))]


def _backend(source: str) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer.from_str(source)
    backend.no_padding()
    backend.no_truncation()
    return backend


def _cut(
    backend: tokenizers.Tokenizer, parts: tuple[str, ...], add_special: bool, max_tokens: int
) -> tokenizers.Encoding:
    """Cut the longer text of a pair first, so that the special tokens around them stay."""
    room = max_tokens - (backend.num_special_tokens_to_add(len(parts) == 2) if add_special else 0)
    if room < 1:
        raise DataError(
            "no room for a token of the text",
            got=f"max_tokens={max_tokens}",
            expected=f"at least {max_tokens - room + 1}",
        )
    encodings = [backend.encode(part, add_special_tokens=False) for part in parts]
    lengths = [len(encoding) for encoding in encodings]
    while sum(lengths) > room:
        longest = lengths.index(max(lengths))
        others = max([*lengths[:longest], *lengths[longest + 1 :], 0])
        lengths[longest] = max(min(others, lengths[longest] - 1), lengths[longest] - (sum(lengths) - room))
    for encoding, length in zip(encodings, lengths, strict=True):
        encoding.truncate(length)
    pair = encodings[1] if len(encodings) == 2 else None
    return backend.post_process(encodings[0], pair, add_special_tokens=add_special)
