"""A language model and its text that are trained in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glassformer.data import TextData, read_text
from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.tokenizers.kinds import byte_tokenizer
from glassformer.train.config import TrainConfig
from glassformer.train.presets import llama

TEXT = "".join(f"{number} green bottles hanging on the wall,\n" for number in range(100, 0, -1))


def config(max_positions: int = 32) -> TransformerConfig:
    return llama(257, max_positions, d_model=16, n_layers=1, n_heads=2)


def model(seed: int = 0) -> Transformer:
    return config().build(seed=seed)


def data(folder: Path, length: int = 16, **options: Any) -> TextData:
    folder.mkdir(exist_ok=True)
    (folder / "bottles.txt").write_text(TEXT)
    return read_text(folder, byte_tokenizer(), length=length, **options)


def plan(**changes: Any) -> TrainConfig:
    settings = {"steps": 12, "batch_tokens": 128, "learning_rate": 1e-2, "dropout": 0.1, "eval_tokens": 64}
    return TrainConfig(**(settings | changes))
