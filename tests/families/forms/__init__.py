"""Every form of every family that is compared with transformers: a class there, and the settings of a tiny model.

A module of this folder holds ``FAMILIES`` (``model_type`` → ``Family``) and ``FORMS``; those that read images stand
in ``IMAGE_FAMILIES`` and ``IMAGE_FORMS``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import transformers

VOCAB, PAD = 61, 0
LABELS = {"num_labels": 3}


@dataclass(frozen=True)
class Family:
    """What its models are, the settings of a tiny one, and whether they take token types."""

    kind: Literal["encoder", "decoder", "pair"]
    sizes: Mapping[str, Any]
    segments: bool = False


@dataclass(frozen=True)
class Form:
    """A name, the class of transformers, and what its config says beside the tiny sizes of the family.

    light: differs from another form by no more than an activation, which caches and generation know nothing of ·
    by_length: its angles depend on the length of a row · unused: tensors of transformers that nothing reads and that
    are not written · other_words: keys that are said otherwise, or not at all because no number hangs on them, when a
    config.json is written from nothing · their_cache: False where transformers fails to generate with its cache ·
    seed: of the weights, where others would write one word all the time.
    """

    name: str
    architecture: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    light: bool = False
    by_length: bool = False
    unused: frozenset[str] = frozenset()
    other_words: tuple[str, ...] = ()
    their_cache: bool = True
    seed: int = 0

    @property
    def family(self) -> str:
        """The ``model_type``."""
        name: str = getattr(transformers, self.architecture).config_class.model_type
        return name


def _modules() -> list[Any]:
    return [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]


def _collected(before: str = "") -> tuple[dict[str, Family], tuple[Form, ...]]:
    modules = [module for module in _modules() if hasattr(module, f"{before}FORMS")]
    families = {name: family for module in modules for name, family in getattr(module, f"{before}FAMILIES").items()}
    return families, tuple(form for module in modules for form in getattr(module, f"{before}FORMS"))


FAMILIES, FORMS = _collected()
IMAGE_FAMILIES, IMAGE_FORMS = _collected("IMAGE_")
BY_NAME = {form.name: form for form in FORMS + IMAGE_FORMS}
