"""List the corpora that every Python carries, with their splits, licences and hashes."""

from __future__ import annotations

from typing import Any, Literal

from glassformer.core.terminal import Progress, print_json


def main(action: Literal["list"], /, *, json: bool = False) -> None:
    """List the corpora that can be trained on without any file: what they hold, how they are split, licence and sha256.

    Args:
        action: What to do; so far only `list`.
        json: Print one JSON object.
    """
    from glassformer.data.sources import embedded_names

    with Progress() as progress:
        found = [examine(name, progress) for name in embedded_names()]
    print_json({"corpora": found}) if json else print("\n\n".join(map(render, found)))


def examine(name: str, progress: Progress) -> dict[str, Any]:
    """One corpus, ready for JSON; sizes in bytes of UTF-8."""
    from glassformer.data.sources import EMBEDDED, open_source

    progress.update(f"reading {EMBEDDED}{name} ...")
    source = open_source(EMBEDDED + name)
    documents = list(source.split())
    parts = dict.fromkeys(document.part for _, document in documents)
    return {
        "place": source.place,
        "about": source.about,
        "licence": source.licence,
        "sha256": source.digest(document for _, document in documents),
        "parts": {part: sizes([(split, text) for split, text in documents if text.part == part]) for part in parts},
    }


def sizes(documents: list[tuple[Any, Any]]) -> dict[str, dict[str, int]]:
    """Split → number of documents and bytes."""
    found: dict[str, dict[str, int]] = {}
    for split, document in documents:
        size = found.setdefault(split, {"documents": 0, "bytes": 0})
        size["documents"] += 1
        size["bytes"] += len(document.text.encode())
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def render(corpus: dict[str, Any]) -> str:
    """One corpus as a person reads it."""
    lines = [corpus["place"], f"  {corpus['about']}", f"  licence {corpus['licence']} · sha256 {corpus['sha256']}"]
    for part, splits in corpus["parts"].items():
        counts = [f"{split} {size['documents']} ({size['bytes']:,} bytes)" for split, size in splits.items()]
        lines.append(f"  {part:<7} {' · '.join(counts)}")
    return "\n".join(lines)
