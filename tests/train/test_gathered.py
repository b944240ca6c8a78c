"""Examples of any format, gathered for a run and read again for its continuation."""

from __future__ import annotations

import pytest

from glassformer.core.errors import DataError
from glassformer.train.objectives.classify import ClassifyConfig
from glassformer.train.task_data import gather


def texts(examples, *fields: str) -> list[tuple[object, ...]]:
    return [tuple(one[field] for field in fields) for one in examples]


def test_parallel_files_are_gathered_by_what_their_names_begin_with(tmp_path, monkeypatch) -> None:
    for split, count in (("train", 40), ("val", 3)):
        for side in ("en", "de"):
            lines = (f"{split} {side} {number}\n" for number in range(count))
            (tmp_path / f"{split}.{side}").write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    fields = {"source": "en", "target": "de"}
    found = gather("train", "val", fields=fields)
    assert texts(found.train, "source", "target") == [(f"train en {n}", f"train de {n}") for n in range(40)]
    assert texts(found.held_out, "target") == [(f"val de {n}",) for n in range(3)]
    monkeypatch.chdir("/")
    recipe = found.recipe
    again = gather(recipe["place"], recipe["validation"], fields=recipe["fields"], format=recipe["format"])
    assert [one.fields for one in again.train] == [one.fields for one in found.train]
    assert again.recipe == recipe


def test_a_format_that_is_said_is_part_of_the_recipe(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"word\tB-{number}\n\n" for number in range(30)))
    found = gather(tmp_path / "a.txt", format="conll")
    assert found.recipe["format"] == "conll"
    assert len(found.train) + len(found.held_out) == 30
    assert found.train[0]["words"] == ["word"]


def test_examples_at_hand_have_no_recipe() -> None:
    rows = ({"review": f"film {number}", "stars": number % 2} for number in range(50))
    found = gather(rows, fields={"text": "review", "label": "stars"})
    assert found.labels(ClassifyConfig()) == ("0", "1")
    assert 40 <= len(found.train) < 50
    assert not found.recipe


def test_an_empty_label_is_no_label(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "a,x\n" * 20 + "b,\n")
    found = gather(tmp_path / "a.csv", tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.csv, line 22: field 'label' is no label · got ''"):
        found.labels(ClassifyConfig())
