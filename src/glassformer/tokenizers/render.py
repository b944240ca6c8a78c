"""A chat template is a program that came with a model: it is run in a process of its own, in a sandbox, on a budget.

This file is that process: it reads one JSON object from stdin and writes one to stdout, and imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any


def limit(seconds: int, memory: int) -> None:
    """Let the system end this process when it computes or holds more than that, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is the one limit
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def render(template: str, several: list[dict[str, Any]], most: int) -> list[str]:
    """The texts of a template for several sets of variables, cut off by an error behind ``most`` characters each."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %} … {% endgeneration %}`` marks what the assistant says; here it is its content alone."""

        def __init__(self, environment: Any) -> None:
            super().__init__(environment)
            self.tags = {"generation"}

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def fail(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **how: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **how)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    now: Callable[[str], str] = datetime.now().strftime
    environment.globals.update(raise_exception=fail, strftime_now=now)
    known, texts = environment.from_string(template), []
    for variables in several:
        pieces, length = [], 0
        for piece in known.generate(**variables):
            length += len(piece)
            if length > most:
                raise TemplateError(f"more than {most} characters")
            pieces.append(piece)
        texts.append("".join(pieces))
    return texts


def main() -> None:
    """Render what stdin asks for."""
    asked = json.loads(sys.stdin.buffer.read())
    limit(asked["seconds"], asked["memory"])
    try:
        answer: dict[str, Any] = {"texts": render(asked["template"], asked["variables"], asked["characters"])}
    except MemoryError:
        answer = {"error": "it needs too much memory"}
    except RecursionError:
        answer = {"error": "it is nested too deeply"}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
