from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.families.forms import BY_NAME
from tests.families.helpers import Pair, make

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="session")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """A form's model there and here, made once for all tests that only read it."""
    made: dict[str, Pair] = {}

    def get(name: str) -> Pair:
        if name not in made:
            made[name] = make(BY_NAME[name], tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """A form's folder with other tensors and other keys; a key of ``...`` is taken out."""

    def change(name: str, tensors: Callable[[dict[str, Tensor]], None] | None = None, **keys: Any) -> Path:
        folder = tmp_path / name
        make(BY_NAME[name], folder)
        if tensors is not None:
            held = load_file(folder / WEIGHTS)
            tensors(held)
            save_file(held, folder / WEIGHTS, {"format": "pt"})
        config = json.loads((folder / "config.json").read_text("utf-8")) | keys
        config = {key: value for key, value in config.items() if value is not ...}
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        (folder / "generation_config.json").unlink(missing_ok=True)
        return folder

    return change
