"""The folder of a run, and checkpoints that are there or not, never half.

    run/
      run.json                 what is trained on what, written once
      metrics.jsonl            one object a step
      config.json, model.safetensors, tokenizer.json ...    the best model so far, a Hugging Face folder
      step-00001200/           a checkpoint: the same files as of that step, and
        adapter/               where only a change of low rank is trained: that alone, as peft opens it
        training.safetensors   what the optimizer remembers
        training.json          step, place in the data, counters
        manifest.json          size and sha256 of every file, written last

A checkpoint is written into a staging folder, every file synced, the manifest last, and moved to its name; only then is
the save acknowledged. Whoever reads takes the newest one that agrees with its manifest.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors, save as tensor_bytes
from torch import Tensor

from glassformer.core.errors import CheckpointError
from glassformer.train.files import Files

FORMAT = 1
MANIFEST, TENSORS, FACTS = "manifest.json", "training.safetensors", "training.json"
RUN_FILE, METRICS, ADAPTER = "run.json", "metrics.jsonl", "adapter"
_STEP, _STAGING = "step-", ".staging-"
_OWN = {MANIFEST, TENSORS, FACTS}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that agreed with its manifest when it was opened."""

    folder: Path
    facts: Mapping[str, Any]

    @property
    def step(self) -> int:
        return step_of(self.folder)

    def tensors(self) -> dict[str, Tensor]:
        """What the optimizer remembers."""
        return load_tensors((self.folder / TENSORS).read_bytes())


def write_checkpoint(
    run: Path,
    step: int,
    save_model: Callable[[Path], object],
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    *,
    files: Files | None = None,
) -> Path:
    """Write the state after ``step`` steps; when this returns it survives a power cut.

    Args:
        run: The folder of the run.
        step: Steps that are done.
        save_model: Writes the model's files into a new folder.
        tensors: What the optimizer remembers.
        facts: Whatever else a resumed run needs, as JSON.
        files: The file operations.

    Raises:
        CheckpointError: The disk is full or fails; what was saved before is untouched.
    """
    files = files or Files()
    final, staging = run / f"{_STEP}{step:08}", run / f"{_STAGING}{step:08}"
    if _is_whole(final):  # a run that was resumed and stopped again before it took a step
        return final
    try:
        for leftover in (final, staging):
            if leftover.exists():
                files.remove_folder(leftover)
        files.call(save_model, staging)
        for file in _files_in(staging):
            files.sync(file)
        files.write(staging / TENSORS, tensor_bytes({name: tensor.contiguous() for name, tensor in tensors.items()}))
        files.write(staging / FACTS, _json({**facts, "step": step}))
        files.write(staging / MANIFEST, _json({"format": FORMAT, "step": step, "files": _digests(staging)}))
        files.sync(staging)
        files.rename(staging, final)
        files.sync(run)
    except (OSError, CheckpointError, SafetensorError) as error:
        _sweep(staging, files)
        raise disk_error(error, final) from error
    return final


def newest(run: Path, say: Say) -> Checkpoint:
    """The newest checkpoint that is whole; why newer ones were passed over is said.

    Raises:
        CheckpointError: There is none.
    """
    reasons = []
    for folder in reversed(checkpoint_folders(run)):
        try:
            return open_checkpoint(folder)
        except CheckpointError as error:
            reasons.append(str(error))
            say(f"passed over {error}")
    what = "no checkpoint is whole" if reasons else "there is no checkpoint"
    raise CheckpointError(what, at=run, got="; ".join(reasons) or None, do="train anew into another folder")


def best(run: Path, say: Say) -> Checkpoint:
    """The checkpoint with the lowest validation loss; the newest where nothing was validated."""
    whole = []
    for folder in checkpoint_folders(run):
        try:
            whole.append(open_checkpoint(folder))
        except CheckpointError as error:
            say(f"passed over {error}")
    validated = [checkpoint for checkpoint in whole if checkpoint.facts.get("validation_loss") is not None]
    if not validated:
        return newest(run, say)
    return min(validated, key=lambda checkpoint: (checkpoint.facts["validation_loss"], checkpoint.step))


def open_checkpoint(folder: Path) -> Checkpoint:
    """Check every file against the manifest.

    Raises:
        CheckpointError: A file is missing, cut short or changed; with its path.
    """
    manifest = _read_json(folder / MANIFEST)
    listed = manifest.get("files")
    if manifest.get("format") != FORMAT or not isinstance(listed, dict) or not {TENSORS, FACTS} <= set(listed):
        raise CheckpointError("not a manifest of this version", at=folder / MANIFEST, expected=f"format {FORMAT}")
    for name, entry in listed.items():
        _check_file(folder / name, entry)
    return Checkpoint(folder, _read_json(folder / FACTS))


