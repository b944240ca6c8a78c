"""Finding what stands in a folder: a new file is all it takes to add a family, a part, a command.

Another installed package adds to ``glassformer.families`` (or any other folder) with an entry point of that group whose
value is a module of the same shape. It can add, not replace: a name that the folder has is the folder's.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Collection
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from glassformer.core.errors import UnknownNameError, UnsupportedError, near


@cache
def names(package: str) -> tuple[str, ...]:
    """Names of the modules in ``glassformer.<package>``, without importing them; private ones are left out."""
    return tuple(sorted({*folder_names(package), *(point.name for point in points(package))}))


def load(package: str, name: str) -> ModuleType:
    """Import one module of ``glassformer.<package>``, from the folder or from an entry point of another package.

    Raises:
        UnknownNameError: neither has the name; near names are in the message.
    """
    if name in folder_names(package):
        return importlib.import_module(f"glassformer.{package}.{name}")
    for point in points(package):
        if point.name == name:
            module: ModuleType = point.load()
            return module
    raise UnknownNameError(f"nothing called {name!r} in {package}", expected=f"one of {near(name, names(package))}")


@cache
def load_all(package: str) -> tuple[ModuleType, ...]:
    """Import every module of ``glassformer.<package>``."""
    return tuple(load(package, name) for name in names(package))


def class_at(path: str, packages: Collection[str]) -> type:
    """A class by its dotted path, from a module that is imported already or from one of some packages.

    Paths may stand in files: nothing else is ever imported for one.

    Raises:
        UnknownNameError: There is no such class.
        UnsupportedError: Its package is none of them, or not installed.
    """
    module, _, name = path.rpartition(".")
    if module not in sys.modules and module.partition(".")[0] not in packages:
        do = f"import {module} first, in Python"
        raise UnsupportedError("a package that is not known", got=path, expected=", ".join(packages), do=do)
    try:
        found = getattr(sys.modules.get(module) or importlib.import_module(module), name, None)
    except ImportError as error:
        raise UnsupportedError(f"{module} cannot be imported", got=error, do="install it") from error
    if not isinstance(found, type):
        raise UnknownNameError("no such class", got=path)
    return found


@cache
def folder_names(package: str) -> tuple[str, ...]:
    folder = importlib.import_module(f"glassformer.{package}")
    found = (module.name for module in pkgutil.iter_modules(folder.__path__))
    return tuple(name for name in found if not name.startswith("_"))


@cache
def points(package: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"glassformer.{package}"))
