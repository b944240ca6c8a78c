from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glassformer.core.errors import CheckpointError
from glassformer.train.files import Files
from glassformer.train.folder import (
    best,
    checkpoint_folders,
    newest,
    open_checkpoint,
    prune,
    publish,
    write_checkpoint,
)
from glassformer.train.lock import locked


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {"weight/exp_avg": torch.arange(6.0).reshape(2, 3) + step, "weight/step": torch.tensor(float(step))}


def saver(step: int, files: Files):
    """A model that writes three files."""

    def save(folder: Path) -> None:
        files.make_folder(folder)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            files.call(lambda f, name=name: (f / name).write_text(f"{name} of step {step}" * 20), folder)

    return save


def write(run: Path, step: int, files: Files | None = None, **facts) -> Path:
    files = files or Files()
    return write_checkpoint(run, step, saver(step, files), tensors(step), {"cursor": [step * 10], **facts}, files=files)


def check(run: Path, at_least: int, at_most: int) -> int:
    """The newest whole checkpoint is one of these steps, and holds exactly what was written at that step."""
    found = newest(run, lambda text: None)
    assert at_least <= found.step <= at_most
    assert found.facts == {"cursor": [found.step * 10], "step": found.step}
    loaded = found.tensors()
    assert loaded.keys() == tensors(0).keys()
    assert all(torch.equal(loaded[name], value) for name, value in tensors(found.step).items())
    assert (found.folder / "model.safetensors").read_text() == f"model.safetensors of step {found.step}" * 20
    return found.step


def is_whole(folder: Path) -> bool:
    try:
        return bool(open_checkpoint(folder).facts)
    except CheckpointError:
        return False


class KilledError(BaseException):
    """The process is gone: nothing runs after it."""


