from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
import torch

import glassformer as gf
from glassformer.commands import embed
from glassformer.core.errors import DataError, UnsupportedError
from glassformer.parts.sentence import NormalizeStepConfig, SentenceConfig
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.builders import bert_like, lively

TEXTS = ["The cat sat.", "A dog", "on the mat, and more"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved encoder whose folder says how to pool."""
    place = tmp_path_factory.mktemp("embed") / "model"
    model = lively(bert_like().replace(vocab_size=257, head=None))
    said = SentenceConfig(pool=("mean",), steps=(NormalizeStepConfig(),), prompts=(("query", "q: "),))
    model.__dict__["sentence"] = said.build(model.config.d_model)
    model.save(place, tokenizer=byte_tokenizer())
    return str(place)


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_object_a_text(folder, tmp_path, capsys):
    (tmp_path / "texts").write_text("\n".join(TEXTS) + "\n")
    embed.main(folder, texts=tmp_path / "texts")
    found = lines(capsys)
    assert [line["text"] for line in found] == TEXTS
    vectors = gf.load(folder).embed(TEXTS)
    torch.testing.assert_close(torch.tensor([line["vector"] for line in found]), vectors)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))


def test_from_stdin_with_a_prompt(monkeypatch, folder, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"A dog\n")))
    embed.main(folder, prompt="query")
    (found,) = lines(capsys)
    torch.testing.assert_close(torch.tensor(found["vector"]), gf.load(folder).embed(["q: A dog"])[0])


def test_a_file_of_vectors(folder, tmp_path, capsys):
    embed.main(folder, "A dog", out=tmp_path / "v.npy")
    assert capsys.readouterr().out == ""
    torch.testing.assert_close(torch.tensor(np.load(tmp_path / "v.npy")), gf.load(folder).embed(["A dog"]))
    with pytest.raises(DataError, match=r"v.npy: the output file exists"):
        embed.main(folder, "A dog", out=tmp_path / "v.npy")
    with pytest.raises(DataError, match=r"v.txt: an unknown kind of file · expected NAME.npy"):
        embed.main(folder, "A dog", out=tmp_path / "v.txt")
    with pytest.raises(DataError, match=r"cannot be written · got No such file or directory"):
        embed.main(folder, "A dog", out=tmp_path / "no" / "v.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]


def test_a_folder_that_does_not_say_how(tmp_path, capsys):
    lively(bert_like().replace(vocab_size=257, head=None)).save(tmp_path / "m", tokenizer=byte_tokenizer())
    with pytest.raises(UnsupportedError, match="does not say how token vectors become one"):
        embed.main(str(tmp_path / "m"), "A dog")
    embed.main(str(tmp_path / "m"), "A dog", pool="first")
    assert len(lines(capsys)[0]["vector"]) == 32


def test_no_threads(folder):
    with pytest.raises(DataError, match="threads · got 0"):
        embed.main(folder, "A dog", threads=0)
