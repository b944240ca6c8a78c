"""What is read: one file or many, every type of weights, tied tables, mapped memory."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from glassformer.checkpoints.folder import describe, load, save, torch_dtype
from glassformer.core.errors import ConfigError
from tests.builders import ALL, gpt_like, lively, llama_like, random_tokens, run
from tests.checkpoints.tiny import INDEX, WEIGHTS, with_keys, with_tensors, written


def test_one_file_and_many_are_the_same_model(tmp_path: Path):
    one, many = written(tmp_path / "one"), written(tmp_path / "many", max_shard_bytes=20_000)
    assert (
        len(list(many.glob("model-*.safetensors"))) > 3 and (many / INDEX).is_file() and not (many / WEIGHTS).exists()
    )
    weights = dict(load(one).named_parameters())
    for name, weight in load(many).named_parameters():
        assert torch.equal(weight, weights[name]), name
    tokens = random_tokens(2, 9)
    assert torch.equal(load(one)(tokens), load(many)(tokens))


def test_one_file_wins_over_an_index(tmp_path: Path):
    """As in transformers."""
    folder = written(tmp_path / "both")
    (folder / INDEX).write_text('{"weight_map": {"nothing": "model-00001-of-00001.safetensors"}}', "utf-8")
    assert load(folder)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_every_type_is_computed_in_float32_on_a_cpu(tmp_path: Path, kind: torch.dtype):
    folder = with_tensors(written(tmp_path / "m"), lambda held: held.update({k: v.to(kind) for k, v in held.items()}))
    stored = load_file(folder / WEIGHTS)["transformer.wte.weight"]
    model = load(folder)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert torch.equal(model.embedding.tokens.weight, stored.float())
    assert model(random_tokens(2, 5)).dtype == torch.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", torch.bfloat16])
def test_another_type_is_an_argument(tmp_path: Path, dtype: str | torch.dtype):
    folder = written(tmp_path / "m")
    model = load(folder, dtype=dtype)
    assert {weight.dtype for weight in model.parameters()} == {torch_dtype(dtype)}
    save(model, tmp_path / "back")
    assert {tensor.dtype for tensor in load_file(tmp_path / "back" / WEIGHTS).values()} == {torch_dtype(dtype)}
    again = load(tmp_path / "back", dtype=dtype)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("dtype", ["int8", "bf16", torch.int32, torch.float8_e4m3fn])
def test_a_type_that_weights_do_not_have(tmp_path: Path, dtype: object):
    with pytest.raises(
        ConfigError, match=r"unknown dtype · got .* · expected one of float64, float32, float16, bfloat16"
    ):
        load(written(tmp_path / "m"), dtype=dtype)


@pytest.mark.parametrize("device", ["toaster", "cuda:99", "xpu"])
def test_a_device_that_is_not_there(tmp_path: Path, device: str):
    with pytest.raises(ConfigError, match=f"no such device · got '{device}' · expected cpu"):
        load(written(tmp_path / "m"), device=device)


def test_on_another_device_the_widest_type_of_the_files_is_taken(tmp_path: Path):
    folder = written(tmp_path / "m")
    name = "transformer.wte.weight"

    def mix(held):
        held.update({key: value.bfloat16() for key, value in held.items()})
        held[name] = held[name].to(torch.float16)

    model = load(with_tensors(folder, mix), device="meta")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}  # what bfloat16 and float16 both fit into
    assert all(weight.is_meta for weight in model.parameters())


def test_tied_tables_are_one_parameter(tmp_path: Path):
    model = load(written(tmp_path / "m"))
    assert model.head.proj.weight is model.embedding.tokens.weight
    with torch.no_grad():
        model.embedding.tokens.weight.zero_()
    assert not model(random_tokens(1, 4)).any()
    assert "lm_head.weight" not in load_file(tmp_path / "m" / WEIGHTS)
    untied = load(written(tmp_path / "u", llama_like()))
    assert untied.head.proj.weight is not untied.embedding.tokens.weight


def test_a_loaded_model_is_at_rest(tmp_path: Path):
    model = load(written(tmp_path / "m"))
    assert not model.training and all(weight.requires_grad for weight in model.parameters())
    assert not any(weight.is_meta for weight in model.parameters())


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_description_is_loaded_as_it_was_saved(tmp_path: Path, name: str):
    model = lively(ALL[name]())
    model.save(tmp_path / name)
    loaded, tokens = load(tmp_path / name), random_tokens(2, 9)
    assert torch.equal(run(loaded, tokens), run(model, tokens))
    assert describe(tmp_path / name).config == loaded.config


def test_mapped_weights_can_be_changed_and_the_file_stays(tmp_path: Path):
    folder = written(tmp_path / "m", llama_like())
    before = (folder / WEIGHTS).read_bytes()
    model = load(folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    torch.optim.SGD(model.parameters(), lr=0.1).zero_grad()
    assert (folder / WEIGHTS).read_bytes() == before
    assert not torch.equal(next(model.parameters()), next(load(folder).parameters()))


def test_a_loaded_model_outlives_its_folder(tmp_path: Path):
    folder = written(tmp_path / "m", llama_like())
    model, tokens = load(folder), random_tokens(1, 5)
    for path in folder.iterdir():
        path.unlink()
    assert torch.equal(model(tokens), lively(llama_like())(tokens))


def test_a_model_can_be_copied_and_its_weights_saved_elsewhere(tmp_path: Path):
    model = load(written(tmp_path / "m", llama_like()))
    twin = copy.deepcopy(model)
    assert torch.equal(twin(random_tokens(1, 5)), model(random_tokens(1, 5)))
    torch.save(model.state_dict(), tmp_path / "state.pt")
    size = sum(weight.nbytes for weight in model.parameters())
    assert (tmp_path / "state.pt").stat().st_size < size + 40_000, "a view of the whole file was saved with each weight"


def test_tensors_that_begin_at_odd_bytes_are_read(tmp_path: Path):
    """No writer of today makes such files, but the format allows them."""
    folder = written(tmp_path / "m", llama_like())
    expected = {name: weight.clone() for name, weight in load(folder).named_parameters()}
    raw = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    text = raw[8 : 8 + length].rstrip() + b" "
    text += b" " * (1 - len(text) % 2)
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
    assert (8 + len(text)) % 4 == 1 or (8 + len(text)) % 4 == 3
    for name, weight in load(folder).named_parameters():
        assert torch.equal(weight, expected[name]) and weight.data_ptr() % 4 == 0, name


def test_one_mapping_serves_all_tensors_of_a_file(tmp_path: Path):
    """A mapping a tensor would run out of them at 65,530, and out of addresses before that."""
    folder = written(tmp_path / "m", llama_like(layers=6))
    model = load(folder)
    mapped = Path("/proc/self/maps").read_text("utf-8").count(f"{folder}/") if Path("/proc/self/maps").exists() else 1
    assert mapped == 1
    assert len(list(model.parameters())) > 50


def test_a_symbolic_link_is_a_file_as_the_cache_of_the_hub_is_made_of_them(tmp_path: Path):
    folder = written(tmp_path / "m")
    (folder / WEIGHTS).rename(tmp_path / "blob")
    (folder / WEIGHTS).symlink_to(Path("..") / "blob")
    assert load(folder)


def test_describing_needs_no_weights(tmp_path: Path):
    folder = written(tmp_path / "m")
    config = load(folder).config
    (folder / WEIGHTS).unlink()
    assert describe(folder).config == config


def test_a_note_about_code_that_is_named_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = with_keys(written(tmp_path / "m"), auto_map={"AutoModel": "modeling.Evil"})
    (folder / "modeling.py").write_text("raise SystemExit('code of the folder ran')", "utf-8")
    model = load(folder)
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "auto_map names code, which is never run" in said.err and str(folder) in said.err
    save(model, tmp_path / "back")
    assert "auto_map" not in (tmp_path / "back" / "config.json").read_text("utf-8")


MEASURE = """
import resource, sys, torch
from glassformer.checkpoints.folder import load
from glassformer.families import families
families(), torch.nn.Linear(64, 64)(torch.ones(1, 64))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
model = load(sys.argv[1])
sum(float(weight.sum()) for weight in model.parameters())
print(peak() - before, sum(weight.nbytes for weight in model.parameters()))
"""


@pytest.mark.parametrize("form", ["turned round", "converted"])
def test_the_peak_of_memory_is_little_more_than_the_weights(tmp_path: Path, form: str):
    """Matrices that are stored the other way round, and bfloat16: none is held twice."""
    config = gpt_like(layers=8)
    big = config.replace(d_model=640, decoder=_wide(config.decoder))
    model = big.build(seed=None)
    save(model.bfloat16() if form == "converted" else model, tmp_path / "big")
    del model
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "big")]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ}, timeout=300).stdout
    grown, weights = map(int, out.split())
    assert weights > 100e6
    assert grown < 1.15 * weights + 24e6


def _wide(stack):
    block = stack.blocks[0]
    return stack.replace(
        blocks=(block.replace(feed_forward=block.feed_forward.replace(d_ff=2560)),) * len(stack.blocks)
    )


def test_files_of_the_library_are_read_and_ours_by_the_library(tmp_path: Path):
    folder = written(tmp_path / "m")
    tensors = load_file(folder / WEIGHTS)
    save_file(tensors, tmp_path / "again.safetensors", {"format": "pt"})
    (tmp_path / "again.safetensors").replace(folder / WEIGHTS)
    reloaded = load_file(folder / WEIGHTS)
    assert reloaded.keys() == tensors.keys() and load(folder)
