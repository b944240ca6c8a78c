"""Folders without a ``tokenizer.json``: the files of older tokenizers, built into one."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from glassformer.core.discovery import load_all
from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.boundary import library_errors
from glassformer.tokenizers.older._folder import Built, Folder
from glassformer.tokenizers.special import SETTINGS_FILE

KINDS = "tokenizers.older"
_DO = "transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) may make a tokenizer.json"


def from_older_files(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a ``tokenizer.json`` for a folder, and its settings.

    Raises:
        CheckpointError: there are no files of a tokenizer, the folder does not say which class reads them, the class is
            not known, or the files are broken.
    """
    with library_errors(CheckpointError, "these files make no tokenizer", at=path):
        folder = Folder(path)
        name, kind = _kind_of(folder)
        built: Built = kind.CLASSES[name](folder)
    named = {key: token.content for key, token in built.named.items() if key not in folder.settings}
    return built.backend.to_str(), folder.settings | named | _class_for_others(built, name)


def _kind_of(folder: Folder) -> tuple[str, ModuleType]:
    """The class that the folder names, and the module that builds it from the files that are there."""
    kinds = load_all(KINDS)
    name = folder.class_name({model: name for kind in kinds for model, name in kind.MODEL_TYPES.items()})
    there = [kind for kind in kinds if kind.found(folder)]
    if not there:
        expected = ", ".join(["tokenizer.json", *sorted({kind.FILES for kind in kinds})])
        raise CheckpointError("there is no tokenizer here", at=folder.path, got=name, expected=expected, do=_DO)
    for kind in there:
        if name is not None and name in kind.CLASSES:
            return name, kind
    known = ", ".join(sorted({known for kind in there for known in kind.CLASSES}))
    what = f"{name} is not read from such files" if name else "the folder does not say whose tokenizer it has"
    raise CheckpointError(what, at=folder.path, expected=f"a tokenizer_class in {SETTINGS_FILE}: {known}", do=_DO)


def _class_for_others(built: Built, name: str) -> dict[str, Any]:
    """The class with which transformers reads what we save: the folder's, or one that takes the file as it is."""
    if not built.generic:
        return {"tokenizer_class": name}
    inputs = ["input_ids", "attention_mask"]
    if "cls_token" in built.named and 1 in built.backend.encode("a", "a").type_ids:
        inputs.insert(1, "token_type_ids")
    return {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs}
