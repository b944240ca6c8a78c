"""Show a model's description, sizes and value names; weights are read only to check them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassformer.core.terminal import print_json

if TYPE_CHECKING:
    from glassformer.models.summary import Summary
    from glassformer.models.transformer import TransformerConfig


#: A preset takes these from the data and the tokenizer that it is trained with; alone it is shown with these.
PRESET_VOCAB_SIZE, PRESET_POSITIONS = 4096, 512


def main(model: str, /, *, names: bool = False, check: bool = False, json: bool = False) -> None:
    """Show what a model is made of and what it costs; weights are read only with --check.

    Args:
        model: A folder with config.json, a description as a .json file, or the name of a preset.
        names: Also list the name and the axes of every value that can be read or changed.
        check: First read the weights, and refuse what is missing, too much, misshapen or not finite.
        json: Print one JSON object.
    """
    if check:
        check_weights(model)
    config, assumed = describe(model)
    built = config.build(seed=None, device="meta")
    summary = built.summary()
    found = built.value_names() if names else {}
    if json:
        report = {"model": model, "config": config.to_json(), "summary": summary.to_json()}
        report |= ({"assumed": assumed} if assumed else {}) | ({"names": found} if names else {})
        print_json(report | ({"checked": True} if check else {}))
        return
    note = (
        ["", f"a preset; its data says the vocabulary and the longest row, here {_listed(assumed)}"] if assumed else []
    )
    listed = ["", *listing(found)] if names else []
    checked = ["weights             all there, each of its shape, every number finite"] if check else []
    print("\n".join([*tree(config.to_json()), "", *sizes(summary), *checked, *note, *listed]))


def check_weights(model: str) -> None:
    """Load a folder as everything else does, and look at each number.

    Raises:
        CheckpointError: weights that cannot be used, or a description that has none.
    """
    from glassformer.checkpoints import folder
    from glassformer.core.errors import CheckpointError
    from glassformer.train.presets import PRESETS

    if Path(model).is_file() or (model in PRESETS and not Path(model).exists()):
        raise CheckpointError("there are no weights to check", at=model, expected="a folder")
    folder.load(model, check=True)


def describe(model: str) -> tuple[TransformerConfig, dict[str, int]]:
    """The description of a folder, a file or a preset, and what had to be assumed; no weights are read.

    Raises:
        CheckpointError: neither, or a folder that cannot be read.
        ConfigError: a file that is not a description.
    """
    from glassformer.checkpoints import folder
    from glassformer.core.errors import CheckpointError
    from glassformer.models.transformer import TransformerConfig
    from glassformer.train.presets import PRESETS, preset

    if model in PRESETS and not Path(model).exists():
        assumed = {"vocab_size": PRESET_VOCAB_SIZE, "max_positions": PRESET_POSITIONS}
        return preset(model, **assumed), assumed
    if Path(model).is_file():
        return TransformerConfig.load(model), {}
    try:
        return folder.describe(model).config, {}
    except CheckpointError as error:
        if Path(model).exists() or "/" in model:
            raise
        expected = "a folder, a description as a .json file, or a preset"
        do = f"presets are {', '.join(PRESETS)}"
        raise CheckpointError("no such model", at=model, expected=expected, do=do) from error


def _listed(numbers: Mapping[str, int]) -> str:
    return " and ".join(f"{name} {number:,}" for name, number in numbers.items())


def tree(data: Mapping[str, Any], name: str = "", times: int = 1) -> list[str]:
    """A description as lines: its kind and plain fields on one, each part below it; fields at their defaults are not
    shown.
    """
    plain = {key: value for key, value in data.items() if key != "kind" and not _holds_parts(value)}
    parts = [part for key, value in data.items() if _holds_parts(value) for part in _parts(key, value)]
    said = ", ".join(f"{key} {_say(value)}" for key, value in plain.items())
    kind = f"{times} × {data['kind']}" if times > 1 else data["kind"]
    lines = [f"{name + '  ' if name else ''}{kind}{': ' if said else ''}{said}"]
    for place, (key, part, count) in enumerate(parts):
        last = place == len(parts) - 1
        head, *rest = tree(part, key, count)
        lines += [f"{'└─' if last else '├─'} {head}", *(f"{'   ' if last else '│  '}{line}" for line in rest)]
    return lines


def _holds_parts(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def _parts(key: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any], int]]:
    """The parts under one field, each with how often it stands there; runs are written ``repeat``/``of``."""
    for item in value if isinstance(value, list) else [value]:
        if "repeat" not in item:
            yield key, item, 1
        elif len(item["of"]) == 1:
            yield key, item["of"][0], item["repeat"]
        else:
            for place, part in enumerate(item["of"]):
                yield f"{key}, {place + 1} of {len(item['of'])} in turn", part, item["repeat"]


def _say(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def sizes(summary: Summary) -> list[str]:
    """The costs of a model, one a line."""
    return [
        f"parameters          {summary.parameters:,} ({summary.embedding_parameters:,} of them in embeddings)",
        f"FLOPs per token     {summary.flops_per_token:,} forward, in a row of {summary.context:,} tokens",
        f"KV bytes per token  {summary.kv_bytes_per_token:,} in float32, {summary.kv_bytes_per_token // 2:,} in 16 bit",
    ]


def listing(names: Mapping[str, str]) -> list[str]:
    """Value names with their axes; layers that have the same ones stand on one line, as ``blocks.0-11``."""
    layers: dict[tuple[str, str], list[int]] = {}
    for name, axes in names.items():
        found = re.search(r"blocks\.(\d+)\.", name)
        layers.setdefault((re.sub(r"blocks\.\d+\.", "blocks.{}.", name), axes), []).extend(
            [int(found[1])] if found else []
        )
    shown = [(name.replace("{}", _range(numbers)), axes) for (name, axes), numbers in layers.items()]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"{name:<{width}}  {axes}" for name, axes in shown]


def _range(numbers: list[int]) -> str:
    """``0-11``, or ``0,2,4`` where some are missing."""
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers))
