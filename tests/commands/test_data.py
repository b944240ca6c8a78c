from __future__ import annotations

import json

import pytest

from glassformer.__main__ import main

CORPUS = """
from glassformer.data.text import Document

ABOUT, LICENCE = "a poem", "CC0-1.0"
PARTS = {"verses": lambda: (Document(str(n), f"verse {n:02} é", "verses") for n in range(50)),
         "title": lambda: iter([Document("T", "title", "title")])}
"""


@pytest.fixture
def poem_only(drop_in, monkeypatch):
    drop_in("data.embedded", "poem", CORPUS)
    monkeypatch.setattr("glassformer.data.sources.embedded_names", lambda: ("poem",))


def test_list_says_sizes_licence_and_hash(poem_only, capsys):
    assert main(["data", "list", "--json"]) == 0
    (corpus,) = json.loads(capsys.readouterr().out)["corpora"]
    assert corpus["place"] == "embedded:poem"
    assert corpus["licence"] == "CC0-1.0"
    assert len(corpus["sha256"]) == 64
    verses = corpus["parts"]["verses"]
    assert sum(size["documents"] for size in verses.values()) == 50
    assert sum(size["bytes"] for size in verses.values()) == 50 * 11
    assert set(corpus["parts"]) == {"verses", "title"}


def test_list_for_a_person(poem_only, capsys):
    assert main(["data", "list"]) == 0
    page = capsys.readouterr().out
    assert "embedded:poem\n  a poem\n  licence CC0-1.0 · sha256 " in page
    assert "bytes)" in page


def test_the_real_corpora_are_listed(capsys):
    assert main(["data", "list", "--json"]) == 0
    found = {corpus["place"]: corpus for corpus in json.loads(capsys.readouterr().out)["corpora"]}
    assert set(found["embedded:reference"]["parts"]["topics"]) == {"train", "validation", "test"}
    assert {"docs", "source"} == set(found["embedded:stdlib"]["parts"])
    assert found["embedded:stdlib"]["parts"]["docs"]["test"]["bytes"] > 100_000


def test_there_is_nothing_else_to_do(capsys):
    assert main(["data", "lists"]) == 2
    assert capsys.readouterr().err.startswith("glassformer:")
