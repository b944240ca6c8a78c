"""Folders of sentence-transformers: modules.json says what stands behind the encoder.

    modules.json · config_sentence_transformers.json (prompts) · sentence_bert_config.json (longest text)
    1_Pooling/config.json · 2_Dense/config.json + model.safetensors · 3_Normalize

Modules are known by the last word of their class name, never imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.tensors import Outgoing, Tensors, write
from glassformer.core.config import read_json
from glassformer.core.errors import CheckpointError, ConfigError
from glassformer.parts.activations import Activation
from glassformer.parts.sentence import (
    DenseStepConfig,
    NormalizeStepConfig,
    NormStepConfig,
    Pooled,
    Sentence,
    SentenceConfig,
    StepConfig,
)

MODULES, PROMPTS, LIMITS = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
#: Their words for a way to pool, in the order in which several are put side by side, and the older switches.
POOLS: Mapping[str, Pooled] = {
    "cls": "first", "max": "max", "mean": "mean", "mean_sqrt_len_tokens": "mean_sqrt", "weightedmean": "weighted",
    "lasttoken": "last",
}  # fmt: skip
SWITCHES = {
    f"pooling_mode_{name}": word
    for name, word in (
        ("cls_token", "cls"), ("max_tokens", "max"), ("mean_tokens", "mean"),
        ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens"), ("weightedmean_tokens", "weightedmean"),
        ("lasttoken", "lasttoken"),
    )
}  # fmt: skip
ACTIVATIONS: Mapping[str, Activation] = {
    "Tanh": "tanh", "Identity": "identity", "ReLU": "relu", "GELU": "gelu", "SiLU": "silu",
}  # fmt: skip
#: Where a module reads and writes: only vectors of texts are computed here.
SENTENCE = "sentence_embedding"
#: Keys of their own Transformer module that say what every folder here does.
USUAL = (
    "transformer_task",
    "modality_config",
    "module_output_name",
    "do_lower_case",
    "processing_kwargs",
    "unpad_inputs",
)


@dataclass(frozen=True)
class Module:
    """One line of modules.json."""

    kind: str
    folder: Path

    def keys(self) -> Keys:
        """Its config.json."""
        path = self.folder / "config.json"
        return Keys(_object(path) if path.exists() else {}, str(path))


def transformer_folder(folder: Path) -> Path:
    """Where the encoder's own files are: older folders keep them one floor down."""
    if (folder / "config.json").exists() or not (folder / MODULES).exists():
        return folder
    return _modules(folder)[0].folder


def read_sentence(folder: Path, d_model: int) -> Sentence | None:
    """What a folder says about vectors of texts, with weights; None where it is no such folder.

    Raises:
        CheckpointError: a module that is not known here, a wrong shape, a missing file.
    """
    if not (folder / MODULES).exists():
        return None
    _, *behind = _modules(folder)
    if not behind or behind[0].kind != "Pooling":
        got = behind[0].kind if behind else "nothing"
        raise CheckpointError("not supported", at=folder / MODULES, got=got, expected="Pooling behind the Transformer")
    pool, pool_prompt, width = _pool(behind[0].keys(), d_model)
    steps = _steps(behind[1:], width, folder / MODULES)
    said = SentenceConfig(
        pool=pool,
        pool_prompt=pool_prompt,
        steps=tuple(config for config, _ in steps),
        max_tokens=_limit(folder),
        **_prompts(folder),
    )
    sentence = Sentence(said, d_model)
    for (_, module), part in zip(steps, sentence.steps, strict=True):
        _fill(part, module)
    return sentence.eval()


def _steps(modules: Sequence[Module], width: int, path: Path) -> list[tuple[StepConfig, Module]]:
    """What is done with pooled vectors of this width, each with the module that says it."""
    found = []
    for module in modules:
        if module.kind not in STEPS:
            raise CheckpointError("not supported", at=path, got=module.kind, expected=f"one of {', '.join(STEPS)}")
        config = STEPS[module.kind](module.keys(), width)
        if config is not None:
            found.append((config, module))
            width = config.width(width)
    return found


