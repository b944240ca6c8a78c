from __future__ import annotations

import importlib.metadata
import sys
import types

import pytest

from glassformer.core import discovery
from glassformer.core.errors import UnknownNameError

FOLDERS = ("commands", "data", "families", "inside", "parts", "parts.kernels", "tokenizers", "train")


@pytest.mark.parametrize("package", FOLDERS)
def test_a_file_dropped_into_a_folder_is_found_and_loaded(drop_in, package):
    before = discovery.names(package)
    drop_in(package, "zebra", "STRIPES = 7\n")
    assert discovery.names(package) == tuple(sorted([*before, "zebra"]))
    assert "glassformer." + package + ".zebra" not in sys.modules, "listing must not import"
    assert discovery.load(package, "zebra").STRIPES == 7


def test_private_files_are_not_listed(drop_in):
    drop_in("families", "_zebra", "")
    assert "_zebra" not in discovery.names("families")
    with pytest.raises(UnknownNameError, match="nothing called '_zebra' in families"):
        discovery.load("families", "_zebra")


def test_load_all_imports_every_file(drop_in):
    drop_in("families", "zebra", "STRIPES = 7\n")
    assert 7 in [getattr(module, "STRIPES", None) for module in discovery.load_all("families")]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("zebr", "zebra.*"),
        ("../zebra", "zebra.*"),
        ("os", "albert.* more"),
        ("a.b", "albert.* more"),
        ("", "alb.* more"),
    ],
)
def test_only_names_that_are_there_are_imported(drop_in, name, known):
    drop_in("families", "zebra", "")
    with pytest.raises(UnknownNameError, match=rf"^nothing called {name!r} in families · expected one of {known}$"):
        discovery.load("families", name)
    assert name == "os" or name not in sys.modules


def test_another_package_adds_with_an_entry_point_but_cannot_replace(drop_in, monkeypatch):
    drop_in("families", "zebra", "STRIPES = 7\n")
    foreign = types.ModuleType("savanna")
    foreign.STRIPES = 9
    monkeypatch.setitem(sys.modules, "savanna", foreign)
    group = "glassformer.families"
    points = [importlib.metadata.EntryPoint(name, "savanna", group) for name in ("okapi", "zebra")]
    monkeypatch.setattr(discovery, "points", lambda package: points)
    assert {"okapi", "zebra"} <= set(discovery.names("families"))
    assert discovery.load("families", "okapi") is foreign
    assert discovery.load("families", "zebra").STRIPES == 7
    with pytest.raises(UnknownNameError):
        discovery.load("families", "gnu")
