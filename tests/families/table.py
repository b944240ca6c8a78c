"""docs/families.md, written from the tests that ran: ``make families``."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from glassformer.families import families
from glassformer.parts.cache import FullStore, SlidingStore
from tests.families.forms import BY_NAME, FAMILIES, FORMS, IMAGE_FAMILIES, IMAGE_FORMS
from tests.families.helpers import head_of, make

HEADS = {
    "tokens": "tokens", "hidden": "hidden states", "classify": "classes", "tag": "tags", "span": "spans",
    "choice": "choices", "sentence": "next sentence", "pretrain": "pre-training", "encoder": "encoder alone",
    "distilled": "classes and a teacher's",
}  # fmt: skip
WRITES = ("test_a_folder_saved_back_is_the_folder", "test_a_description_says_a_folder_from_nothing")
INTRODUCTION = """\
# Families

Written by `make families` from the tests that ran; do not edit. Each family was compared with transformers on tiny
random models read from files: hidden states of every layer, output, loss and gradients to 1e-5, padded rows on both
sides, caches step by step, greedy words, and the folder saved back tensor by tensor. "Forms" counts the configs that
were compared so. "Keys" counts how often a key of its config.json was changed in turn with what came of it: our output
followed, or nothing moved, or it was refused by name; none was missed in silence.

| model_type | reads | writes | heads | cache | forms | keys: followed / harmless / refused | refused here alone |
|---|---|---|---|---|---|---|---|
"""


def write(reports: Iterable[Any], place: Path) -> None:
    """The page of the tests of ``reports``; a family of which one failed is left out."""
    ran: dict[str, set[str]] = defaultdict(set)
    failed: set[str] = set()
    keys: dict[str, Mapping[str, Any]] = {}
    for report in reports:
        test, names = report.nodeid.rpartition("::")[2], re.findall(r"\[(.*?)\]", report.nodeid)
        for name in names[0].split("-", 1)[:1] + names if names else ():
            form = BY_NAME.get(name) or BY_NAME.get(name.removesuffix("-left").removesuffix("-right"))
            family = form.family if form is not None else name if name in FAMILIES | IMAGE_FAMILIES else None
            if family is not None:
                ran[family].add(test.partition("[")[0])
                failed |= set() if report.passed else {family}
        properties = dict(report.user_properties)
        if "mutations" in properties and names:
            keys[names[0]] = properties
    lines = [_line(family, ran[family], keys.get(family, {})) for family in sorted(ran) if family not in failed]
    place.write_text(INTRODUCTION + "".join(lines) + _counts(lines), encoding="utf-8")


def _line(family: str, ran: set[str], properties: Mapping[str, Any]) -> str:
    forms = [form for form in FORMS + IMAGE_FORMS if form.family == family]
    heads = ", ".join(HEADS.get(head, head) for head in dict.fromkeys(head_of(form) for form in forms))
    outcomes: Mapping[str, int] = properties.get("mutations", {})
    followed, harmless = outcomes.get("followed", 0), outcomes.get("harmless", 0)
    refused = sum(outcomes.values()) - followed - harmless
    said = ", ".join(f"`{key}`" for key in properties.get("refused", ()))
    reads = "yes" if "test_output_loss_and_gradients" in ran else ""
    writes = "yes" if set(WRITES) <= ran else ""
    counts = f"{followed} / {harmless} / {refused}" if outcomes else ""
    return f"| {family} | {reads} | {writes} | {heads} | {_caches(family)} | {len(forms)} | {counts} | {said} |\n"


def _caches(family: str) -> str:
    """What keeps the keys of earlier tokens in the layers of the family's forms."""
    names = {FullStore: "full", SlidingStore: "sliding"}
    found: dict[str, None] = {}
    for form in FORMS:
        if form.family == family and not form.light and head_of(form) == "tokens":
            with TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = make(form, Path(folder)).ours
            if model.decoder is not None:
                cache = model.cache(1, 32)
                kinds = [*cache.stores, *(store for store in cache.cross_stores if store is not None)]
                found |= dict.fromkeys(names.get(type(store), "cross") for store in kinds)
    return ", ".join(found) or "none: an encoder"


def _counts(lines: list[str]) -> str:
    known = {name for family in families() for name in family.MODEL_TYPES} - {"glassformer"}
    missing = sorted(known - {line.split("|")[1].strip() for line in lines})
    said = f"; not shown by a test that ran: {', '.join(missing)}" if missing else ""
    return f"\n{len(lines)} families{said}.\n"