def _modules(folder: Path) -> list[Module]:
    path = folder / MODULES
    data = _json(path)
    if not isinstance(data, list) or not data or not all(isinstance(line, dict) for line in data):
        raise CheckpointError("not a list of modules", at=path)
    found = []
    for line in data:
        kind, place = line.get("type"), line.get("path")
        if not isinstance(kind, str) or not isinstance(place, str):
            raise CheckpointError("a module without type and path", at=path, got=str(line)[:100])
        inside = (folder / place).resolve()
        if folder.resolve() not in (inside, *inside.parents):
            raise CheckpointError("a path that leaves the folder", at=path, got=place)
        known = kind.startswith("sentence_transformers.")
        found.append(Module(kind.rpartition(".")[2] if known else kind, folder / place))
    if found[0].kind != "Transformer":
        raise CheckpointError("not supported", at=path, got=found[0].kind, expected="a Transformer in front")
    return found


def _pool(keys: Keys, d_model: int) -> tuple[tuple[Pooled, ...], bool, int]:
    """The ways, whether prompts count, and the width."""
    said = keys.raw("pooling_mode")
    on = [word for key, word in SWITCHES.items() if keys.take(key, bool, False)]
    words = (said if isinstance(said, list) else [said]) if said is not None else on or ["mean"]
    for word in words:
        if word not in POOLS:
            at = f"{keys.path}: pooling_mode"
            raise CheckpointError("not supported", at=at, got=str(word)[:100], expected=f"one of {', '.join(POOLS)}")
    for name in ("word_embedding_dimension", "embedding_dimension"):
        keys.only(name, d_model)
    prompt = keys.take("include_prompt", bool, True)
    keys.check_all_read()
    return tuple(POOLS[word] for word in words), prompt, d_model * len(words)


def _dense(keys: Keys, width: int) -> StepConfig:
    keys.only("in_features", width)
    for name in ("module_input_name", "module_output_name"):
        keys.only(name, SENTENCE)
    said = keys.take("activation_function", str, "torch.nn.modules.activation.Tanh")
    name = said.rpartition(".")[2]
    if not said.startswith("torch.nn.") or name not in ACTIVATIONS:
        at, expected = f"{keys.path}: activation_function", f"torch.nn's {', '.join(ACTIVATIONS)}"
        raise CheckpointError("not supported", at=at, got=said, expected=expected)
    config = DenseStepConfig(
        d_out=keys.size("out_features"),
        bias=keys.take("bias", bool, True),
        activation=ACTIVATIONS[name],
        residual=keys.take("use_residual", bool, False),
    )
    keys.check_all_read()
    return config


def _normalize(keys: Keys, width: int) -> StepConfig:
    for name in ("module_input_name", "module_output_name"):
        keys.only(name, SENTENCE)
    keys.check_all_read()
    return NormalizeStepConfig()


def _layer_norm(keys: Keys, width: int) -> StepConfig:
    keys.only("dimension", width)
    keys.check_all_read()
    return NormStepConfig()


def _dropout(keys: Keys, width: int) -> None:
    """Does nothing once a model is trained."""


STEPS: Mapping[str, Callable[[Keys, int], StepConfig | None]] = {
    "Dense": _dense, "Normalize": _normalize, "LayerNorm": _layer_norm, "Dropout": _dropout,
}  # fmt: skip
#: Our parameter names behind those of a module.
NAMES = {"LayerNorm": "norm."}


def _fill(part: nn.Module, module: Module) -> None:
    """Put a module's tensors in place."""
    wanted = dict(part.named_parameters())
    if not wanted:
        return
    held, prefix = Tensors(module.folder), NAMES.get(module.kind, "")
    if set(held.entries) != {prefix + name for name in wanted}:
        got, expected = ", ".join(sorted(held.entries)), ", ".join(sorted(prefix + name for name in wanted))
        raise CheckpointError("tensors do not match", at=module.folder, got=got, expected=expected)
    for name, weight in wanted.items():
        tensor = held.read(prefix + name)
        if tensor.shape != weight.shape:
            raise CheckpointError(
                "wrong shape",
                at=f"{module.folder}: {prefix + name}",
                got=tuple(tensor.shape),
                expected=tuple(weight.shape),
            )
        weight.data = tensor.to(weight.dtype)


