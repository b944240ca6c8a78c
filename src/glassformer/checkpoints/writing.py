"""Writing a model in the words of a published format: what the format cannot say is an error that names it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from glassformer.checkpoints import tensors as files
from glassformer.checkpoints.keys import CODE, SPECIAL, Keys
from glassformer.checkpoints.matching import claims_of
from glassformer.checkpoints.rules import Claim, possible_claims
from glassformer.checkpoints.sentence import save_sentence
from glassformer.core.config import Config
from glassformer.core.errors import CheckpointError, GlassformerError
from glassformer.core.files import readable, staged_folder
from glassformer.families import families, family_of
from glassformer.models.adapters import adapters_of
from glassformer.models.transformer import SpecialTokens, Transformer, TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.sentence import Sentence

if TYPE_CHECKING:
    from glassformer.tokenizers.tokenizer import Tokenizer

CONFIG, GENERATION = "config.json", "generation_config.json"
#: Keys that are not written again: those that name code, and those that another one says.
NOT_KEPT = CODE | {"torch_dtype"}
NO_TOKENS = SpecialTokens()
OWN = "glassformer"
_REPLACED = re.compile(r"config\.json|generation_config\.json|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")


@dataclass(frozen=True)
class Origin:
    """Where a loaded model came from, so that it can be written again in the same words.

    kept: its config.json · generation: its generation_config.json, or None · special: the tokens that both named ·
    folder: where that was.
    """

    family: str
    kept: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] | None = None
    special: SpecialTokens = NO_TOKENS
    folder: Path | None = None


def remember(model: Transformer, origin: Origin) -> None:
    """Keep with a model where it came from."""
    model.__dict__["origin"] = origin


def save(
    model: Transformer,
    folder: str | Path,
    *,
    tokenizer: Tokenizer | None = None,
    family: str | None = None,
    max_shard_bytes: int = 5 << 30,
    overwrite: bool = False,
) -> str:
    """Write a model as a folder; the ``model_type`` that it has there.

    family: None takes the one the model came from, else the first published one that can say its description, else our
    own form · overwrite: replace the description and the weights of a model folder; its other files stay. The folder
    appears whole or not at all.

    Raises:
        CheckpointError: the folder exists, the disk refuses, or the family cannot say the description.
    """
    place = Path(folder)
    if any(weight.is_meta for weight in model.parameters()):
        do = "build it with a seed, or load it"
        raise CheckpointError("a model without weights cannot be saved", at=place, do=do)
    if adapters_of(model):
        do = "merge it (glassformer.models.adapters), or save it alone (glassformer.checkpoints.adapter)"
        raise CheckpointError("a model with an adapter", at=place, do=do)
    if overwrite:
        _check_replaceable(place)
    written, keys = _sayable(model, family)
    generation = _generation(model, written)
    with staged_folder(place, overwrite=overwrite) as staging:
        _write_json(staging / CONFIG, keys)
        if generation:
            _write_json(staging / GENERATION, generation)
        files.write(_outgoing(model, written), staging, max_shard_bytes)
        sentence = model.__dict__.get("sentence")
        if isinstance(sentence, Sentence):
            save_sentence(sentence, staging)
        if tokenizer is not None:
            tokenizer.save(staging)
        if place.is_dir():
            _bring_along(place, staging)
    return str(written.MODEL_TYPES[0])


# The description


def _sayable(model: Transformer, family: str | None) -> tuple[ModuleType, dict[str, Any]]:
    """The family to write, and its config.json."""
    origin = getattr(model, "origin", None)
    wanted = family or (origin.family if isinstance(origin, Origin) else None)
    if wanted is not None:
        chosen = family_of(wanted, "save")
        return chosen, _keys(model, chosen)
    own = family_of(OWN, "save")
    for candidate in sorted(families(), key=lambda one: int(getattr(one, "RANK", 1))):
        if candidate is not own:
            try:
                return candidate, _keys(model, candidate)
            except CheckpointError:
                continue  # this format cannot say the description; the next one may
    return own, _keys(model, own)


def _origin(model: Transformer, family: ModuleType) -> Origin:
    """What the model was loaded from, where that was a folder of this family."""
    origin, name = getattr(model, "origin", None), family.MODEL_TYPES[0]
    return origin if isinstance(origin, Origin) and origin.family == name else Origin(name)


def _keys(model: Transformer, family: ModuleType) -> dict[str, Any]:
    """The config.json of a model in a family's words, read back to be sure that it says the same.

    A model that still is what its folder said is written as the folder said it.
    """
    name = family.MODEL_TYPES[0]
    what, do = f"the {name} format cannot say this model", f'save(..., family="{OWN}") can'
    try:
        keys, difference = _said(model, family)
        if difference is not None:
            at, mine, other = difference
            raise CheckpointError(what, at=at, got=repr(mine), expected=f"{other!r}, as it would be read")
        claims_of(model, family)
    except GlassformerError as error:
        got = error.what if error.got is None else error.got
        raise CheckpointError(what, at=error.at, got=got, expected=error.expected, do=do) from error
    return keys


Difference = tuple[str, Any, Any]


def _said(model: Transformer, family: ModuleType) -> tuple[dict[str, Any], Difference | None]:
    """The words of the folder if they still fit, else new ones; and in what even those are read otherwise."""
    origin = _origin(model, family)
    head = _head_word(model.config, family)
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    fixed = {
        "model_type": family.MODEL_TYPES[0],
        "architectures": [head],
        "dtype": dtype,
        **_ids(model, origin, family),
        **_named(model),
    }
    kept = {key: value for key, value in origin.kept.items() if key not in NOT_KEPT}
    if origin.kept and _difference_read(keys := {**kept, **fixed}, model, family) is None:
        return keys, None
    said = {**family.from_config(model.config), **_labels(model.config, kept)}
    fixed = {key: value for key, value in fixed.items() if value is not None or key not in said}
    keys = {**_without_dialects(kept, said), **said, **fixed}
    return keys, _difference_read(keys, model, family)


def _head_word(config: TransformerConfig, family: ModuleType) -> str:
    """The architecture of a family that computes what the description's head computes."""
    wanted = family.head_name(config)
    for architecture, head in family.ARCHITECTURES.items():
        if head == wanted:
            return str(architecture)
    raise CheckpointError("no such head", at="config.head", got=wanted, expected=", ".join(family.ARCHITECTURES))