def checkpoint_folders(run: Path) -> list[Path]:
    """Folders of checkpoints, oldest first; whole or not."""
    found = [path for path in run.glob(f"{_STEP}*") if path.name.removeprefix(_STEP).isdecimal() and path.is_dir()]
    return sorted(found, key=step_of)


def step_of(folder: Path) -> int:
    """Steps that were done when a checkpoint was written."""
    return int(folder.name.removeprefix(_STEP))


def prune(run: Path, keep: int, *, files: Files | None = None) -> None:
    """Remove old checkpoints but the newest ``keep``, the best, and nothing else; leftovers of broken saves go, too."""
    files = files or Files()
    folders = checkpoint_folders(run)
    finished = [folder for folder in folders if (folder / MANIFEST).exists()]
    kept = {*finished[-keep:], *_best_by_facts(finished)}
    try:
        for folder in [*run.glob(f"{_STAGING}*"), *(folder for folder in folders if folder not in kept)]:
            files.remove_file(folder / MANIFEST)  # so that half of a checkpoint is never taken for a whole one
            files.remove_folder(folder)
    except OSError as error:
        raise disk_error(error, run) from error


def publish(run: Path, checkpoint: Path, *, files: Files | None = None) -> None:
    """Make the run's own folder the model of a checkpoint, so that it can be opened like any model.

    The weights change last and at once; of weights in several files the index is taken away in the meantime, so that
    files of two steps are never read together.
    """
    files = files or Files()
    names = sorted(path.name for path in checkpoint.iterdir() if path.is_file() and path.name not in _OWN)
    index = [name for name in names if name.endswith(".index.json")]
    weights = [name for name in names if name.endswith(".safetensors")]
    try:
        for name in index:
            files.remove_file(run / name)
        for name in [*sorted(set(names) - {*index, *weights}), *weights, *index]:
            staging = run / f".{name}.staging"
            files.remove_file(staging)
            files.link(checkpoint / name, staging)
            files.rename(staging, run / name)
        files.sync(run)
    except OSError as error:
        raise disk_error(error, run) from error


def disk_error(error: Exception, path: Path) -> CheckpointError:
    """One line about a disk that is full or fails."""
    cause = error.__cause__ if isinstance(error, CheckpointError) and error.__cause__ else error
    reason = (cause.strerror if isinstance(cause, OSError) else None) or error
    is_full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    is_full = is_full or "No space left" in str(error)  # safetensors tells it in words only
    do = "free some space, then: glassformer train --resume RUN" if is_full else None
    return CheckpointError("could not be saved; earlier checkpoints are whole", at=path, got=reason, do=do)


def _is_whole(folder: Path) -> bool:
    try:
        open_checkpoint(folder)
    except CheckpointError:
        return False
    return True


def _sweep(staging: Path, files: Files) -> None:
    """Give the space of a failed save back, if the disk lets us; the next save tries again."""
    try:
        if staging.exists():
            files.remove_folder(staging)
    except OSError:
        return


def _best_by_facts(finished: list[Path]) -> list[Path]:
    losses = {}
    for folder in finished:
        try:
            loss = _read_json(folder / FACTS).get("validation_loss")
        except CheckpointError:
            continue  # a damaged one cannot be the best
        if isinstance(loss, float):
            losses[folder] = loss
    return [min(losses, key=lambda folder: (losses[folder], step_of(folder)))] if losses else []


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": _sha256(file)}
        for file in _files_in(folder)
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_file(file: Path, entry: Any) -> None:
    if not isinstance(entry, dict) or not {"bytes", "sha256"} <= set(entry):
        raise CheckpointError("the manifest is damaged", at=file)
    if not file.is_file():
        raise CheckpointError("a file is missing", at=file)
    if file.stat().st_size != entry["bytes"]:
        raise CheckpointError(
            "a file is cut short", at=file, got=f"{file.stat().st_size} bytes", expected=entry["bytes"]
        )
    if _sha256(file) != entry["sha256"]:
        raise CheckpointError("a file was changed", at=file, got="another sha256 than its manifest says")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError("cannot be read", at=file, got=error) from error
    if not isinstance(found, dict):
        raise CheckpointError("not a JSON object", at=file)
    return found


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
