"""Wrong weights: missing, misshapen, cut, holed, lied about, mixed up; each is refused with one line."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

from glassformer.checkpoints import tensors
from glassformer.checkpoints.folder import load
from glassformer.core.errors import CheckpointError
from tests.checkpoints.tiny import (
    CONFIG,
    INDEX,
    WEIGHTS,
    refusal,
    with_header,
    with_keys,
    with_tensors,
    written,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "model")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return written(tmp_path / "sharded", max_shard_bytes=40_000)


# Tensors


def test_a_tensor_is_missing(folder: Path):
    line = refusal(
        with_tensors(folder, lambda held: held.pop("transformer.h.1.ln_2.bias")), folder,
        "tensors are missing", "got transformer.h.1.ln_2.bias", "the files have",
    )  # fmt: skip
    assert "h.1.ln_1.bias" in line


def test_a_tensor_is_one_too_many(folder: Path):
    with_tensors(folder, lambda held: held.update({"transformer.h.1.ln_3.bias": torch.zeros(32)}))
    refusal(folder, folder, "tensors that this family does not know", "got transformer.h.1.ln_3.bias")


def test_a_tensor_is_misshapen(folder: Path):
    with_tensors(folder, lambda held: held.update({"transformer.ln_f.bias": torch.zeros(33)}))
    refusal(folder, f"{folder / WEIGHTS}: transformer.ln_f.bias", "wrong shape", "got (33,)", "expected (32,)")


def test_a_matrix_is_stored_the_other_way_round(folder: Path):
    name = "transformer.h.0.mlp.c_fc.weight"
    with_tensors(folder, lambda held: held.update({name: held[name].T.contiguous()}))
    refusal(folder, name, "wrong shape", "got (48, 32)", "expected (32, 48)")


@pytest.mark.parametrize(("kind", "said"), [(torch.int64, "I64"), (torch.int8, "I8"), (torch.bool, "BOOL")])
def test_a_tensor_of_whole_numbers(folder: Path, kind: torch.dtype, said: str):
    with_tensors(folder, lambda held: held.update({"transformer.ln_f.bias": torch.zeros(32).to(kind)}))
    refusal(folder, "transformer.ln_f.bias", "wrong dtype", f"got {said}", "expected F64, F32, F16, BF16")


def test_a_tensor_with_and_without_its_prefix(folder: Path):
    with_tensors(folder, lambda held: held.update({"ln_f.bias": torch.zeros(32)}))
    refusal(folder, "a tensor stands twice", "ln_f.bias", "transformer.ln_f.bias")


def test_a_stored_copy_of_another_type_or_shape(folder: Path):
    with_tensors(folder, lambda held: held.update({"lm_head.weight": torch.zeros(60, 32)}))
    refusal(folder, "lm_head.weight", "wrong shape", "got (60, 32)", "expected (61, 32)")
    with_tensors(folder, lambda held: held.update({"lm_head.weight": torch.zeros(61, 32, dtype=torch.int32)}))
    refusal(folder, "lm_head.weight", "wrong dtype", "got I32")


def test_a_head_that_is_said_to_be_untied_and_is_not_there(folder: Path):
    refusal(with_keys(folder, tie_word_embeddings=False), folder, "tensors are missing", "got lm_head.weight")


# safetensors: the bytes


def test_a_file_cut_at_many_places(folder: Path):
    raw = (folder / WEIGHTS).read_bytes()
    length = 8 + struct.unpack("<Q", raw[:8])[0]
    for cut in [*range(0, 40), *range(40, length + 40, 97), length, *range(length, len(raw), 9_973), len(raw) - 1]:
        (folder / WEIGHTS).write_bytes(raw[:cut])
        refusal(folder, folder / WEIGHTS)


@pytest.mark.parametrize("more", [b"\0", b"PK\x03\x04 an archive behind the weights"])
def test_bytes_behind_the_last_tensor(folder: Path, more: bytes):
    with (folder / WEIGHTS).open("ab") as file:
        file.write(more)
    refusal(folder, folder / WEIGHTS, "truncated or overlong")


def test_a_hole_before_each_tensor(folder: Path):
    raw = (folder / WEIGHTS).read_bytes()
    length = 8 + struct.unpack("<Q", raw[:8])[0]
    entries = json.loads(raw[8:length])
    del entries["__metadata__"]
    for name, entry in entries.items():
        place = entry["data_offsets"][0]
        moved = {
            one: {
                **value,
                "data_offsets": [at + 4 * (value["data_offsets"][0] >= place) for at in value["data_offsets"]],
            }
            for one, value in entries.items()
        }
        text = json.dumps(moved).encode()
        (folder / WEIGHTS).write_bytes(
            struct.pack("<Q", len(text)) + text + raw[length : length + place] + b"hole" + raw[length + place :]
        )
        refusal(folder, folder / WEIGHTS, "a hole or an overlap", f"at {name}")


def entry_of(header: dict[str, Any]) -> dict[str, Any]:
    return header["transformer.ln_f.bias"]


@pytest.mark.parametrize(
    "change",
    [
        lambda header: entry_of(header).update(shape=[0, 2**63]),
        lambda header: entry_of(header).update(shape=[-32]),
        lambda header: entry_of(header).update(shape=[32.0]),
        lambda header: entry_of(header).update(shape=["32"]),
        lambda header: entry_of(header).update(shape=[True] * 5),
        lambda header: entry_of(header).update(shape=[1] * 5_000),
        lambda header: entry_of(header).update(shape=7),
        lambda header: entry_of(header).update(shape=None),
        lambda header: entry_of(header).pop("shape"),
        lambda header: entry_of(header).update(dtype=["F32"]),
        lambda header: entry_of(header).update(dtype="F64"),
        lambda header: entry_of(header).pop("dtype"),
        lambda header: entry_of(header).update(data_offsets=[0]),
        lambda header: entry_of(header).update(data_offsets=[0, 1, 2]),
        lambda header: entry_of(header).update(data_offsets=[128, 0]),
        lambda header: entry_of(header).update(data_offsets=[0.0, 128.0]),
        lambda header: entry_of(header).update(data_offsets=[0, 128]),  # where another one is
        lambda header: entry_of(header).update(data_offsets=[2**70, 2**70 + 128]),
        lambda header: header.update({"transformer.ln_f.bias": 7}),
        lambda header: list(header),
        lambda header: 7,
    ],
)
def test_a_header_that_lies(folder: Path, change: Callable[[dict[str, Any]], object]):
    refusal(with_header(folder, change), folder / WEIGHTS)


def test_a_header_in_which_a_key_stands_twice(folder: Path):
    raw = (folder / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    text = raw[8 : 8 + length].replace(b'{"__metadata__":{"format":"pt"}', b'{"__metadata__":{},"__metadata__":{}')
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    refusal(folder, folder / WEIGHTS, "a broken safetensors header")


@pytest.mark.parametrize("text", [b"[" * 50_000, b"\xff" * 100, b"{}x", b"  "])
def test_a_header_that_is_not_json(folder: Path, text: bytes):
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text)
    refusal(folder, folder / WEIGHTS, "a broken safetensors header")


@pytest.mark.parametrize("length", [0, 1, 2**24 + 1, 2**63, 2**64 - 1])
def test_a_header_of_a_length_that_cannot_be(folder: Path, length: int):
    raw = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", length) + raw[8:])
    refusal(folder, folder / WEIGHTS, "not a safetensors file, or a truncated one")


def test_a_header_of_too_many_tensors(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tensors, "MAX_TENSORS", 20)
    refusal(folder, folder / WEIGHTS, "too many tensors", "got 28", "at most 20")


@given(data=st.data())
@settings(max_examples=150)
def test_a_flipped_bit_in_the_header_is_refused_or_changes_nothing(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
):
    folder = _shared_folder(tmp_path_factory)
    raw = bytearray((folder / WEIGHTS).read_bytes())
    end = 8 + struct.unpack("<Q", raw[:8])[0]
    place, bit = data.draw(st.integers(0, end - 1)), data.draw(st.integers(0, 7))
    raw[place] ^= 1 << bit
    flipped = folder / "flipped"
    flipped.mkdir(exist_ok=True)
    shutil.copy(folder / CONFIG, flipped)
    (flipped / WEIGHTS).write_bytes(raw)
    try:
        model = load(flipped)
    except CheckpointError as error:
        assert str(flipped) in str(error)
    else:  # it fell on a blank, or on the library's own notes
        assert torch.equal(model.embedding.tokens.weight, load(folder).embedding.tokens.weight)


def _shared_folder(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "flips"
    return folder if folder.exists() else written(folder)


def test_weights_that_are_a_pipe_or_a_folder(folder: Path):
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)
    refusal(folder, folder / WEIGHTS, "not a plain file")
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()
    refusal(folder, folder / WEIGHTS, "not a plain file")


def test_a_file_that_shrinks_while_it_is_read(folder: Path):
    held = tensors.Tensors(folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:9_000])
    with pytest.raises(CheckpointError, match=r"the file shrank while it was read · got \d+ bytes of transformer"):
        for name in held:
            held.read(name)
    with pytest.raises(CheckpointError, match="a broken safetensors file"):
        held.mapped("transformer.wte.weight")


# Shards


def reindex(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    index = json.loads((folder / INDEX).read_text("utf-8"))
    changed = change(index)
    (folder / INDEX).write_text(json.dumps(index if changed is None else changed), "utf-8")
    return folder


def put(file: object) -> Callable[[dict[str, Any]], object]:
    return lambda index: index["weight_map"].update({"transformer.ln_f.bias": file})


@pytest.mark.parametrize(
    "file",
    [
        "../model/model.safetensors", "sub/model.safetensors", "..", ".", "", "/etc/passwd", "..\\x.safetensors",
        "config.json", "x.bin", "x\0.safetensors", "/x.safetensors", "./x.safetensors",
    ],
)  # fmt: skip
def test_an_index_that_points_outside_of_the_folder(sharded: Path, tmp_path: Path, file: str):
    written(tmp_path / "model")
    refusal(
        reindex(sharded, put(file)),
        sharded / INDEX,
        "a shard outside of the folder",
        "the plain name of a .safetensors file",
    )


def test_an_absolute_path_in_an_index(sharded: Path, tmp_path: Path):
    target = written(tmp_path / "model") / WEIGHTS
    refusal(reindex(sharded, put(str(target))), "a shard outside of the folder", f"got {str(target)!r}")


@pytest.mark.parametrize(
    "change",
    [
        lambda index: [],
        lambda index: {},
        lambda index: {"weight_map": {}},
        lambda index: {"weight_map": []},
        lambda index: {"weight_map": {"a": 7}},
        put(None),
        put(["model-00001-of-00002.safetensors"]),
    ],
)
def test_an_index_without_a_table(sharded: Path, change: Callable[[dict[str, Any]], object]):
    refusal(reindex(sharded, change), sharded / INDEX, "no weight_map")


def test_an_index_that_is_not_json(sharded: Path):
    (sharded / INDEX).write_text("{", "utf-8")
    refusal(sharded, sharded / INDEX, "not JSON")


def test_a_shard_is_missing(sharded: Path):
    first = next(iter(sorted(sharded.glob("model-*"))))
    first.unlink()
    refusal(sharded, first, "no such file")


def test_the_index_names_a_tensor_that_the_shard_lacks(sharded: Path):
    first = next(iter(sorted(sharded.glob("model-*.safetensors"))))
    refusal(
        reindex(sharded, lambda index: index["weight_map"].update({"ghost": first.name})),
        first, "the index and the shard disagree", "got ghost",
    )  # fmt: skip


def test_a_tensor_stands_in_two_shards(sharded: Path):
    """The second one is in the file and not in the index."""
    first, second = sorted(sharded.glob("model-*.safetensors"))[:2]
    from safetensors.torch import load_file, save_file

    twice = next(iter(load_file(first)))
    save_file({**load_file(second), twice: load_file(first)[twice]}, second, {"format": "pt"})
    refusal(sharded, second, "the index and the shard disagree", f"got {twice}")


def test_the_shards_are_mixed_up(sharded: Path):
    first, second = sorted(sharded.glob("model-*.safetensors"))[:2]
    first.rename(sharded / "aside"), second.rename(first), (sharded / "aside").rename(second)
    refusal(sharded, first, "the index and the shard disagree", " more")


def test_a_shard_is_cut(sharded: Path):
    last = sorted(sharded.glob("model-*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-1])
    refusal(sharded, last, "truncated or overlong")
