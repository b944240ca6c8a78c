"""Models that are asked and not trained: they are in no checkpoint of the run."""

from __future__ import annotations

from functools import lru_cache

from glassformer.checkpoints.folder import load
from glassformer.core.errors import ConfigError
from glassformer.models.transformer import Transformer
from glassformer.tokenizers.tokenizer import Tokenizer, load_tokenizer


def frozen(folder: str, device: str = "cpu") -> Transformer:
    """The model of a folder, which learns nothing; read once for each device.

    Raises:
        ConfigError: No folder is said.
    """
    return _frozen(_said(folder), device)


def _said(folder: str) -> str:
    if not folder:
        raise ConfigError("no model to ask", do="say its folder: --set reference=FOLDER, or --set teacher=FOLDER")
    return folder


@lru_cache(maxsize=4)
def _frozen(folder: str, device: str) -> Transformer:
    return load(folder, device=device).requires_grad_(False).eval()


@lru_cache(maxsize=4)
def speaks_alike(folder: str, tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer of a folder has the same tokens by the same numbers."""
    return load_tokenizer(_said(folder)).vocab == tokenizer.vocab
