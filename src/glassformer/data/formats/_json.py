"""JSON from anywhere: what Python's reader would answer with a traceback is one line here."""

from __future__ import annotations

import json
from typing import Any

from glassformer.core.errors import DataError


def parse(text: str, at: str, *, expected: str, one_line: bool = False) -> Any:
    """The value of a JSON text.

    Raises:
        DataError: It is none, or nested too deeply, or holds a number of thousands of digits; with the line.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError("JSON nested too deeply", at=at) from None
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if one_line else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"not JSON: {error.msg}", at=f"{at}, {place}", expected=expected) from None
    except ValueError as error:
        raise DataError("a number that is too long", at=at, got=error) from None
