"""Train a model on text, or go on with a run that was stopped."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from glassformer.commands._settings import fields_of, objective_of, reads_text, settings
from glassformer.core.errors import ConfigError
from glassformer.core.terminal import Progress, print_json

if TYPE_CHECKING:
    from glassformer.data import TextData
    from glassformer.models.transformer import Transformer, TransformerConfig
    from glassformer.tokenizers.tokenizer import Tokenizer
    from glassformer.train.config import TrainConfig
    from glassformer.train.run import Run
    from glassformer.train.task_data import TaskData

    #: A model, its description, or the name of a preset.
    Start = Transformer | TransformerConfig | str

#: What may stand beside --resume; everything else is what the run began with.
WITH_RESUME = {"resume", "threads", "json"}
#: The tokenizer that is made for a preset of each form, where nothing is said.
USUAL = {"bert": "wordpiece:4096", "t5": "sequences:4096"}
EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143}


def main(
    data: str | None = None,
    /,
    *,
    objective: str = "next_token",
    set: tuple[str, ...] = (),
    validation: Path | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    resume: Path | None = None,
    model: Annotated[str, Parameter(name=["--model", "-m"])] = "gpt-tiny",
    tokenizer: str | None = None,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    epochs: float | None = None,
    batch_tokens: int = 1024,
    batch_rows: int | None = None,
    micro_tokens: int | None = None,
    context: tuple[int, ...] = (),
    learning_rate: float | None = None,
    optimizer: str | None = None,
    matrix_rate: float | None = None,
    weight_decay: float | None = None,
    schedule: Literal[
        "cosine", "wsd", "linear", "constant", "inverse-sqrt", "noam", "polynomial", "cosine-restarts"
    ] = "cosine",
    warmup: int | None = None,
    dropout: float = 0.0,
    freeze: tuple[str, ...] = (),
    layer_decay: float | None = None,
    lora: int | None = None,
    lora_targets: tuple[str, ...] = (),
    ema: float | None = None,
    patience: int | None = None,
    seed: int = 0,
    eval_every: int | None = None,
    save_every: int | None = None,
    sample_every: int | None = None,
    field: tuple[str, ...] = (),
    format: str | None = None,
    truncate: bool = False,
    augment: tuple[str, ...] = (),
    samples: Literal["windows", "documents", "packed"] = "windows",
    threads: int | None = None,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    compile: bool = False,
    recompute: Literal["blocks", "products"] | None = None,
    json: bool = False,
) -> int:
    """Train a model; RUN becomes a model folder that every other command opens, and `transformers` too.

    Args:
        data: A file, a folder, or embedded:NAME; see `glassformer data list`. Text for next_token and masked_token,
            else examples: .jsonl, .csv, .tsv and others (any of them .gz, .xz).
        objective: What is learned: next_token, masked_token, classify, regress, tag, sequence_to_sequence ...
        set: A setting of the objective, such as smoothing=0.1; may be given several times.
        validation: Examples to measure with; a tenth of DATA when left out.
        out: The folder of the run, which must not exist yet.
        resume: Go on with the run in this folder, bit for bit; nothing but --threads and --json goes with it.
        model: gpt-, llama-, bert-, t5- or vit-tiny or -small, a description in a .json file, or a model folder.
        tokenizer: bytes, chars, bpe:SIZE, or a tokenizer.json; the model folder's own, else bpe:2048.
        steps: How many steps; 1000 if neither tokens nor minutes are given.
        tokens: How many tokens to learn from instead.
        minutes: How many minutes to take instead.
        epochs: How many passes over the examples instead.
        batch_tokens: Tokens to learn from in a step.
        batch_rows: Examples to learn from in a step instead.
        micro_tokens: Of these, how many at once; fewer need less memory and change nothing else.
        context: Tokens of a sample, 256; given several times, the training is divided into equal parts.
        learning_rate: The highest rate, that of AdamW: 0.004 beside muon, else 0.002, and 0.0001 for a model folder.
        optimizer: adamw, muon (the matrices of the blocks, with AdamW for the rest), adafactor, lion, or the path of a
            class, such as torch.optim.SGD; muon for a new model, adamw for a model folder.
        matrix_rate: The highest rate of Muon, 0.02.
        weight_decay: How fast matrices shrink, 0.1.
        schedule: How the rate falls.
        warmup: Steps over which the rate rises; 3 % of all.
        dropout: Share of values that are dropped in training.
        freeze: Parameters that stay as they are, such as "embedding.*" or "encoder.blocks.[0-5].*"; several times.
        layer_decay: The rate of each layer as a share of that of the layer above.
        lora: Train low-rank changes of this rank instead of the weights.
        lora_targets: The linear maps that they change, "*.q_proj" and "*.v_proj" when left out.
        ema: Keep an average of the weights, which forgets by this factor a step, and measure and save that.
        patience: End after so many measurements without a better one.
        seed: Decides the first weights, the order of the text and what is dropped.
        eval_every: Steps between measurements on held-out text; ten times a run, 0 for only at the end.
        save_every: Steps between checkpoints; ten times a run, 0 for only at the end.
        sample_every: Steps between samples of what the model writes; ten times a run, 0 for only at the end.
        field: The field that holds the text; of examples WORD=NAME, such as label=stars, may be given several times;
            a number is a column of a table without a header.
        format: The format of the examples, where neither the suffix nor the first line says it: table, conll, fasta ...
        truncate: Cut examples that are longer than the model, instead of refusing them.
        augment: What is done to pictures: flip, crop, resized-crop, erasing, rand, mixup, cutmix; several times.
        samples: Windows of the text laid end to end, one document a row, or documents packed into rows.
        threads: Processor threads; all cores.
        device: cpu, cuda ...; cuda where there is one.
        dtype: bfloat16 computes in mixed precision, with float32 weights.
        compile: Compile the blocks first: slow to start, faster then on some machines.
        recompute: Keep less for the backward pass and compute it again: the inputs of blocks alone, or their products.
        json: Print one JSON object at the end.
    """
    said = dict(locals())
    if resume is not None:
        refuse_beside_resume(said)
    elif data is None or out is None:
        raise ConfigError("train needs DATA and --out RUN, or --resume RUN")
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    with Progress() if is_first() else Progress.silent() as progress:
        run = go_on(resume, progress) if resume is not None else begin(said, progress)
    if is_first():
        print_json(summary(run)) if json else print(report(run))
    return EXIT_CODES.get(run.stopped_by or "", 0) if not run.is_finished else 0


def refuse_beside_resume(said: dict[str, Any]) -> None:
    """A resumed run does what it began to do.

    Raises:
        ConfigError: Another option was given.
    """
    parameters = inspect.signature(main).parameters
    changed = [name for name, value in said.items() if value != parameters[name].default]
    others = [name for name in changed if name not in WITH_RESUME]
    if others:
        names = ", ".join("DATA" if name == "data" else f"--{name.replace('_', '-')}" for name in others)
        raise ConfigError(
            "a resumed run keeps its settings", got=names, do="leave them out, or begin a new run with --out"
        )


def is_first() -> bool:
    """Whether this process speaks for all of a run; torchrun numbers them."""
    return os.environ.get("RANK", "0") == "0"


def go_on(folder: Path, progress: Progress) -> Run:
    """The rest of a run."""
    progress.update(f"opening {folder} ...")
    from glassformer.train.loop import resume

    return resume(folder, progress=progress)


def begin(said: dict[str, Any], progress: Progress) -> Run:
    """A new run, from what the command line said."""
    progress.update(f"reading {said['data']} ...")
    import torch

    from glassformer.train.folder import RUN_FILE
    from glassformer.train.loop import refuse_taken
    from glassformer.train.parallel import joined, restarts

    device = said["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
    with joined(device) as group:
        if group.agreed(restarts() > 0 and (said["out"] / RUN_FILE).is_file()):
            return go_on(said["out"], progress)  # torchrun began the same command again
        if group.is_first:
            refuse_taken(said["out"])
        return begin_new(said, device, progress)


def begin_new(said: dict[str, Any], device: str, progress: Progress) -> Run:
    """A run in a folder that is free."""
    from glassformer.models.transformer import Transformer
    from glassformer.train.loop import train
    from glassformer.train.state import Machine

    machine = Machine(device=device, dtype=said["dtype"], compile=said["compile"], recompute=said["recompute"])
    start, objective = start_of(said["model"]), objective_of(said["objective"], said["set"])
    plan = settings(said, reach_of(start), objective, is_new=not isinstance(start, Transformer))
    model, data, plan = maker_of(said, objective)(said, plan, start, progress)
    parameters = sum(weight.numel() for weight in model.parameters())
    progress.note(f"{parameters / 1e6:.2f} M parameters · {told(data)}")
    return train(model, data, plan, out=said["out"], machine=machine, progress=progress)


def maker_of(said: dict[str, Any], objective: Any) -> Callable[..., tuple[Transformer, Any, TrainConfig]]:
    """What makes model and data of a run: from running text, from examples, or from pictures."""
    from glassformer.commands._images import begin_images

    has_pictures = "image" in getattr(objective, "FIELDS", ())
    if said["augment"] and not has_pictures:
        raise ConfigError("--augment is for pictures", got=f"--objective {said['objective']}")
    if has_pictures:
        return begin_images
    return begin_text if reads_text(said["objective"], said["data"]) else begin_examples


def told(data: Any) -> str:
    """How much there is to learn from."""
    from glassformer.train.image_data import ImageData

    if isinstance(data, ImageData):
        return f"{len(data.sampler.examples):,} pictures to learn from"
    return f"{data.tokenizer.vocab_size} kinds of tokens · {data.tokens:,} tokens to learn from"


def begin_text(
    said: dict[str, Any], plan: TrainConfig, start: Start, progress: Progress
) -> tuple[Transformer, TextData, TrainConfig]:
    """Model and data of a run over text."""
    from glassformer.models.transformer import Transformer
    from glassformer.train.presets import preset

    for option in ("epochs", "batch_rows", "validation", "format"):
        if said[option] is not None:
            raise ConfigError(f"--{option.replace('_', '-')} is for examples", got=f"--objective {said['objective']}")
    data = read(said, plan, has_own=isinstance(start, Transformer))
    if isinstance(start, str):
        start = preset(start, data.tokenizer.vocab_size, max(plan.contexts) + (said["objective"] != "next_token"))
    return (start if isinstance(start, Transformer) else start.build(seed=plan.seed)), data, plan


def begin_examples(
    said: dict[str, Any], plan: TrainConfig, start: Start, progress: Progress
) -> tuple[Transformer, TaskData, TrainConfig]:
    """Model and data of a run over examples; the model gets the head that the objective trains."""
    from glassformer.models.transformer import SpecialTokens, Transformer
    from glassformer.train.attach import attached, with_head
    from glassformer.train.presets import preset
    from glassformer.train.task_data import gather, prepare, special_tokens

    objective: Any = plan.objective
    examples = gather(said["data"], said["validation"], fields=fields_of(said["field"]), format=said["format"])
    tokenizer = tokenizer_of(said, examples.texts(objective), start)
    if isinstance(start, str):
        start = preset(start, tokenizer.vocab_size, max(plan.contexts))
    labels = start.labels if isinstance(start, Transformer) else ()
    labels = labels if labels and set(examples.labels(objective)) <= {*labels} else examples.labels(objective)
    if isinstance(start, Transformer):
        model, fresh = attached(start, with_head(start, objective, labels), seed=plan.seed)
        if fresh:
            progress.note(f"begin anew: {', '.join(fresh[:6])}{' ...' if len(fresh) > 6 else ''}")
    else:
        model = objective.fit(start, objective.labels(len(labels))).build(seed=plan.seed)
    objective.check_model(model.config)
    model.labels = labels
    if model.special == SpecialTokens():
        model.special = special_tokens(tokenizer, writes=model.encoder is not None and model.decoder is not None)
    names = ("batch_rows", "truncate", "seed")
    limit = None if model.config.max_positions is not None else max(plan.contexts)
    data = prepare(
        objective, examples, model, tokenizer, labels=labels, max_tokens=limit, **{name: said[name] for name in names}
    )
    if said["epochs"] is not None:
        plan = plan.replace(steps=data.steps(said["epochs"], plan.batch_tokens))
    return model, data, plan.replace(context=None)


def tokenizer_of(said: dict[str, Any], texts: Iterable[str], start: Start) -> Tokenizer:
    """The model's own tokenizer, one from a file, or one that is made from texts."""
    from glassformer.models.transformer import Transformer
    from glassformer.tokenizers.kinds import make_tokenizer
    from glassformer.tokenizers.tokenizer import load_tokenizer

    if isinstance(start, Transformer) and said["tokenizer"] is None:
        return load_tokenizer(said["model"])
    kind = start.partition("-")[0] if isinstance(start, str) else ""
    return make_tokenizer(said["tokenizer"] or USUAL.get(kind, "bpe:2048"), texts)


