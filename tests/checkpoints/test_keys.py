from __future__ import annotations

import pytest

from glassformer.checkpoints.keys import Keys
from glassformer.core.errors import CheckpointError


def keys(**data: object) -> Keys:
    return Keys(data, "config.json")


def test_null_and_absence_mean_the_default():
    assert keys(width=None).take("width", int, 7) == keys().take("width", int, 7) == 7
    assert keys(width=None).maybe("width", int) is None


def test_a_whole_number_is_a_number():
    value = keys(eps=1).take("eps", float)
    assert value == 1.0 and type(value) is float


@pytest.mark.parametrize(
    ("value", "kind"), [(1.0, int), ("1", int), (True, int), (1, bool), (True, float), (10**400, float), ([], str)]
)
def test_a_value_of_another_type(value: object, kind: type):
    with pytest.raises(
        CheckpointError, match=rf"config.json: x: a key of the wrong type · got .* · expected {kind.__name__}"
    ):
        keys(x=value).take("x", kind)


def test_a_key_that_must_be_there():
    with pytest.raises(CheckpointError, match=r"config.json: width: a missing key · expected int"):
        keys().take("width", int)


def test_a_size_has_bounds():
    assert keys(width=16).size("width", most=16) == 16
    for value in (0, -1, 17, 10**300):
        with pytest.raises(CheckpointError, match=r"width: a size out of range · got .* · expected 1 … 16"):
            keys(width=value).size("width", most=16)


def test_only_some_values_are_computed():
    keys(kind="plain", other=None).only("kind", "plain")
    keys().only("kind", "plain")
    with pytest.raises(CheckpointError, match="kind: not supported · got 'odd' · expected 'plain' or 'flat'"):
        keys(kind="odd").only("kind", "plain", "flat")


def test_a_choice_names_its_like():
    assert keys(act="relu").choose("act", {"relu": 1, "gelu": 2}) == 1
    with pytest.raises(CheckpointError, match="act: not supported · got 'rellu' · expected one of relu"):
        keys(act="rellu").choose("act", {"relu": 1, "gelu": 2, "tanh": 3})


def test_labels_are_counted_by_their_names():
    assert keys().labels() == 2
    assert keys(num_labels=5).labels() == 5
    assert keys(id2label={"0": "a", "1": "b", "2": "c"}, num_labels=2).labels() == 3


def test_every_key_must_be_read():
    read = keys(width=1, dropout=0.1, ignored=3, nothing=None)
    with pytest.raises(
        CheckpointError, match=r"config.json: keys that this family does not know · got ignored=3, width=1"
    ):
        read.check_all_read()
    read.take("width", int), read.ignore("ignored")
    read.check_all_read()
