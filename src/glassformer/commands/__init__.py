"""One command a file. ``glassformer SUB`` imports ``commands/sub.py`` alone and calls its ``main``.

The signature of ``main`` is the command line: parameters before ``/`` are arguments, those after ``*`` are options, and
the docstring explains them. Modules here import torch only inside functions, so that help is instant.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassformer.core import discovery
from glassformer.core.errors import GlassformerError, near

if TYPE_CHECKING:
    from cyclopts import App

#: Shown at the end of the help, where the commands exist.
EXAMPLES = {
    "demo": "glassformer demo",
    "train": "glassformer train embedded:reference --model gpt-tiny --out runs/first",
    "generate": 'glassformer generate runs/first "The import statement"',
    "see": 'glassformer see runs/first "for x in range(10):" --html view.html',
}
ENDING = "--debug, with any command, shows the traceback of an error."


class UsageError(GlassformerError):
    """A command line that cannot be run: no such command or option, or a value that does not fit."""


def dispatch(tokens: Sequence[str]) -> int:
    """Run one command line without the program's name; returns the exit code.

    Raises:
        UsageError: no such command or option, or a value that does not fit; near names are in the message.
    """
    from glassformer import __version__

    match list(tokens):
        case [] | ["--help" | "-h" | "help"]:
            print(overview())
        case ["--version" | "-V"]:
            print(f"glassformer {__version__}")
        case [name, *rest]:
            return call(name, rest)
    return 0


def names() -> tuple[str, ...]:
    """Every command as it is typed: those in this folder and those of other packages."""
    return tuple(name.replace("_", "-") for name in discovery.names("commands"))


def overview() -> str:
    """The page of ``glassformer --help``; no command is imported for it."""
    known = names()
    width = max(map(len, known), default=0)
    lines = ["Usage: glassformer COMMAND [ARGUMENTS] [OPTIONS]", ""]
    lines += ["Train, run and look inside transformers.", "", "Commands:"]
    lines += [f"  {name:<{width}}  {summary(name)}" for name in known]
    examples = [f"  {line}" for name, line in EXAMPLES.items() if name in known]
    lines += ["", "Examples:", *examples] if examples else []
    lines += ["", "glassformer COMMAND --help explains one command; --version prints the version.", ENDING]
    return "\n".join(lines)


def summary(name: str) -> str:
    """The first line of a command's docstring, read from its file; for a command of another package, that package."""
    module = name.replace("-", "_")
    if module not in discovery.folder_names("commands"):
        owners = [point.dist for point in discovery.points("commands") if point.name == module]
        return f"from {', '.join(owner.name for owner in owners if owner)}"
    spec = importlib.util.find_spec(f"glassformer.commands.{module}")
    assert spec is not None and spec.origin is not None
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_bytes())) or "").partition("\n")[0]


def call(name: str, tokens: Sequence[str]) -> int:
    """Run ``main`` of one command on its arguments; returns the exit code.

    Raises:
        UsageError: no such command or option, or a value that does not fit; near names are in the message.
    """
    if name not in names():
        kind = "option" if name.startswith("-") else "command"
        raise UsageError(f"no {kind} {name!r}", do=f"did you mean {near(name, ['--help', '--version', *names()])}?")
    from cyclopts import CycloptsError

    main: Callable[..., int | None] = discovery.load("commands", name.replace("-", "_")).main
    try:
        command, bound, _ = parser(name, main).parse_args(list(tokens), print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise UsageError(str(error).rstrip("."), at=name, do=f"see glassformer {name} --help") from error
    return command(*bound.args, **bound.kwargs) or 0


def parser(name: str, main: Callable[..., Any]) -> App:
    """The one place that knows cyclopts: a command line from the signature and docstring of ``main``."""
    from cyclopts import App, Group, Parameter

    options = Group("Options")
    return App(
        name=f"glassformer {name}",
        default_command=main,
        usage=f"Usage: {usage(name, main)}",
        group_parameters=options,
        group_commands=options,
        version_flags=(),
        help_format="plaintext",
        help_epilogue=ENDING,
        default_parameter=Parameter(negative=(), show_default=say_default),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )


def say_default(value: object) -> str | None:
    """A default as the help shows it; what is simply off or absent needs no words."""
    return None if value is None or value is False or value == () else str(value)


def usage(name: str, main: Callable[..., Any]) -> str:
    """``glassformer generate MODEL [PROMPT] [OPTIONS]`` from the signature of ``main``."""
    words = []
    for parameter in inspect.signature(main).parameters.values():
        word = parameter.name.upper().replace("_", "-")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            words.append(word if parameter.default is parameter.empty else f"[{word}]")
        elif parameter.kind is parameter.VAR_POSITIONAL:
            words.append(f"[{word}...]")
    return " ".join(["glassformer", name, *words, "[OPTIONS]"])