def start_of(name: str) -> Start:
    """A model folder or ``org/name`` as the model, a file as its description, a preset as its name.

    Raises:
        UnknownNameError: It is none of these.
    """
    from glassformer.checkpoints.folder import load
    from glassformer.models.transformer import TransformerConfig
    from glassformer.train.presets import IMAGE_PRESETS, preset

    place = Path(name)
    if start_is_new(name):
        return TransformerConfig.load(place)
    if place.is_dir() or len(place.parts) > 1:
        return load(name)
    if name not in IMAGE_PRESETS:
        preset(name, 1, 1)
    return name


def start_is_new(name: str) -> bool:
    """Whether a name is that of a file with a description."""
    return Path(name).is_file() or Path(name).suffix == ".json"


def reach_of(start: Start) -> int | None:
    """The longest sample that a model is made for; None where nothing is made yet, or nothing limits it."""
    from glassformer.models.transformer import Transformer

    if isinstance(start, str):
        return None
    return start.config.max_positions if isinstance(start, Transformer) else start.max_positions


def read(said: dict[str, Any], plan: TrainConfig, *, has_own: bool) -> TextData:
    """The text, and the tokenizer: the model's own, one from a file, or one that is made from the training text."""
    from glassformer.data import read_text
    from glassformer.tokenizers.kinds import make_tokenizer
    from glassformer.tokenizers.tokenizer import Tokenizer, load_tokenizer

    wanted = said["tokenizer"] or USUAL.get(said["model"].partition("-")[0], "bpe:2048")

    def make(texts: Iterable[str]) -> Tokenizer:
        return make_tokenizer(wanted, texts)

    if has_own and said["tokenizer"] is None:
        tokenizer: Any = load_tokenizer(said["model"])
    else:
        tokenizer = Tokenizer.load(wanted) if Path(wanted).exists() else make
    field = fields_of(said["field"]).get("text", "text")
    options = {name: said[name] for name in ("samples", "seed")}
    return read_text(said["data"], tokenizer, length=max(plan.contexts), field=field, **options)


def summary(run: Run) -> dict[str, Any]:
    """What a run reached, for machines."""
    best = min(run.validation, key=lambda found: found[1]["loss"], default=None)
    last = run.entries[-1] if run.entries else {}
    return {
        "run": str(run.folder),
        "steps": run.steps,
        "tokens": last.get("tokens", 0),
        "seconds": last.get("seconds", 0.0),
        "tokens_per_second": run.tokens_per_second,
        "loss": run.loss[-1] if run.loss else None,
        "validation": None if best is None else {"step": best[0], **best[1]},
        "skipped": last.get("skipped", 0),
        "is_finished": run.is_finished,
        "stopped_by": run.stopped_by,
    }


def report(run: Run) -> str:
    """What a run reached, for a person."""
    from glassformer.train.evaluate import say

    found = summary(run)
    lines = [f"{run.folder}: {found['steps']:,} steps, {found['tokens']:,} tokens"]
    if found["validation"] is not None:
        best = found["validation"]
        measured = say({name: value for name, value in best.items() if name not in ("step", "places")})
        lines.append(f"best at step {best['step']}, which is the model in {run.folder}: {measured} on held-out data")
    return "\n".join(lines)
