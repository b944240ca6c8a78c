from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from glassformer.core.errors import CheckpointError
from glassformer.core.files import readable, staged_folder
from tests.core.faults import every_fault, fault_at, full_disk, interrupted, killed


def write(final: Path, text: str, *, overwrite: bool = False) -> None:
    with staged_folder(final, overwrite=overwrite) as staging:
        with (staging / "first").open("w") as file:
            file.write(text)
        (staging / "inner").mkdir()
        with (staging / "inner" / "second").open("w") as file:
            file.write(text * 2)


def state(final: Path) -> str | None:
    """What a whole folder holds; None where there is none."""
    if not final.exists():
        return None
    text = (final / "first").read_text()
    assert (final / "inner" / "second").read_text() == text * 2
    return text


def leftovers(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir() if path.name.startswith(".")]


def test_a_folder_appears_whole(tmp_path: Path):
    write(tmp_path / "deep" / "out", "new")
    assert state(tmp_path / "deep" / "out") == "new" and leftovers(tmp_path / "deep") == []


def test_a_folder_is_not_there_until_it_is_whole(tmp_path: Path):
    with staged_folder(tmp_path / "out") as staging:
        assert staging.parent == tmp_path and not (tmp_path / "out").exists()


def test_an_existing_folder_or_file_is_refused(tmp_path: Path):
    write(tmp_path / "out", "old")
    (tmp_path / "file").write_text("mine")
    for name in ("out", "file"):
        with pytest.raises(CheckpointError) as caught:
            write(tmp_path / name, "new")
        assert (
            str(caught.value) == f"{tmp_path / name}: the output folder exists · choose another name, or say overwrite"
        )
    assert state(tmp_path / "out") == "old" and (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_is_taken(tmp_path: Path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "new")
    assert state(tmp_path / "out") == "new" and leftovers(tmp_path) == []


def test_a_folder_is_replaced_where_that_is_asked_for(tmp_path: Path):
    write(tmp_path / "out", "old")
    (tmp_path / "out" / "more").write_text("")
    write(tmp_path / "out", "new", overwrite=True)
    assert state(tmp_path / "out") == "new" and not (tmp_path / "out" / "more").exists() and leftovers(tmp_path) == []


def test_a_file_is_replaced_by_a_folder_where_that_is_asked_for(tmp_path: Path):
    (tmp_path / "out").write_text("old")
    write(tmp_path / "out", "new", overwrite=True)
    assert state(tmp_path / "out") == "new" and leftovers(tmp_path) == []


def test_a_link_stays_a_link(tmp_path: Path):
    write(tmp_path / "run-3", "old")
    (tmp_path / "latest").symlink_to("run-3")
    write(tmp_path / "latest", "new", overwrite=True)
    assert (tmp_path / "latest").is_symlink() and state(tmp_path / "run-3") == "new" and leftovers(tmp_path) == []


def test_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path("."), "new")
    assert state(tmp_path / "here") == "new"
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(CheckpointError, match=r"^\.: the output folder exists"):
        write(Path("."), "newer")


def test_files_are_as_open_as_others_are(tmp_path: Path):
    write(tmp_path / "out", "new")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_text("")
    for mine, other in (("out", "plain"), ("out/first", "plain/file")):
        assert stat.S_IMODE((tmp_path / mine).stat().st_mode) == stat.S_IMODE((tmp_path / other).stat().st_mode)


def test_a_parent_that_is_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"file/out: cannot be written · got (Not a directory|File exists)"):
        write(tmp_path / "file" / "out", "new")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("name", "got"), [("x" * 5000, "File name too long"), ("/", "the root of all folders")])
def test_a_name_that_cannot_be(name: str, got: str, overwrite: bool):
    with pytest.raises(CheckpointError, match=f"cannot be written · got {got}"):
        write(Path(name), "new", overwrite=overwrite)


def test_a_writer_that_was_quicker_keeps_its_folder(tmp_path: Path):
    with pytest.raises(CheckpointError, match="the output folder exists"), staged_folder(tmp_path / "out") as staging:
        (staging / "first").write_text("slow")
        write(tmp_path / "out", "quick")
    assert state(tmp_path / "out") == "quick" and leftovers(tmp_path) == []


def test_an_error_of_the_block_is_the_error(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), staged_folder(tmp_path / "out"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("old", [None, "old"])
def test_a_full_disk_at_any_operation_leaves_what_was_there(tmp_path: Path, old: str | None):
    if old is not None:
        write(tmp_path / "out", old)
    count = 0
    for error in every_fault(lambda: write(tmp_path / "out", "new", overwrite=True), full_disk, CheckpointError):
        assert "out: cannot be written · got No space left on device · free some space" in str(error)
        assert state(tmp_path / "out") == old and leftovers(tmp_path) == []
        count += 1
    assert state(tmp_path / "out") == "new" and count > 10


@pytest.mark.parametrize("old", [None, "old"])
def test_an_interruption_at_any_operation_leaves_what_was_there(tmp_path: Path, old: str | None):
    if old is not None:
        write(tmp_path / "out", old)
    for _ in every_fault(lambda: write(tmp_path / "out", "new", overwrite=True), interrupted, KeyboardInterrupt):
        assert state(tmp_path / "out") == old and leftovers(tmp_path) == []
    assert state(tmp_path / "out") == "new"


def test_a_kill_at_any_operation_leaves_the_old_or_the_new(tmp_path: Path):
    """Between two renames the old one stands aside, under a name that ``core.hub`` tells of; staged files may stay."""
    seen, aside, nth = [], 0, 0
    while not seen or seen[-1] != "new":
        run = tmp_path / str(nth)
        run.mkdir()
        write(run / "out", "old")
        child = os.fork()
        if child == 0:
            with fault_at(nth, killed):
                write(run / "out", "new", overwrite=True)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        found = state(run / "out")
        if found is None:
            (kept,) = run.glob(".out.replaced-*")
            found, aside = state(kept), aside + 1
        seen.append(found)
        assert found == "old" or nth > 5
        assert (os.waitstatus_to_exitcode(status) == 0) <= (found == "new")
        nth += 1
    assert seen.count("old") > 10 and aside == 1


def test_every_file_and_folder_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def fsync(handle: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        real_sync(handle)

    def rename(path: Path, target: Path) -> Path:
        order.append("rename")
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync), monkeypatch.setattr(Path, "rename", rename)
    write(tmp_path / "out", "new")
    place = order.index("rename")
    assert set(order[:place]) >= {"first", "second", "inner"} and order[place - 1].startswith(".out.staging")
    assert order[place + 1 :] == [tmp_path.name]


def test_a_file_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(CheckpointError) as caught, readable(tmp_path):
        (tmp_path / "nothing").read_text()
    assert str(caught.value) == f"{tmp_path / 'nothing'}: cannot be read · got No such file or directory"