def _ids(model: Transformer, origin: Origin, family: ModuleType) -> dict[str, Any]:
    """The special tokens that are not what the folder said; of a new model all, since absence means others."""
    now, then = (_by_key(special) for special in (model.special, origin.special))
    if origin.kept:
        return {key: value for key, value in now.items() if value != then[key]}
    return {key: value for key, value in now.items() if value is not None or key in family.SPECIAL}


def _by_key(special: SpecialTokens) -> dict[str, Any]:
    end: Any = list(special.end) if len(special.end) > 1 else special.end[0] if special.end else None
    return dict(zip(SPECIAL, (special.start, end, special.pad, special.decoder_start), strict=True))


def _labels(config: TransformerConfig, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Names of labels where those of the folder do not fit."""
    n_labels = getattr(config.head, "n_labels", None)
    if n_labels is None or Keys(kept, "").labels() == n_labels:
        return {}
    return label_keys([f"LABEL_{number}" for number in range(n_labels)])


def _named(model: Transformer) -> dict[str, Any]:
    """The names of the labels of a model that has any."""
    n_labels = getattr(model.config.head, "n_labels", None)
    return label_keys(model.labels) if model.labels and n_labels == len(model.labels) else {}


def label_keys(names: Sequence[str]) -> dict[str, Any]:
    """What the numbers of labels mean, in the words of a config.json."""
    numbers = {str(number): name for number, name in enumerate(names)}
    return {"id2label": numbers, "label2id": {name: number for number, name in enumerate(names)}}


def _without_dialects(kept: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What the folder said, less other words for what is now said."""
    older = ("partial_rotary_factor", "original_max_position_embeddings") if "rope_parameters" in said else ()
    labels = ("num_labels",) if "id2label" in said else ()
    return {key: value for key, value in kept.items() if key not in (*older, *labels)}


def _generation(model: Transformer, family: ModuleType) -> dict[str, Any]:
    """generation_config.json: what the folder said, and the special tokens of a model that writes."""
    origin = _origin(model, family)
    writes = model.decoder is not None and isinstance(model.config.head, TokenHeadConfig)
    said = _ids(model, origin, family) if origin.generation is not None or (writes and not origin.kept) else {}
    return {**(origin.generation or {}), **{key: value for key, value in said.items() if value is not None}}


# Whether it is said


def _difference_read(keys: Mapping[str, Any], model: Transformer, family: ModuleType) -> Difference | None:
    """The first field in which the description that keys say differs from the model's: path, ours, theirs; or None."""
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    found = possible_claims(family.rules(model.config), shapes)
    tensors = frozenset(claim.theirs.removeprefix(family.PREFIX) for claim in found)
    back = family.to_config(Keys(keys, "config", tensors), family.ARCHITECTURES[keys["architectures"][0]])
    return _difference(model.config, back, model.config.d_model, "config")


def _difference(ours: Any, theirs: Any, d_model: int, path: str) -> Difference | None:
    """What is said and what is meant by default are equal."""
    if isinstance(ours, Config) and type(ours) is type(theirs):
        for one in dataclasses.fields(ours):
            mine, other = (_meant(config, one.name, d_model) for config in (ours, theirs))
            found = _difference(mine, other, d_model, f"{path}.{one.name}")
            if found is not None:
                return found
        return None
    if isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return next((d for i, (a, b) in pairs if (d := _difference(a, b, d_model, f"{path}[{i}]")) is not None), None)
    return None if ours == theirs else (path, ours, theirs)


def _meant(config: Config, name: str, d_model: int) -> Any:
    """The value of a field; of an attention, what its default comes to."""
    value = getattr(config, name)
    if isinstance(config, AttentionConfig):
        width = config.width(d_model)
        if name == "head_dim":
            return width
        if name == "n_kv_heads":
            return value or config.n_heads
        if name == "scale":
            return width**-0.5 if value is None else value
        if name == "positions" and isinstance(value, RotaryConfig) and value.dim == width:
            return value.replace(dim=None)
    return value


# The weights, and what stands beside them


def _check_replaceable(place: Path) -> None:
    """Only a model folder is replaced, lest a slip of the hand takes another one."""
    with readable(place):
        if place.is_dir() and any(place.iterdir()) and not (place / CONFIG).exists():
            raise CheckpointError("not a model folder, and so not overwritten", at=place, do="choose another name")


def _outgoing(model: Transformer, family: ModuleType) -> list[files.Outgoing]:
    weights = dict(model.named_parameters())
    return [_one(claim, weights, family, bare=model.config.head is None) for claim in claims_of(model, family)]


def _one(claim: Claim, weights: Mapping[str, Tensor], family: ModuleType, *, bare: bool) -> files.Outgoing:
    """A tensor under their name; a backbone alone has no prefix."""
    ours = [weight.detach() for weight in claim.of(weights)]
    name = claim.theirs.removeprefix(family.PREFIX) if bare else claim.theirs
    shape = claim.rule.their_shape([weight.shape for weight in ours])
    return files.Outgoing(name, ours[0].dtype, shape, lambda: claim.rule.save(ours))


def _bring_along(old: Path, staging: Path) -> None:
    """Keep what else stands in a folder that is overwritten: a tokenizer, a licence, notes."""
    for path in old.iterdir():
        if _REPLACED.fullmatch(path.name) or (staging / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, staging / path.name, symlinks=True, copy_function=_link)
        else:
            _link(path, staging / path.name)


def _link(source: str | Path, target: str | Path) -> None:
    """The same file under a second name, or a copy where there are no such names."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(dict(data), indent=2, sort_keys=True) + "\n", encoding="utf-8")
