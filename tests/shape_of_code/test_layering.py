"""Imports point down the house only; what a reader cannot see at a glance is checked by walking the syntax trees."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from torch import nn

import glassformer
from glassformer.core import discovery

PACKAGE = Path(glassformer.__file__).parent
FLOORS = (
    {"core"},
    {"parts", "data", "tokenizers"},
    {"models"},
    {"families", "checkpoints"},
    {"train", "generate", "embed", "evaluate", "inside", "quantize"},
    {"commands", "lab", "serve"},
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_bytes()) for path in FILES}

#: Where a module may be imported by a computed name: by folder, by the one way up, and by a package's table of names.
COMPUTED_IMPORTS = {"discovery.py", "roof.py", "__init__.py"}
#: Code that a file from outside could run, by dotted name as written.
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "torch.hub.load", "os.system",
    "os.popen", "numpy.load", "np.load", "builtins.eval", "builtins.exec",
}  # fmt: skip
COMPUTED = {"import_module", "spec_from_file_location", "run_path", "run_module"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of every import, wherever it stands; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Dotted names of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def at_import(tree: ast.Module) -> ast.Module:
    """The statements that run when the module is imported: none of a function, none for type checkers only."""
    return ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If)], [])


def rooms_used(path: Path) -> set[str]:
    names = (name.split(".") for name in imported(TREES[path]))
    return {parts[1] for parts in names if parts[0] == "glassformer" and len(parts) > 1 and parts[1] in FLOOR}


def test_every_folder_is_a_room_with_a_floor():
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE}
    assert {"core", "parts", "commands"} <= folders <= set(FLOOR)
    assert {relative(path) for path in FILES if path.parent == PACKAGE} == {"__init__.py", "__main__.py"}


def test_imports_point_down():
    upward = [
        f"{relative(path)} is in {room(path)} and imports from {used}, which is above"
        for path in FILES
        if path.parent != PACKAGE
        for used in sorted(rooms_used(path))
        if FLOOR[used] > FLOOR[room(path)]
    ]
    assert not upward, "\n".join(upward)


def test_modules_do_not_import_each_other_in_a_circle():
    modules = {module_name(path): path for path in FILES}
    edges = {}
    for module, path in modules.items():
        names = set(imported(at_import(TREES[path])))
        edges[module] = {known for name in names for known in (name, name.rpartition(".")[0]) if known in modules}
        edges[module].discard(module)
        # `from glassformer.parts import norm` needs the module, not what the package's own file happens to hold
        edges[module] -= {name.rpartition(".")[0] for name in names & set(modules)}
    order = list(TopologicalSorter(edges).static_order())  # raises CycleError, which names the circle
    assert order.index("glassformer.core.errors") < order.index("glassformer.core.config")


def test_the_one_way_up_is_for_models_and_leads_somewhere():
    found = 0
    for path in FILES:
        for name, call in called(TREES[path]):
            if name.rpartition(".")[2] != "above":
                continue
            found += 1
            (target,) = (ast.literal_eval(argument) for argument in call.args)
            assert room(path) == "models", f"{relative(path)} reaches up to {target}"
            assert FLOOR[target.split(".")[0]] > FLOOR["models"]
            assert importlib.util.find_spec(f"glassformer.{target}"), f"{relative(path)} reaches up to no such {target}"
    assert found


def test_nothing_runs_code_from_outside():
    found = []
    for path in FILES:
        names = {name for name, _ in called(TREES[path])}
        found += [(relative(path), name) for name in names & FORBIDDEN]
        found += [(relative(path), name) for name in imported(TREES[path]) if name.split(".")[0] in FORBIDDEN_MODULES]
        if path.name not in COMPUTED_IMPORTS:
            found += [(relative(path), name) for name in names if name.rpartition(".")[2] in COMPUTED]
    assert not found


def test_architecture_knows_nothing_of_many_machines():
    for path in FILES:
        if room(path) in ("parts", "models", "families"):
            names = [*imported(TREES[path]), *(name for name, _ in called(TREES[path]))]
            assert not [name for name in names if name.startswith("torch.distributed")], relative(path)


def test_families_define_no_modules():
    for module in discovery.load_all("families"):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            assert kind.__module__ != module.__name__ or not issubclass(kind, nn.Module), f"{module.__name__}.{name}"


def test_commands_import_torch_only_inside_functions():
    for path in FILES:
        if room(path) == "commands":
            deferred = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.FunctionDef | ast.If)]
            inside = {name for node in deferred for name in imported(node)}
            outside = [name for name in imported(TREES[path]) if name not in inside]
            assert not [name for name in outside if name.split(".")[0] == "torch"], relative(path)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", "pickle"),
        ("from torch import load", "torch.load"),
        ("def f():\n    from glassformer.train import loop", "glassformer.train.loop"),
    ],
)
def test_the_walk_itself_sees_imports_wherever_they_stand(source, found):
    assert found in set(imported(ast.parse(source)))
