"""List the corpora that Python carries, or check data before it is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from glassformer.commands._check_page import page
from glassformer.commands._settings import fields_of, objective_of, reads_text
from glassformer.commands.train import reach_of, start_of, tokenizer_of
from glassformer.core.errors import ConfigError
from glassformer.core.terminal import Progress, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from glassformer.commands.train import Start
    from glassformer.data.examples import Example
    from glassformer.tokenizers.tokenizer import Tokenizer
    from glassformer.train.check import Bad
    from glassformer.train.objective import ExampleObjectiveConfig, Reading

#: Whose tokenizer is made where no model is said, as in `train`.
PRESET = "gpt-tiny"


def main(
    action: Literal["list", "check"],
    data: str | None = None,
    /,
    *,
    objective: str | None = None,
    set: tuple[str, ...] = (),
    field: tuple[str, ...] = (),
    format: str | None = None,
    model: Annotated[str | None, Parameter(name=["--model", "-m"])] = None,
    tokenizer: str | None = None,
    context: int | None = None,
    truncate: bool = False,
    json: bool = False,
) -> int:
    """List the corpora that can be trained on without any file, or check data: counts, lengths, labels, bad lines.

    Args:
        action: `list` the corpora, with their splits, licences and sha256, or `check` DATA: exit 2 if a line is bad.
        data: A file, a folder, or embedded:NAME.
        objective: What is to be learned, as in `train`; shows what the model would see.
        set: A setting of the objective, as in `train`; may be given several times.
        field: WORD=NAME, such as label=stars, as in `train`; may be given several times.
        format: The format, where neither the suffix nor the first line says it: table, conll, fasta ...
        model: The preset or model folder that is to be trained, whose tokenizer is used; gpt-tiny.
        tokenizer: Another tokenizer: bytes, bpe:SIZE, or a tokenizer.json.
        context: Tokens of the longest row; as many as the model folder reaches, else without end.
        truncate: Longer rows would be cut: they are no mistake.
        json: Print one JSON object.
    """
    said = {**locals(), "fields": fields_of(field)}
    if action == "list":
        if data is not None:
            raise ConfigError("data list takes no DATA", got=data, do=f"glassformer data check {data}")
        return show_list(json=json)
    if data is None:
        raise ConfigError("data check needs DATA")
    with Progress() as progress:
        report = check(said, progress)
    print_json(report) if json else print(page(report))
    return 2 if report["bad_count"] else 0


def show_list(*, json: bool) -> int:
    """The corpora that Python carries."""
    from glassformer.data.sources import embedded_names

    with Progress() as progress:
        found = [examine(name, progress) for name in embedded_names()]
    print_json({"corpora": found}) if json else print("\n\n".join(map(render, found)))
    return 0


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


def check(said: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Everything about some data, ready for JSON."""
    progress.update(f"reading {said['data']} ...")
    from glassformer.train.check import Bad, complete, counted, label_counts, raw_rows

    bad = Bad()
    by_text = is_text(said)
    if by_text and said["format"] is not None:
        raise ConfigError("--format is for examples", got=f"--objective {said['objective']}")
    objective: Any = None if said["objective"] is None else objective_of(said["objective"], said["set"])
    examples = [without(example, said["fields"]) for example in found(said, bad, by_text, progress)]
    report: dict[str, Any] = {"place": said["data"], "reads": "documents" if by_text else "examples"}
    report |= counted(examples) | {"labels": label_counts(examples, None if by_text else objective)}
    if not by_text and objective is not None and not objective.TEXTS:
        report |= {"usable": complete(examples, objective, bad), "shown": raw_rows(examples)}
    elif objective is not None or said["tokenizer"] is not None or said["model"] is not None:
        report |= as_seen(said, examples, None if by_text else objective, bad, progress)
    else:
        report["shown"] = raw_rows(examples)
    return report | {"bad_count": bad.count, "bad": bad.lines}


def without(example: Example, fields: dict[str, str]) -> Example:
    """The example without what it holds twice: under the names of the file and in the words of the task."""
    from glassformer.data.examples import Example

    twice = {name for word, name in fields.items() if word in example.fields} - {*fields}
    return Example(example.place, {name: value for name, value in example.fields.items() if name not in twice})


def is_text(said: dict[str, Any]) -> bool:
    """Whether `train` would read running text: by the objective, or, without one, because it is nothing else."""
    from glassformer.data.sources import EMBEDDED
    from glassformer.train.check import is_plain

    if said["objective"] is not None:
        return reads_text(said["objective"], said["data"])
    return said["data"].startswith(EMBEDDED) or (said["format"] is None and is_plain(said["data"], said["fields"]))


def found(said: dict[str, Any], bad: Bad, by_text: bool, progress: Progress) -> Iterator[Example]:
    """The examples that can be read."""
    from glassformer.data.examples import read_examples
    from glassformer.train.check import documents, whole

    fields = said["fields"]
    read = read_examples(said["data"], fields, format=said["format"], broken=bad.add)
    given = documents(said["data"], fields, bad) if by_text else read
    for number, example in enumerate(whole(given, bad), start=1):
        if number % 1000 == 0:
            progress.update(f"{number:,} examples read ...")
        yield example


def as_seen(
    said: dict[str, Any],
    examples: list[Example],
    objective: ExampleObjectiveConfig | None,
    bad: Bad,
    progress: Progress,
) -> dict[str, Any]:
    """Lengths in tokens and some rows as the model that is to be trained would see them."""
    from glassformer.train.check import encoded, named, sampled
    from glassformer.train.objective import ExampleObjectiveConfig
    from glassformer.train.task_data import Examples

    start = start_of(said["model"] or PRESET)
    progress.update("making the tokenizer ...")
    texts = Examples(examples, ()).texts(objective or ExampleObjectiveConfig())
    tokenizer = tokenizer_of({**said, "model": said["model"] or PRESET}, texts, start)
    if objective is None:
        return encoded(examples, tokenizer, progress.update)
    labels = Examples(named(examples, objective), ()).labels(objective)
    return sampled(examples, objective, reading_of(said, start, tokenizer, labels, objective), bad, progress.update)


def reading_of(
    said: dict[str, Any], start: Start, tokenizer: Tokenizer, labels: tuple[str, ...], objective: ExampleObjectiveConfig
) -> Reading:
    """How `train` would read the examples: with the labels and the reach of a model folder, where there is one."""
    from glassformer.models.transformer import SpecialTokens, Transformer
    from glassformer.train.objective import Reading
    from glassformer.train.task_data import special_tokens

    special = start.special if isinstance(start, Transformer) else SpecialTokens()
    if special == SpecialTokens():
        special = special_tokens(tokenizer, writes=objective.writes)
    known = start.labels if isinstance(start, Transformer) else ()
    names = known if known and {*labels} <= {*known} else labels
    most = min((limit for limit in (said["context"], reach_of(start)) if limit is not None), default=None)
    end = next(iter(special.end), None)
    return Reading(tokenizer, names, most, said["truncate"], special.decoder_start, end)
