"""The one way up: a model offers verbs whose code stands in rooms above it, looked up when they are called."""

from __future__ import annotations

import importlib
from types import ModuleType


def above(name: str) -> ModuleType:
    """The module ``glassformer.<name>``, imported at the moment it is needed."""
    return importlib.import_module(f"glassformer.{name}")
