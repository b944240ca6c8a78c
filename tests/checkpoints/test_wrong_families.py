"""What a stranger's folder may have wrong, in every family: each is one line that says what, where and what to do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassformer.__main__ import main
from glassformer.checkpoints.folder import load
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.checkpoints.tiny import CONFIG, WEIGHTS, refusal, with_keys, with_tensors
from tests.families.forms import FAMILIES, FORMS, VOCAB
from tests.families.helpers import build

Make = Callable[[str], Path]
#: The first form of each family.
FIRST = {form.family: form for form in reversed(FORMS)}


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A family's folder as transformers writes it, made once."""
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            build(FIRST[family]).save_pretrained(made[family])
        return made[family]

    return get


@pytest.fixture
def make(originals: Make, tmp_path: Path) -> Make:
    """A copy that may be spoiled."""
    return lambda family: Path(shutil.copytree(originals(family), tmp_path / family))


def largest(tensors: dict[str, Tensor]) -> str:
    """A matrix inside a block: always one of the model, never junk or a copy."""
    inside = {name: tensor for name, tensor in tensors.items() if tensor.ndim >= 2 and re.search(r"\.\d+\.", name)}
    return max(inside, key=lambda name: (inside[name].numel(), name))


FAULTS: dict[str, tuple[Callable[[dict[str, Tensor], str], object], str]] = {
    "missing": (lambda held, name: held.pop(name), "tensors are missing"),
    "extra": (lambda held, name: held.update({f"{name}.more": torch.zeros(3)}), "tensors that this family does not"),
    "wrong shape": (lambda held, name: held.update({name: held[name][:-1].contiguous()}), "wrong shape"),
    "wrong dtype": (lambda held, name: held.update({name: held[name].to(torch.int32)}), "wrong dtype"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tensor_is_wrong(make: Make, family: str, fault: str):
    spoil, what = FAULTS[fault]
    folder = make(family)
    name = largest(load_file(folder / WEIGHTS))
    line = refusal(with_tensors(folder, lambda held: spoil(held, name)), what)
    assert name in line and str(folder) in line


@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_that_are_not_finite_are_named_when_one_asks(make: Make, family: str):
    """Looking at each number means reading all of them, so it is asked for: ``check=True``, ``show --check``."""
    folder = make(family)
    name = largest(load_file(folder / WEIGHTS))
    load(folder, check=True)
    with_tensors(folder, lambda held: held[name].view(-1)[-1:].fill_(torch.nan))
    refusal(folder, f"{folder / WEIGHTS}: {name}", "numbers that are not finite", "got 1 of", check=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_another_family(originals: Make, make: Make, family: str):
    other = "llama" if FAMILIES[family].kind != "decoder" else "bert"
    folder = make(family)
    shutil.copy(originals(other) / WEIGHTS, folder)
    refusal(folder, folder, "tensors are missing")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_special_token_past_the_vocabulary(make: Make, family: str):
    folder = with_keys(make(family), bos_token_id=VOCAB + 5)
    (folder / "generation_config.json").unlink(missing_ok=True)
    refusal(folder, f"{folder}: bos_token_id", "outside of the vocabulary", f"got {VOCAB + 5}")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_that_nobody_knows(make: Make, family: str):
    refusal(with_keys(make(family), use_flux_capacitor=True), CONFIG, "use_flux_capacitor")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(make: Make, family: str):
    folder = make(family)
    refusal(with_keys(folder, model_type=f"{family}-x"), "unknown model_type", repr(f"{family}-x"), family)


@pytest.mark.parametrize("family", FAMILIES)
def test_code_that_a_folder_names_is_not_run(make: Make, family: str, capsys: pytest.CaptureFixture[str]):
    folder = with_keys(make(family), auto_map={"AutoModel": "evil--code.Model"})
    (folder / "code.py").write_text("raise SystemExit('ran')")
    load(folder)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "never run" in said and family in said


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_that_stands_twice(make: Make, family: str):
    folder = make(family)
    text = (folder / CONFIG).read_text("utf-8")
    (folder / CONFIG).write_text(text.replace("{", '{"model_type": "llama",', 1), "utf-8")
    refusal(folder, CONFIG, "twice")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.gguf"])
def test_weights_of_another_kind_of_file(make: Make, family: str, file: str):
    folder = make(family)
    (folder / WEIGHTS).rename(folder / file)
    refusal(folder, folder / file, "save_pretrained" if file.endswith("bin") else "safetensors folder")


KINDS = ["bert", "llama", "t5", "mixtral"]


@pytest.mark.parametrize("family", KINDS)
def test_bombs_in_json(make: Make, family: str):
    folder = make(family)
    text = (folder / CONFIG).read_text("utf-8")
    (folder / CONFIG).write_text(text.replace("{", '{"deep": ' + "[" * 100_000 + "]" * 100_000 + ",", 1), "utf-8")
    refusal(folder, CONFIG)
    (folder / CONFIG).write_text(text.replace("{", '{"long": "' + "a" * 20_000_000 + '",', 1), "utf-8")
    refusal(folder, CONFIG)
    (folder / CONFIG).write_text(text.replace("{", '{"long": ' + "9" * 10_000 + ",", 1), "utf-8")
    refusal(folder, CONFIG)


@pytest.mark.parametrize("family", ["bert", "llama", "mixtral"])
def test_a_tokenizer_of_another_size(make: Make, family: str, capsys: pytest.CaptureFixture[str]):
    """It has 257 tokens, the model 61 rows: what reads text with both refuses before a wrong row is taken."""
    folder = make(family)
    byte_tokenizer().save(folder)
    pool = ["--pool", "mean"] if family == "bert" else []
    assert main(["embed" if family == "bert" else "generate", str(folder), "a", *pool]) == 2
    err = capsys.readouterr().err
    assert "got 257 · expected at most 61" in err.splitlines()[-1]


def cut(folder: Path) -> None:
    raw = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(raw[: len(raw) // 2])


def without_a_tensor(folder: Path) -> None:
    held = load_file(folder / WEIGHTS)
    held.pop(largest(held))
    save_file(held, folder / WEIGHTS, {"format": "pt"})


def not_finite(folder: Path) -> None:
    with_tensors(folder, lambda held: held[largest(held)].view(-1)[:1].fill_(torch.inf))


SPOILED: dict[str, Callable[[Path], object]] = {
    "cut": cut,
    "a tensor less": without_a_tensor,
    "not finite": not_finite,
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "no config": lambda folder: (folder / CONFIG).unlink(),
    "an empty config": lambda folder: (folder / CONFIG).write_text(""),
    "a foreign model_type": lambda folder: with_keys(folder, model_type="mamba"),
}


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("spoil", SPOILED)
def test_the_command_line_says_one_line_and_exits_with_2(
    make: Make, family: str, spoil: str, capsys: pytest.CaptureFixture[str]
):
    folder = make(family)
    SPOILED[spoil](folder)
    assert main(["show", str(folder), "--check"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1 and str(folder) in err and "Traceback" not in err


def test_checked_weights_are_said_to_be_good(make: Make, capsys: pytest.CaptureFixture[str]):
    folder = make("bert")
    assert main(["show", str(folder), "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