def _limit(folder: Path) -> int | None:
    """The longest text, where the folder says one."""
    path = transformer_folder(folder) / LIMITS
    path = path if path.exists() else folder / LIMITS
    if not path.exists():
        return None
    keys = Keys(_object(path), str(path))
    keys.ignore(*USUAL)
    limit = keys.maybe("max_seq_length", int)
    keys.check_all_read()
    return limit


def _prompts(folder: Path) -> dict[str, Any]:
    path = folder / PROMPTS
    data = _object(path) if path.exists() else {}
    said = data.get("prompts") or {}
    if not isinstance(said, dict) or not all(isinstance(text, str) for text in said.values()):
        raise CheckpointError("prompts", at=path, got=str(said)[:100], expected="name and text")
    return {"prompts": tuple(said.items()), "default_prompt": data.get("default_prompt_name")}


def save_sentence(sentence: Sentence, folder: Path) -> None:
    """Write what ``read_sentence`` reads into a folder that holds the encoder."""
    config, d_model = sentence.config, sentence.d_model
    _write(folder / "1_Pooling", _pooling_keys(config, d_model))
    lines, width = [("", "Transformer"), ("1_Pooling", "Pooling")], d_model * len(config.pool)
    for number, (step, part) in enumerate(zip(config.steps, sentence.steps, strict=True), 2):
        kind, keys = _said(step, width)
        lines.append((f"{number}_{kind}", kind))
        _write(folder / lines[-1][0], keys)
        _write_weights(part, folder / lines[-1][0], NAMES.get(kind, ""))
        width = step.width(width)
    _write(folder, [
        {"idx": index, "name": str(index), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for index, (place, kind) in enumerate(lines)
    ], MODULES)  # fmt: skip
    _write(folder, {"prompts": dict(config.prompts), "default_prompt_name": config.default_prompt}, PROMPTS)
    if config.max_tokens is not None:
        _write(folder, {"max_seq_length": config.max_tokens, "do_lower_case": False}, LIMITS)


def _pooling_keys(config: SentenceConfig, d_model: int) -> dict[str, Any]:
    """Switches, which every version reads, where they can say the order."""
    words = {ours: theirs for theirs, ours in POOLS.items()}
    keys: dict[str, Any] = {"word_embedding_dimension": d_model, "include_prompt": config.pool_prompt}
    if config.pool == tuple(POOLS[word] for word in SWITCHES.values() if POOLS[word] in config.pool):
        return keys | {switch: POOLS[word] in config.pool for switch, word in SWITCHES.items()}
    return keys | {"pooling_mode": [words[one] for one in config.pool]}


def _said(step: StepConfig, width: int) -> tuple[str, dict[str, Any]]:
    """The class of a step there, and its config.json."""
    if isinstance(step, DenseStepConfig):
        name = next((theirs for theirs, ours in ACTIVATIONS.items() if ours == step.activation), None)
        if name is None:
            expected = ", ".join(ACTIVATIONS.values())
            raise CheckpointError("this format cannot say it", at="activation", got=step.activation, expected=expected)
        home = "linear" if name == "Identity" else "activation"
        keys: dict[str, Any] = {"in_features": width, "out_features": step.d_out, "bias": step.bias}
        keys["activation_function"] = f"torch.nn.modules.{home}.{name}"
        return "Dense", keys | ({"use_residual": True} if step.residual else {})
    if isinstance(step, NormStepConfig):
        return "LayerNorm", {"dimension": width}
    return "Normalize", {}


def _write(folder: Path, data: Any, name: str = "config.json") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _write_weights(part: nn.Module, folder: Path, prefix: str) -> None:
    """The parameters of a step, if it has some."""
    found = {prefix + name: weight.detach() for name, weight in part.named_parameters()}
    if found:
        outgoing = [
            Outgoing(name, weight.dtype, tuple(weight.shape), partial(_same, weight)) for name, weight in found.items()
        ]
        write(outgoing, folder, 5 << 30)


def _same(weight: Tensor) -> Tensor:
    return weight


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except ConfigError as error:
        raise CheckpointError(error.what, at=error.at, got=error.got, expected=error.expected) from error


def _object(path: Path) -> dict[str, Any]:
    data = _json(path)
    if not isinstance(data, dict):
        raise CheckpointError("not an object", at=path, got=type(data).__name__)
    return data
