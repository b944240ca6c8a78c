"""What a folder says about its tokenizer, and the tokens that it adds to the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.files import read_object
from glassformer.tokenizers.special import SETTINGS_FILE, TOKENS_MAP_FILE, token_content

ADDED_TOKENS_FILE = "added_tokens.json"
#: In the order in which transformers gives ids to those that the vocabulary lacks.
SPECIAL_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_EXTRA_KEYS = ("extra_special_tokens", "additional_special_tokens")

Named = dict[str, AddedToken]


@dataclass(frozen=True)
class Built:
    """A backend, its special tokens by their roles, and whether transformers' own class computes other tokens."""

    backend: tokenizers.Tokenizer
    named: Named
    generic: bool = False


class Folder:
    """What ``tokenizer_config.json``, ``special_tokens_map.json`` and ``added_tokens.json`` say, where they are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = read_object(path / SETTINGS_FILE)
        self._model = read_object(path / "config.json")
        self.model_type = str(self._model.get("model_type"))
        self._complete = "added_tokens_decoder" in self.settings  # then the other two files are older and not read
        self._said = self.settings if self._complete else self.settings | read_object(path / TOKENS_MAP_FILE)

    def file(self, *names: str) -> Path | None:
        """The first of some files that exists."""
        return next((self.path / name for name in names if (self.path / name).is_file()), None)

    def class_name(self, model_types: Mapping[str, str]) -> str | None:
        """What the folder calls its tokenizer: a class, or the name of a tiktoken encoding."""
        said = [self.settings.get("tokenizer_class"), self._model.get("tokenizer_class")]
        said += [model_types.get(self.model_type, self._model.get("model_type"))]
        said += [file.stem for file in sorted(self.path.glob("*.tiktoken"))]
        name = next((name for name in said if name), None)
        return None if name is None else str(name).removesuffix("Fast")

    # -- settings ------------------------------------------------------------------------------------------------------

    def flag(self, key: str, default: bool) -> bool:
        """A setting that is true or false; null means its default."""
        found = self._said.get(key)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise CheckpointError("not true or false", at=f"{self._settings_file}: {key}", got=repr(found))
        return found

    def maybe(self, key: str) -> bool | None:
        """A setting that is true, false, or not said."""
        return None if self._said.get(key) is None else self.flag(key, False)

    def number(self, key: str, default: int) -> int:
        """A setting that is a count."""
        found = self._said.get(key, default)
        if not isinstance(found, int) or found < 0:
            raise CheckpointError("not a count", at=f"{self._settings_file}: {key}", got=repr(found))
        return found

    def word(self, key: str, default: str) -> str:
        """A setting that is a text."""
        found = self._said.get(key)
        return default if found is None else str(found)

    # -- tokens --------------------------------------------------------------------------------------------------------

    def named(self, **defaults: str | AddedToken | None) -> Named:
        """``bos_token`` and the like → the token; what the folder says wins over the class's own.

        A folder that says no more than a text means a token that treats spaces as that of the class does.
        """
        known = {token.content: token for token in self._declared.values()}
        found: Named = {}
        for key in SPECIAL_KEYS:
            usual, said = defaults.get(key), self._said.get(key, defaults.get(key))
            if isinstance(usual, AddedToken) and isinstance(said, str):
                said = AddedToken(said, lstrip=usual.lstrip, rstrip=usual.rstrip, special=True)
            if (token := self._token(said, key)) is not None:
                found[key] = known.get(token.content, token)
        return found

    def extra(self) -> list[AddedToken]:
        """The special tokens without a role, and those whose role is the model's own, such as ``image_token``."""
        found: Any = next((self._said[key] for key in _EXTRA_KEYS if self._said.get(key)), [])
        listed = list(found.values()) if isinstance(found, Mapping) else list(found)
        named = [
            value
            for key, value in self._said.items()
            if key.endswith("_token") and key not in SPECIAL_KEYS and token_content(value) is not None
        ]
        return [token for value in named + listed if (token := self._token(value, "a special token")) is not None]

    def add(self, backend: tokenizers.Tokenizer, named: Named, more: Iterable[AddedToken | str] = ()) -> None:
        """Make the folder's tokens known: declared ones, those with a role, and others, in that order.

        Raises:
            CheckpointError: one gets another id than the folder says, or that of another token.
        """
        others = [AddedToken(token, special=True) if isinstance(token, str) else token for token in more]
        declared = [self._declared[number] for number in sorted(self._declared)]
        wanted: dict[str, AddedToken] = {}
        for token in [*declared, *named.values(), *others, *self.extra()]:
            wanted.setdefault(token.content, token)
        for token in named.values():
            wanted[token.content].special = True
        backend.add_tokens(list(wanted.values()))
        for number, token in self._declared.items():
            if (found := backend.token_to_id(token.content)) != number:
                got = f"id {number} for {token.content!r}"
                raise CheckpointError("an added token has no room", at=self.path, got=got, expected=f"id {found}")
        vocab = backend.get_vocab(with_added_tokens=True)
        if len(set(vocab.values())) < len(vocab):
            raise CheckpointError("an added token gets the id of another", at=self.path, got="ids with gaps")

    def declared_ids(self) -> dict[str, int]:
        """Token → the id that the folder gives it."""
        return {token.content: number for number, token in self._declared.items()}

    @cached_property
    def _declared(self) -> dict[int, AddedToken]:
        """Tokens with the id that the folder gives them."""
        if self._complete:
            entries = self.settings["added_tokens_decoder"]
            found = {number: self._token(entry, number) for number, entry in entries.items()}
            return {int(number): token for number, token in found.items() if token is not None}
        special = {token_content(self._said.get(key)) for key in SPECIAL_KEYS}
        special |= {token.content for token in self.extra()}
        added = read_object(self.path / ADDED_TOKENS_FILE)
        return {int(id): AddedToken(text, special=text in special) for text, id in added.items()}

    def _token(self, value: Any, key: object) -> AddedToken | None:
        """A token from any of the forms in which the files write it."""
        if value is None or isinstance(value, AddedToken):
            return value
        if (content := token_content(value)) is None:
            raise CheckpointError("not a token", at=f"{self._settings_file}: {key}", got=repr(value)[:50])
        if isinstance(value, str):
            return AddedToken(content, special=True)
        kept = {name: bool(value[name]) for name in ("lstrip", "rstrip", "single_word", "normalized") if name in value}
        return AddedToken(content, special=value.get("special", not self._complete), **kept)

    @property
    def _settings_file(self) -> Path:
        return self.path / SETTINGS_FILE
