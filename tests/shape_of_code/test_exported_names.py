from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import glassformer as gf


def test_every_public_name_is_listed():
    assert set(gf.__all__) == {"__version__", *gf.HOMES}
    assert set(gf.HOMES) <= set(dir(gf))
    assert len(gf.HOMES) == len(gf.MODULES) + sum(len(names.split()) for names in gf.NAMES.values()), "a name twice"


@pytest.mark.parametrize("name", sorted(gf.HOMES))
def test_every_name_is_what_its_home_has(name):
    value = getattr(gf, name)
    assert value is getattr(gf, name)
    assert value.__doc__, "a public name says what it is"
    home = importlib.import_module(gf.HOMES[name])
    assert value is (home if name in gf.MODULES else getattr(home, name))


def test_type_checkers_see_the_same_table():
    tree = ast.parse(Path(gf.__file__).read_bytes())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    shown = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "`as` makes a name public for type checkers"
            shown[alias.name] = f"{node.module}.{alias.name}" if alias.name in gf.MODULES else node.module
    assert shown == gf.HOMES


def test_import_is_lazy_and_light():
    code = (
        "import sys; before = set(sys.modules); import glassformer as gf; dir(gf);"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before} & {'torch', 'numpy', 'tokenizers',"
        "'safetensors', 'cyclopts', 'rich'}), *[n for n in sys.modules if n.startswith('glassformer.')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'glassformer' has no attribute 'lode'"):
        _ = gf.lode
    with pytest.raises(ImportError, match="cannot import name 'lode'"):
        exec("from glassformer import lode")


def test_a_verb_is_not_hidden_by_the_room_of_its_name():
    verbs = [name for name in gf.HOMES if not isinstance(getattr(gf, name), ModuleType)]
    for name in verbs:
        value = getattr(gf, name)
        setattr(gf, name, ModuleType(f"glassformer.{name}"))  # what the import system does after importing a room
        assert getattr(gf, name) is value
    module = ModuleType("glassformer.zebra")
    gf.zebra = module
    assert gf.zebra is module, "any other sub-module is bound as ever"
    del gf.zebra
