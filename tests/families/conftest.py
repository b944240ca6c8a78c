from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.families.forms import BY_NAME
from tests.families.helpers import Pair, make


@pytest.fixture(scope="session")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """A form's model there and here, made once for all tests that only read it."""
    made: dict[str, Pair] = {}

    def get(name: str) -> Pair:
        if name not in made:
            made[name] = make(BY_NAME[name], tmp_path_factory.mktemp(name))
        return made[name]

    return get