class FaultyFiles(Files):
    """Makes one operation fail in one way, and knows what a power cut would take."""

    def __init__(self, fault: str, at: int) -> None:
        self.fault, self.at = fault, at
        self.count = 0
        self.is_dead = False
        self.unsynced_content: set[Path] = set()
        self.unsynced_names: list[tuple[Path, Path, Path | None]] = []  # folder, name now, name before

    def fails(self) -> bool:
        self.count += 1
        if self.is_dead:
            raise KilledError
        return self.count == self.at or ("sticky" in self.fault and self.count > self.at)

    def strike(self) -> None:
        if "kill" in self.fault:
            self.is_dead = True
            raise KilledError
        number = errno.EIO if "EIO" in self.fault else errno.ENOSPC
        raise OSError(number, os.strerror(number), "somewhere")

    def before(self) -> None:
        if self.fails():
            self.strike()

    def make_folder(self, folder):
        self.before()
        super().make_folder(folder)

    def write(self, file, content):
        if self.fails():
            if "torn" in self.fault:
                file.write_bytes(content[: len(content) // 2])
                self.unsynced_content.add(file)
            self.strike()
        super().write(file, content)
        self.unsynced_names.append((file.parent, file, None))

    def call(self, save, folder):
        fails = self.fails()
        if fails and "torn" not in self.fault:
            self.strike()
        known = set(folder.iterdir()) if folder.exists() else set()
        super().call(save, folder)
        new = [path for path in folder.iterdir() if path.is_file() and path not in known]
        self.unsynced_content |= set(new)
        self.unsynced_names += [(path.parent, path, None) for path in new]
        if fails:
            for path in new:
                os.truncate(path, path.stat().st_size // 2)
            self.strike()

    def sync(self, path):
        self.before()
        super().sync(path)
        self.unsynced_content.discard(path)
        self.unsynced_names = [entry for entry in self.unsynced_names if entry[0] != path]

    def rename(self, old, new):
        self.before()
        was_there = new.exists()
        super().rename(old, new)

        def moved(path):
            return new / path.relative_to(old) if path is not None and path.is_relative_to(old) else path

        self.unsynced_content = {moved(path) for path in self.unsynced_content}
        self.unsynced_names = [tuple(map(moved, entry)) for entry in self.unsynced_names]
        if not was_there:  # a replaced file cannot be told apart from one that a power cut brought back
            self.unsynced_names.append((new.parent, new, old))

    def link(self, old, new):
        self.before()
        super().link(old, new)

    def remove_file(self, file):
        self.before()
        super().remove_file(file)

    def remove_folder(self, folder):
        if self.fails():
            if "torn" in self.fault:
                for path in sorted(folder.iterdir())[::2]:
                    path.unlink()
            self.strike()
        super().remove_folder(folder)

    def cut_power(self, what: str) -> None:
        """Take away what was never synced."""
        if what == "content":
            for path in self.unsynced_content:
                if path.exists():
                    os.truncate(path, 0)
        for _, now, before in reversed(self.unsynced_names if what == "names" else []):
            if before is not None and now.exists() and not before.exists():
                os.rename(now, before)
            elif before is None and now.is_file():
                now.unlink()


FAULTS = ["ENOSPC", "ENOSPC sticky", "EIO", "EIO torn", "ENOSPC torn sticky", "kill", "kill torn"]
POWER_CUTS = [(fault, cut) for fault in ("kill", "kill torn", "ENOSPC sticky") for cut in ("content", "names")]


def save_publish_prune(run: Path, files: Files) -> int:
    """What a run does at each save; the step that was acknowledged."""
    write(run, 3, files)
    try:
        publish(run, run / "step-00000003", files=files)
        prune(run, 2, files=files)
    except (CheckpointError, KilledError):
        return 3
    return 4  # everything was done


@pytest.mark.parametrize(("fault", "power_cut"), [*((fault, "nothing") for fault in FAULTS), *POWER_CUTS])
def test_a_fault_at_any_operation_loses_no_acknowledged_checkpoint(tmp_path, fault, power_cut):
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    write(prepared, 1)
    write(prepared, 2)
    publish(prepared, prepared / "step-00000002")
    trials, at = 0, 0
    while True:
        at += 1
        run = tmp_path / f"run-{at}"
        shutil.copytree(prepared, run)
        files = FaultyFiles(fault, at)
        acknowledged = 2
        try:
            acknowledged = save_publish_prune(run, files)
        except CheckpointError as error:
            assert "earlier checkpoints are whole" in str(error)
            assert ("free some space" in str(error)) == ("ENOSPC" in fault)
        except KilledError:
            assert "kill" in fault
        if files.count < at:
            break
        trials += 1
        files.cut_power(power_cut)
        check(run, min(acknowledged, 3), 3)
        write(run, 9)
        publish(run, run / "step-00000009")
        prune(run, 2)
        assert check(run, 9, 9) == 9
        assert not list(run.glob(".staging-*"))
        assert len([folder for folder in checkpoint_folders(run) if is_whole(folder)]) >= 2
        assert (run / "model.safetensors").read_text() == "model.safetensors of step 9" * 20
        shutil.rmtree(run)
    assert trials > 20


def careless_write(run: Path, step: int, files: Files) -> None:
    folder = run / f"step-{step:08}"
    files.make_folder(folder)
    files.write(folder / "manifest.json", json.dumps({"format": 1, "files": {}}).encode())
    files.call(lambda f: (f / "model.safetensors").write_text("x"), folder)


def test_the_harness_itself_sees_a_careless_writer(tmp_path):
    (tmp_path / "run").mkdir()
    write(tmp_path / "run", 1)
    files = FaultyFiles("kill", 3)
    with pytest.raises(KilledError):
        careless_write(tmp_path / "run", 2, files)
    seen = []
    assert newest(tmp_path / "run", seen.append).step == 1
    assert "not a manifest of this version" in seen[0]


# -- reading ----------------------------------------------------------------------------------------------------------


def test_every_damaged_byte_is_noticed(tmp_path):
    """Flipped, cut and lengthened in every file: never computed with, and the checkpoint before is taken."""
    write(tmp_path, 1)
    folder = write(tmp_path, 2)
    whole = {file: file.read_bytes() for file in folder.iterdir()}
    generator = random.Random(0)
    cases = 0
    for file, content in whole.items():
        places = {0, len(content) - 1, *generator.sample(range(len(content)), min(40, len(content)))}
        damaged = [
            content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :] for place in places
        ]
        for bad in [*damaged, content[: len(content) // 2], b"", content + b"\0"]:
            file.write_bytes(bad)
            cases += 1
            found = newest(tmp_path, lambda text: None)
            if found.step == 2:  # only white space and key names of the manifest may change without any harm
                assert file.name == "manifest.json"
                assert found.facts == {"cursor": [20], "step": 2}
        file.write_bytes(content)
    assert cases > 150
    assert newest(tmp_path, lambda text: None).step == 2


def test_why_a_checkpoint_was_passed_over_is_said(tmp_path):
    for step in (1, 2, 3):
        write(tmp_path, step)
    (tmp_path / "step-00000003/model.safetensors").write_text("cut")
    (tmp_path / "step-00000002/tokenizer.json").unlink()
    said = []
    assert newest(tmp_path, said.append).step == 1
    assert "step-00000003/model.safetensors: a file is cut short" in said[0]
    assert "step-00000002/tokenizer.json: a file is missing" in said[1]
    (tmp_path / "step-00000001/manifest.json").write_text('{"format": 1, "files": []}')
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole.*cut short.*missing.*not a manifest"):
        newest(tmp_path, said.append)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        newest(tmp_path / "elsewhere", said.append)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b'{"format": 2, "files": {}}', "not a manifest of this version"),
        (b'{"format": 1, "files": {"training.json": 1, "training.safetensors": 2}}', "the manifest is damaged"),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path, manifest, message):
    folder = write(tmp_path, 1)
    (folder / "manifest.json").write_bytes(manifest)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)


# -- keeping ----------------------------------------------------------------------------------------------------------


def steps(run: Path) -> list[int]:
    return [int(folder.name[5:]) for folder in checkpoint_folders(run)]


def test_the_newest_and_the_best_are_kept(tmp_path):
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 2.5), (5, 2.6)):
        write(tmp_path, step, validation_loss=loss)
    (tmp_path / "step-00000009.txt").touch()
    (tmp_path / "step-other").mkdir()
    prune(tmp_path, 2)
    assert steps(tmp_path) == [2, 4, 5]
    assert best(tmp_path, lambda text: None).step == 2
    (tmp_path / "step-00000002/config.json").write_text("")
    said = []
    assert best(tmp_path, said.append).step == 4
    assert "passed over" in said[0]
    (tmp_path / "step-00000004/training.json").write_text("[")
    prune(tmp_path, 1)
    assert steps(tmp_path) == [2, 5]


