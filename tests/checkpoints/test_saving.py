"""What is written: whole or not at all, in the words of a family that can say it, and nothing else is lost."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glassformer.checkpoints.folder import load, save
from glassformer.core.errors import CheckpointError
from glassformer.models.transformer import SpecialTokens, TransformerConfig
from tests.builders import gpt_like, lively, llama_like, random_tokens
from tests.checkpoints.tiny import CONFIG, INDEX, WEIGHTS, cannot_save, same, words, written
from tests.core.faults import every_fault, full_disk

# The folder


def test_the_files_of_a_folder(tmp_path: Path):
    model = lively(gpt_like())
    model.special = SpecialTokens(1, (2,), 3)
    assert save(model, tmp_path / "m") == "gpt2"
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [CONFIG, "generation_config.json", WEIGHTS]
    assert words(tmp_path / "m")["architectures"] == ["GPT2LMHeadModel"]


def test_an_existing_folder_is_refused_before_anything_is_computed(tmp_path: Path):
    folder = written(tmp_path / "m")
    before = (folder / WEIGHTS).read_bytes()
    cannot_save(lambda: save(lively(gpt_like(), seed=1), folder), folder, "the output folder exists", "say overwrite")
    assert (folder / WEIGHTS).read_bytes() == before


def test_a_model_folder_is_overwritten_and_its_other_files_stay(tmp_path: Path):
    folder = written(tmp_path / "m", max_shard_bytes=20_000)
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    (folder / "adapter.safetensors").write_text("mine", "utf-8")
    (folder / "notes").mkdir()
    (folder / "notes" / "a.md").write_text("a", "utf-8")
    (folder / "link").symlink_to("tokenizer.json")
    new = lively(gpt_like(), seed=1)
    save(new, folder, overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter.safetensors", CONFIG, "link", WEIGHTS, "notes", "tokenizer.json",
    ]  # fmt: skip
    assert (folder / "notes" / "a.md").read_text("utf-8") == "a" and (folder / "link").is_symlink()
    assert torch.equal(load(folder).embedding.tokens.weight, new.embedding.tokens.weight)


def test_files_are_copied_where_the_system_has_no_second_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = written(tmp_path / "m")
    (folder / "tokenizer.json").write_text("{}", "utf-8")

    def refuse(*arguments: object, **keywords: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", refuse)
    save(lively(gpt_like()), folder, overwrite=True)
    assert (folder / "tokenizer.json").read_text("utf-8") == "{}"


def test_a_folder_of_other_things_is_not_overwritten(tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years", "utf-8")
    cannot_save(
        lambda: save(lively(gpt_like()), tmp_path / "home", overwrite=True),
        "not a model folder, and so not overwritten",
    )
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("make", [gpt_like, llama_like])
def test_a_model_is_saved_over_the_files_that_its_weights_are_mapped_from(
    tmp_path: Path, make: Callable[[], TransformerConfig]
):
    folder = written(tmp_path / "m", make())
    model, tokens = load(folder), random_tokens(1, 5)
    with torch.no_grad():
        model.embedding.tokens.weight.mul_(2)
    before = model(tokens)
    for _ in range(2):
        save(model, folder, overwrite=True)
        assert torch.equal(model(tokens), before) and torch.equal(load(folder)(tokens), before)


def test_a_tokenizer_is_written_too(tmp_path: Path):
    class Words:
        def save(self, folder: Path) -> None:
            (folder / "tokenizer.json").write_text("new", "utf-8")

    folder = written(tmp_path / "m")
    (folder / "tokenizer.json").write_text("old", "utf-8")
    save(lively(gpt_like()), folder, tokenizer=Words(), overwrite=True)
    assert (folder / "tokenizer.json").read_text("utf-8") == "new"


def test_the_method_of_a_model(tmp_path: Path):
    model = lively(gpt_like())
    model.save(tmp_path / "m", max_shard_bytes=10_000)
    assert (tmp_path / "m" / INDEX).is_file()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_that_no_system_takes(overwrite: bool):
    cannot_save(lambda: save(lively(gpt_like()), "x" * 5000, overwrite=overwrite), "got File name too long")


def test_a_model_without_weights(tmp_path: Path):
    model = gpt_like().build(seed=None, device="meta")
    cannot_save(lambda: save(model, tmp_path / "m"), "a model without weights cannot be saved", "build it with a seed")
    assert list(tmp_path.iterdir()) == []


def test_weights_of_a_type_that_files_do_not_have(tmp_path: Path):
    model = lively(gpt_like())
    model.decoder.blocks[1].attention.q_proj.weight = torch.nn.Parameter(torch.zeros(32, 32, dtype=torch.complex64))
    cannot_save(
        lambda: save(model, tmp_path / "m"), "cannot be written", "got torch.complex64", "expected F64, F32, F16, BF16"
    )
    assert list(tmp_path.iterdir()) == []


def test_shards_are_as_large_as_they_may_be_and_the_index_names_all(tmp_path: Path):
    folder = written(tmp_path / "m", max_shard_bytes=20_000)
    index = json.loads((folder / INDEX).read_text("utf-8"))
    held = {file.name: load_file(file) for file in folder.glob("model-*.safetensors")}
    assert {name: file for file, tensors in held.items() for name in tensors} == index["weight_map"]
    assert (
        sum(tensor.nbytes for tensors in held.values() for tensor in tensors.values())
        == index["metadata"]["total_size"]
    )
    assert all(len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= 20_000 for tensors in held.values())
    assert sorted(held) == [f"model-{i:05}-of-{len(held):05}.safetensors" for i in range(1, len(held) + 1)]


# The disk


@pytest.mark.parametrize("shard", [1 << 30, 30_000])
def test_a_full_disk_at_any_operation_leaves_the_old_folder(tmp_path: Path, shard: int):
    folder, reference = written(tmp_path / "m"), written(tmp_path / "reference")
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    model = lively(gpt_like(), seed=1)
    count = 0
    for error in every_fault(
        lambda: save(model, folder, overwrite=True, max_shard_bytes=shard), full_disk, CheckpointError
    ):
        assert str(error).startswith(f"{folder}: cannot be written · got No space left on device · free some space")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "reference"]
        count += 1
        if count % 10 == 1:
            assert same(folder, reference) and (folder / "tokenizer.json").exists()
    assert count > 40 and not same(folder, reference) and (folder / "tokenizer.json").exists()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The system itself refuses to make a file larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 10, 700, 4_000, 70_000])
def test_a_system_that_stops_in_the_middle_of_a_file(tmp_path: Path, size: int):
    folder, reference = written(tmp_path / "m"), written(tmp_path / "reference")
    with file_size_limit(size), pytest.raises(CheckpointError) as caught:
        save(lively(gpt_like(), seed=1), folder, overwrite=True)
    assert str(caught.value) == f"{folder}: cannot be written · got File too large"
    assert same(folder, reference) and sorted(path.name for path in tmp_path.iterdir()) == ["m", "reference"]
