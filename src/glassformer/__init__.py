"""One Transformer, described by a value, built from a few parts, with every internal value open.

    import glassformer as gf

Importing this costs milliseconds: a name is imported from its module when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers and editors; a test compares them with HOMES
    from glassformer import data as data, inside as inside
    from glassformer.checkpoints.folder import load as load
    from glassformer.core import errors as errors
    from glassformer.core.config import Config as Config
    from glassformer.generate.text import generate as generate, stream as stream
    from glassformer.models.transformer import TransformerConfig as TransformerConfig
    from glassformer.parts.attention import AttentionConfig as AttentionConfig
    from glassformer.parts.block import BlockConfig as BlockConfig, ParallelBlockConfig as ParallelBlockConfig
    from glassformer.parts.embedding import EmbeddingConfig as EmbeddingConfig
    from glassformer.parts.feed_forward import FeedForwardConfig as FeedForwardConfig, GatedConfig as GatedConfig
    from glassformer.parts.head import (
        ClassifyHeadConfig as ClassifyHeadConfig,
        PoolerConfig as PoolerConfig,
        SpanHeadConfig as SpanHeadConfig,
        TagHeadConfig as TagHeadConfig,
        TokenHeadConfig as TokenHeadConfig,
        TransformConfig as TransformConfig,
    )
    from glassformer.parts.norm import LayerNormConfig as LayerNormConfig, RMSNormConfig as RMSNormConfig
    from glassformer.parts.positions import (
        ALiBiConfig as ALiBiConfig,
        LearnedPositionsConfig as LearnedPositionsConfig,
        RelativeBucketsConfig as RelativeBucketsConfig,
        SinusoidalConfig as SinusoidalConfig,
    )
    from glassformer.parts.rotary import (
        DynamicScalingConfig as DynamicScalingConfig,
        LinearScalingConfig as LinearScalingConfig,
        Llama3ScalingConfig as Llama3ScalingConfig,
        LongRoPEScalingConfig as LongRoPEScalingConfig,
        RotaryConfig as RotaryConfig,
        YarnScalingConfig as YarnScalingConfig,
    )
    from glassformer.parts.stack import StackConfig as StackConfig
    from glassformer.tokenizers.tokenizer import load_tokenizer as load_tokenizer
    from glassformer.train import losses as losses
    from glassformer.train.config import TrainConfig as TrainConfig
    from glassformer.train.loop import resume as resume, train as train

__version__ = "0.1.0"

#: Public modules.
MODULES = {
    "data": "glassformer.data",
    "errors": "glassformer.core.errors",
    "inside": "glassformer.inside",
    "losses": "glassformer.train.losses",
}
#: Every public name by the module it is in.
NAMES = {
    "glassformer.checkpoints.folder": "load",
    "glassformer.core.config": "Config",
    "glassformer.generate.text": "generate stream",
    "glassformer.models.transformer": "TransformerConfig",
    "glassformer.parts.attention": "AttentionConfig",
    "glassformer.parts.block": "BlockConfig ParallelBlockConfig",
    "glassformer.parts.embedding": "EmbeddingConfig",
    "glassformer.parts.feed_forward": "FeedForwardConfig GatedConfig",
    "glassformer.parts.head": (
        "ClassifyHeadConfig PoolerConfig SpanHeadConfig TagHeadConfig TokenHeadConfig TransformConfig"
    ),
    "glassformer.parts.norm": "LayerNormConfig RMSNormConfig",
    "glassformer.parts.positions": "ALiBiConfig LearnedPositionsConfig RelativeBucketsConfig SinusoidalConfig",
    "glassformer.parts.rotary": (
        "DynamicScalingConfig LinearScalingConfig Llama3ScalingConfig "
        "LongRoPEScalingConfig RotaryConfig YarnScalingConfig"
    ),
    "glassformer.parts.stack": "StackConfig",
    "glassformer.tokenizers.tokenizer": "load_tokenizer",
    "glassformer.train.config": "TrainConfig",
    "glassformer.train.loop": "resume train",
}
HOMES = {**MODULES, **{name: module for module, names in NAMES.items() for name in names.split()}}
__all__ = ["__version__", *HOMES]


class Face(ModuleType):
    """This package's class: ``gf.train`` stays the verb when Python binds the room ``glassformer.train`` to the name.

    Rooms are reached with ``from glassformer.train import ...``.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        is_room = isinstance(value, ModuleType) and name in HOMES and value.__name__ != HOMES[name]
        if not is_room:
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'glassformer' has no attribute {name!r}")
    home = importlib.import_module(HOMES[name])
    value = globals()[name] = home if name in MODULES else getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})


sys.modules[__name__].__class__ = Face