def test_without_validation_the_best_is_the_newest(tmp_path):
    write(tmp_path, 1)
    write(tmp_path, 2)
    assert best(tmp_path, lambda text: None).step == 2


def test_a_step_that_is_saved_already_is_not_written_again(tmp_path):
    folder = write(tmp_path, 1)
    before = (folder / "config.json").stat().st_mtime_ns
    write(tmp_path, 1)
    assert (folder / "config.json").stat().st_mtime_ns == before
    (folder / "config.json").write_text("damaged")
    write(tmp_path, 1)
    check(tmp_path, 1, 1)


def test_the_published_model_is_that_of_the_checkpoint_and_sharded_weights_never_mix(tmp_path):
    def save(step):
        def write_shards(folder):
            folder.mkdir()
            for name in ("model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"):
                (folder / name).write_text(f"{name} {step}")

        return write_shards

    write_checkpoint(tmp_path, 1, save(1), {}, {})
    write_checkpoint(tmp_path, 2, save(2), {}, {})
    publish(tmp_path, tmp_path / "step-00000001")
    assert (tmp_path / "model-2.safetensors").read_text() == "model-2.safetensors 1"
    assert not (tmp_path / "training.json").exists()
    for at in range(1, 20):
        files = FaultyFiles("kill", at)
        try:
            publish(tmp_path, tmp_path / "step-00000002", files=files)
        except KilledError:
            shards = {(tmp_path / f"model-{n}.safetensors").read_text()[-1] for n in (1, 2)}
            assert len(shards) == 1 or not (tmp_path / "model.safetensors.index.json").exists()
            publish(tmp_path, tmp_path / "step-00000001")
        else:
            break
    assert at > 8
    assert (tmp_path / "model-2.safetensors").read_text() == "model-2.safetensors 2"


def test_without_hard_links_files_are_copied(tmp_path, monkeypatch):
    def refuse(*names):
        raise OSError(errno.EPERM, "Operation not permitted")

    write(tmp_path, 1)
    monkeypatch.setattr(os, "link", refuse)
    publish(tmp_path, tmp_path / "step-00000001")
    assert (tmp_path / "config.json").read_text() == "config.json of step 1" * 20


# -- one process a folder ---------------------------------------------------------------------------------------------


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    code = (
        "import sys, pathlib; from glassformer.train.lock import locked\nwith locked(pathlib.Path(sys.argv[1])): pass"
    )
    with locked(tmp_path):
        other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
        assert f"another process trains in this folder · got process {os.getpid()}" in other.stderr
        with pytest.raises(CheckpointError, match="another process trains"), locked(tmp_path):
            raise AssertionError("the folder is held")
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
