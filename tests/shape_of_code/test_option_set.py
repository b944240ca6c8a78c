"""The command line is a contract: its commands, arguments and options stand in options.txt.

After a change on purpose, ``python -m tests.shape_of_code.test_option_set`` writes the file anew; commit it too.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from glassformer import commands
from glassformer.core import discovery

FROZEN = Path(__file__).with_name("options.txt")


def lines(name: str) -> list[str]:
    """``generate MODEL``, ``generate --max-tokens int = 64``: one a parameter, in the order of the signature."""
    main = discovery.load("commands", name.replace("-", "_")).main
    found = []
    for parameter in inspect.signature(main).parameters.values():
        word = parameter.name.replace("_", "-")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            found.append(f"{name} {word.upper()}")
        else:
            default = "" if parameter.default is parameter.empty else f" = {parameter.default}"
            found.append(f"{name} --{word} {parameter.annotation}{default}")
    return found or [name]


def current() -> str:
    return "".join(f"{line}\n" for name in commands.names() for line in lines(name))


def test_commands_and_options_are_the_frozen_ones():
    assert current() == FROZEN.read_text("utf-8"), __doc__


@pytest.mark.parametrize("name", commands.names())
def test_every_parameter_is_explained_typed_and_in_its_place(name):
    main = discovery.load("commands", name.replace("-", "_")).main
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)
    for parameter in inspect.signature(main).parameters.values():
        assert f"\n        {parameter.name}: " in main.__doc__, f"{name}: the docstring explains {parameter.name}"
        assert parameter.annotation is not parameter.empty
        assert parameter.kind in places, f"{name}: arguments stand before `/`, options after `*`"


if __name__ == "__main__":
    FROZEN.write_text(current(), "utf-8")
    print(f"wrote {FROZEN}")
