from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from glassformer.commands import generate
from glassformer.core.errors import CheckpointError, ConfigError, DataError, EditError
from glassformer.generate import text
from glassformer.inside import edits as edit_files
from glassformer.inside.edits import EditSpec
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.builders import gpt_like, lively

TIED = gpt_like().replace(vocab_size=257)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved model with its tokenizer."""
    place = tmp_path_factory.mktemp("generate") / "model"
    model = lively(TIED.replace(head=TIED.head.replace(tied=False)))
    model.save(place, tokenizer=byte_tokenizer())
    return str(place)


@pytest.fixture(scope="module")
def model(folder):
    from glassformer.checkpoints.folder import load

    return load(folder)


def expected(model, prompts, **options):
    return text.generate(model, byte_tokenizer(), prompts, **options)


def typed(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_the_new_text_alone_is_on_stdout(folder, model, capsys):
    generate.main(folder, "The import", max_tokens=12)
    out, err = capsys.readouterr()
    assert out == expected(model, "The import", max_tokens=12) + "\n"
    assert err == f"loading {folder} ...\n"


def test_a_text_that_nobody_said_the_length_of_is_not_cut_in_silence(folder, model, capsys):
    generate.main(folder, "The import")
    out, err = capsys.readouterr()
    assert out == expected(model, "The import") + "\n"
    assert err.endswith("ended after 54 tokens · --max-tokens N for another length\n")


def test_a_prompt_from_stdin_without_its_last_line_break(folder, model, capsys, monkeypatch):
    typed(monkeypatch, "two\nlines: é\n".encode())
    generate.main(folder, max_tokens=6)
    assert capsys.readouterr().out == expected(model, "two\nlines: é", max_tokens=6) + "\n"


def test_every_option_of_sampling_reaches_the_model(folder, model, capsys):
    options = {"temperature": 1.5, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.1, "seed": 4}
    others = {"temperature": 3.0, "top_k": 2, "top_p": 0.3, "min_p": 0.9, "repetition_penalty": 9.0, "seed": 5}
    generate.main(folder, "a", max_tokens=12, **options)
    drawn = capsys.readouterr().out
    assert drawn == expected(model, "a", max_tokens=12, **options) + "\n"
    for name, other in others.items():
        generate.main(folder, "a", max_tokens=12, **{**options, name: other})
        assert capsys.readouterr().out != drawn, name


def test_stop_strings_end_the_text(folder, model, capsys):
    whole = expected(model, "a", max_tokens=20)
    generate.main(folder, "a", max_tokens=20, stop=("never there", whole[3:5]))
    assert capsys.readouterr().out == whole[: whole.index(whole[3:5])] + "\n"


def test_a_file_of_prompts_is_a_batch_with_the_texts_of_each_alone(folder, model, tmp_path, capsys):
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"one\r\nthe second\nthree")
    generate.main(folder, prompts=file, max_tokens=8, json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["prompt"] for line in lines] == ["one", "the second", "three"]
    assert [line["text"] for line in lines] == [expected(model, one["prompt"], max_tokens=8) for one in lines]
    assert {(line["tokens"], line["reason"]) for line in lines} == {(8, "length")}
    generate.main(folder, prompts=file, max_tokens=8, batch_size=2)
    out, err = capsys.readouterr()
    assert out == "".join(f"> {line['prompt']}\n{line['text']}\n\n" for line in lines)
    assert "of 3 prompts" in err
    generate.main(folder, prompts=file)
    assert "3 of 3 texts ended after 61 tokens" in capsys.readouterr().err


def test_json_of_one_prompt(folder, model, capsys):
    generate.main(folder, "a", max_tokens=5, json=True)
    found = json.loads(capsys.readouterr().out)
    assert found == {"prompt": "a", "text": expected(model, "a", max_tokens=5), "tokens": 5, "reason": "length"}


def test_beams_and_their_scores(folder, model, tmp_path, capsys):
    said = {"beams": 4, "length_penalty": 0.4, "no_repeat_ngram": 2, "max_tokens": 9}
    generate.main(folder, "a", early_stopping="yes", **said)
    texts = expected(model, "a", n_best=2, early_stopping=True, **said)
    assert capsys.readouterr().out == texts[0] + "\n"
    for name, other in {"length_penalty": -9.0, "no_repeat_ngram": None, "beams": 1}.items():
        scores = [one.score for one in text.completions(model, byte_tokenizer(), ["a"], None, 1, {**said, name: other})]
        generate.main(folder, "a", json=True, **{**said, name: other})
        assert json.loads(capsys.readouterr().out)["score"] == pytest.approx(scores[0])

    generate.main(folder, "a", n_best=2, early_stopping="yes", **said)
    lines = [line.split("\t", 1) for line in capsys.readouterr().out.split("\n")]
    assert "".join(one for _, one in lines[:1]) == texts[0].split("\n")[0]
    generate.main(folder, "a", n_best=2, early_stopping="yes", json=True, **said)
    found = json.loads(capsys.readouterr().out)
    assert [one["text"] for one in found["n_best"]] == texts
    assert {name: found[name] for name in ("text", "tokens", "reason", "score")} == found["n_best"][0]
    assert found["n_best"][0]["score"] >= found["n_best"][1]["score"]

    file = tmp_path / "prompts.txt"
    file.write_text("one\nthe second\nthree\n")
    generate.main(folder, prompts=file, batch_size=2, early_stopping="never", json=True, **said)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    prompts = ["one", "the second", "three"]
    assert [one["text"] for one in found] == expected(model, prompts, early_stopping="never", **said)
    assert all("n_best" not in one for one in found)
    generate.main(folder, prompts=file, early_stopping="never", **said)
    assert capsys.readouterr().out == "".join(f"> {one['prompt']}\n{one['text']}\n\n" for one in found)


def test_edits_of_a_file_are_made(folder, model, tmp_path, capsys):
    made = [EditSpec.of("scale", "blocks.0.attention.heads", {"factor": -3.0}, {"head": 1})]
    edit_files.save(made, tmp_path / "edits.json")
    generate.main(folder, "abc", max_tokens=9, edits=tmp_path / "edits.json")
    out = capsys.readouterr().out
    assert out == expected(model, "abc", max_tokens=9, edits=made) + "\n"
    assert out != expected(model, "abc", max_tokens=9) + "\n"
    generate.main(folder, "abc", max_tokens=9, beams=3, edits=tmp_path / "edits.json")
    assert capsys.readouterr().out == expected(model, "abc", max_tokens=9, beams=3, edits=made) + "\n"
    edit_files.save([EditSpec.of("zero", "blocks.0.output", {}, {"position": 50})], tmp_path / "far.json")
    with pytest.raises(EditError, match="no such entry"):
        generate.main(folder, "abc", max_tokens=9, edits=tmp_path / "far.json")


def test_threads_and_types(folder, model, capsys):
    import torch

    before = torch.get_num_threads()
    generate.main(folder, "a", max_tokens=5, threads=2, dtype="float32")
    assert capsys.readouterr().out == expected(model, "a", max_tokens=5) + "\n"
    assert torch.get_num_threads() == before
    for dtype in ("bfloat16", "float16", "auto"):
        generate.main(folder, "a", max_tokens=5, dtype=dtype)
        assert capsys.readouterr().out


def test_wrong_input_is_one_error_before_the_model_is_read(folder, tmp_path, monkeypatch):
    file = tmp_path / "prompts.txt"
    file.write_text("one\n\nthree\n")
    with pytest.raises(DataError, match=r"prompts.txt, line 2: an empty prompt"):
        generate.main("nowhere", prompts=file)
    file.write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"prompts.txt, line 1: not UTF-8"):
        generate.main("nowhere", prompts=file)
    with pytest.raises(DataError, match="a prompt and a file of prompts"):
        generate.main("nowhere", "a", prompts=file)
    with pytest.raises(DataError, match="threads · got 0"):
        generate.main("nowhere", "a", threads=0)
    with pytest.raises(CheckpointError, match="no such folder"):
        generate.main("nowhere", "a")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(DataError, match="no prompt · write one behind the model"):
        generate.main("nowhere")


def test_wrong_options_are_one_error_before_the_model_is_read(tmp_path):
    for said, kind, message in (
        ({"top_p": 2.0}, ConfigError, "top_p: out of range"),
        ({"seed": 2}, ConfigError, "seed is for drawing"),
        ({"max_tokens": 0}, DataError, "max_tokens · got 0"),
        ({"stop": ("a", "")}, DataError, "a stop string is empty"),
        ({"n_best": 2}, ConfigError, "n_best is for beams, and there are none"),
        ({"beams": 3, "temperature": 1.0}, ConfigError, "beams take the best texts and draw nothing"),
        ({"beams": 3, "stop": ("a",)}, ConfigError, "a stop string ends a text while it is written"),
        ({"edits": tmp_path / "none.json"}, ConfigError, "no such file"),
    ):
        with pytest.raises(kind, match=message):
            generate.main("nowhere", "a", **said)


def test_prompts_that_do_not_fit_are_one_error(folder, capsys):
    with pytest.raises(DataError, match=r"row 0: prompt and new tokens are longer than the model · got 60 \+ 5 tokens"):
        generate.main(folder, "a" * 60, max_tokens=5)
    with pytest.raises(DataError, match="row 0: the prompt has no token"):
        generate.main(folder, "")
    assert capsys.readouterr().out == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_is_not_steered_by_a_text(monkeypatch):
    assert generate.visible("\x1b[2J a\tb\n") == "\x1b[2J a\tb\n", "a pipe gets the text as it is"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert generate.visible("\x1b[2J a\tb\n\x07") == "‹1b›[2J a\tb\n‹07›"


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_keeps_what_was_written(folder, model, capsys, monkeypatch, tmp_path, as_json):
    step = text.Decoding.step

    def interrupted(decoding):
        if len(decoding.new[0]) == 4:
            raise KeyboardInterrupt
        return step(decoding)

    monkeypatch.setattr(text.Decoding, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate.main(folder, "a", json=as_json)
    out = capsys.readouterr().out
    monkeypatch.undo()
    short = expected(model, "a", max_tokens=4)
    assert out == (json.dumps(record("a", short), ensure_ascii=False) if as_json else short) + "\n"

    file = tmp_path / "prompts.txt"
    file.write_text("a\nbc\n")
    monkeypatch.setattr(text.Decoding, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate.main(folder, prompts=file, json=as_json)
    out = capsys.readouterr().out
    monkeypatch.undo()
    both = {prompt: expected(model, prompt, max_tokens=4) for prompt in ("a", "bc")}
    if as_json:
        assert [json.loads(line) for line in out.splitlines()] == [record(*pair) for pair in both.items()]
    else:
        assert out == "".join(f"> {prompt}\n{new}\n\n" for prompt, new in both.items())


def record(prompt, new):
    return {"prompt": prompt, "text": new, "tokens": 4, "reason": "interrupted"}


def test_the_command_streams_and_ends_with_130_on_ctrl_c(tmp_path):
    endless = lively(TIED.replace(max_positions=None, embedding=TIED.embedding.replace(positions=None)))
    endless.save(tmp_path / "model", tokenizer=byte_tokenizer())
    command = [sys.executable, "-m", "glassformer", "generate", str(tmp_path / "model"), "abc"]
    command += ["--max-tokens", "100000", "--temperature", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)) as process:
        first = process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=120)
    assert len(first) == 20
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "glassformer: interrupted"
    assert (first + rest).endswith(b"\n")


def test_the_command_from_a_pipe(folder, model, glassformer):
    done = glassformer("generate", folder, "--max-tokens", "6", "--stop", "never", stdin="abc\n")
    assert (done.returncode, done.stdout) == (0, expected(model, "abc", max_tokens=6) + "\n")
    wrong = glassformer("generate", folder, "abc", "--temperature", "-1")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.splitlines()[-1] == ("glassformer: temperature: out of range · got -1.0 · expected 0 or more")


def test_an_adapter_is_merged_into_the_model(folder, model, tmp_path, capsys):
    from glassformer.checkpoints.adapter import save_adapter
    from glassformer.checkpoints.folder import load
    from glassformer.models.adapters import adapt, adapters_of
    from glassformer.parts.lora import LoraConfig

    adapted = load(folder)
    adapt(adapted, LoraConfig(targets=("*_proj",)))
    for part in adapters_of(adapted).values():
        part.lora_b.data.fill_(0.1)
    save_adapter(adapted, tmp_path / "adapter")
    generate.main(folder, "The import", max_tokens=12, adapter=tmp_path / "adapter")
    out = capsys.readouterr().out
    assert out == expected(adapted, "The import", max_tokens=12) + "\n"
    assert out != expected(model, "The import", max_tokens=12) + "\n"
    with pytest.raises(CheckpointError, match=r"adapter_config\.json: no such file"):
        generate.main(folder, "The import", adapter=tmp_path)
