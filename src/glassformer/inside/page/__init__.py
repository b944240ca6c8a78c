"""One self-contained HTML page from the JSON of a view: ``view.html`` with the style, the script and the data put
in.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

#: The script, in order; together they are one function, so that nothing of them is global.
SCRIPTS = ("text", "guesses", "patterns", "heads", "matrix", "view")


def render(data: Mapping[str, Any]) -> str:
    """The page of ``View.to_json()``. Text of the model reaches it only as escaped JSON, which the script inserts as
    text.
    """
    pieces = {
        "title": html.escape(f"{data['model']} · inside"),
        "style": _asset("view.css"),
        "script": "\n".join(["(() => {", '"use strict";', *(_asset(f"{name}.js") for name in SCRIPTS), "})();"]),
        "data": script_json(data),
    }
    return re.sub(r"<!--(title|style|script|data)-->", lambda found: pieces[found[1]], _asset("view.html"))


def script_json(data: Any) -> str:
    """JSON that may stand in a script element: ASCII, and no character that HTML could take for markup."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
