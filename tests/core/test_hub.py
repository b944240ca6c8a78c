from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from glassformer.core.errors import CheckpointError
from glassformer.core.hub import FETCHED, local


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, in an empty folder to stand in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A network, and what was fetched from it."""
    fetched: list[dict[str, Any]] = []

    def snapshot_download(name: str, **keywords: Any) -> str:
        fetched.append({"name": name, **keywords})
        if name == "org/none":
            raise ValueError("404: no such model\nand much more")
        return str(put(Path(keywords["cache_dir"]), name, "fetched"))

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    return fetched


def put(cache: Path, name: str, revision: str, files: tuple[str, ...] = ("config.json", "model.safetensors")) -> Path:
    """A snapshot, as ``huggingface_hub`` lays it out."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / revision
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(files):
        (folder / "blobs" / f"{revision}{number}").write_text("{}")
        (snapshot / file).symlink_to(Path("..") / ".." / "blobs" / f"{revision}{number}")
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(revision)
    return snapshot


def refusal(name: str | Path, *parts: object) -> None:
    with pytest.raises(CheckpointError) as caught:
        local(name)
    line = str(caught.value)
    assert "\n" not in line and line.startswith(f"{name}: ")
    for part in parts:
        assert str(part) in line, line


def test_a_folder_is_itself(tmp_path: Path):
    assert local(tmp_path) == tmp_path and local(str(tmp_path)) == tmp_path


def test_a_folder_wins_over_a_name(cache: Path):
    put(cache, "org/model", "a1")
    Path("org/model").mkdir(parents=True)
    assert local("org/model") == Path("org/model")


def test_the_newest_snapshot_of_the_cache(cache: Path):
    put(cache, "org/model", "a1")
    newer = put(cache, "org/model", "b2")
    assert local("org/model") == newer


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"HF_HUB_CACHE": "{home}/one"}, "one"),
        ({"HUGGINGFACE_HUB_CACHE": "{home}/two"}, "two"),
        ({"HF_HOME": "{home}/three"}, "three/hub"),
        ({"XDG_CACHE_HOME": "{home}/four"}, "four/huggingface/hub"),
        ({"HOME": "{home}"}, ".cache/huggingface/hub"),
        ({"HF_HUB_CACHE": "$HOME/five", "HOME": "{home}"}, "five"),
    ],
)
def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: str):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=tmp_path))
    snapshot = put(tmp_path / place, "org/model", "a1")
    assert local("org/model") == snapshot


def test_a_name_that_is_not_in_the_cache(cache: Path):
    refusal(
        "org/model",
        "not in the local cache of the hub",
        f"got {cache}",
        "unset HF_HUB_OFFLINE to fetch it, or name a folder",
    )


def test_a_reference_cannot_point_elsewhere(cache: Path, tmp_path: Path):
    put(cache, "org/model", "a1")
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "config.json").write_text("{}")
    (cache / "models--org--model" / "refs" / "main").write_text(str(tmp_path / "evil"))
    refusal("org/model", "not in the local cache of the hub")


@pytest.mark.parametrize(
    "name", ["model", "a/b/c", "../x/y", "/org/model", "org/.hidden", "-x/y", "org/a..b", "~/model", ""]
)
def test_what_is_no_name_is_a_folder_that_is_not_there(name: str, online: list[dict[str, Any]]):
    if name:
        refusal(name, "no such folder", "expected a model folder with config.json")
    assert online == []


def test_a_path_below_a_folder_is_no_name(online: list[dict[str, Any]]):
    Path("runs").mkdir()
    refusal("runs/first", "no such folder")
    assert online == []


def test_a_file_is_not_a_folder():
    Path("file").write_text("")
    refusal("file", "not a folder", "expected a model folder with config.json")


def test_what_an_interrupted_replacement_left_is_pointed_at(tmp_path: Path):
    kept = tmp_path / ".model.replaced-1-ab"
    kept.mkdir()
    refusal(tmp_path / "model", "no such folder", f"its replacement was interrupted: rename {kept} back")


def test_a_name_is_fetched_without_code_and_pickles(
    cache: Path, online: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
):
    assert local("org/model") == cache / "models--org--model" / "snapshots" / "fetched"
    assert local("org/model") and len(online) == 1, "the second time it is in the cache"
    assert online[0] == {"name": "org/model", "cache_dir": str(cache), "allow_patterns": list(FETCHED)}
    assert not any("py" in pattern or "bin" in pattern or pattern == "*" for pattern in FETCHED)
    said = capsys.readouterr()
    assert said.out == "" and said.err == "fetching org/model from the Hugging Face hub\n"


def test_a_snapshot_without_weights_is_completed_where_there_is_a_network(cache: Path, monkeypatch: pytest.MonkeyPatch):
    bare = put(cache, "org/model", "a1", files=("config.json",))
    assert local("org/model") == bare
    monkeypatch.delenv("HF_HUB_OFFLINE")
    fetch = SimpleNamespace(snapshot_download=lambda name, **keywords: "elsewhere")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fetch)
    assert local("org/model") == Path("elsewhere")


def test_what_the_hub_refuses_is_one_line(online: list[dict[str, Any]]):
    refusal(
        "org/none",
        "the hub does not give it",
        "got 404: no such model ·",
        "check the name and the network, or name a folder",
    )


def test_a_machine_without_the_library(online: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refusal("org/model", "the hub does not give it", "huggingface_hub")
