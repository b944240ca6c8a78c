"""Every metric against a library or a straightforward computation; intervals and floors."""

from __future__ import annotations

import math
import random
from collections import Counter
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, strategies as st
from scipy import stats
from sklearn import metrics as sk

from glassformer.core.errors import DataError, UnknownNameError, UnsupportedError
from glassformer.evaluate.metric import interval, known, named
from glassformer.evaluate.metrics.errors import distance
from glassformer.evaluate.metrics.rouge import common
from glassformer.evaluate.metrics.tags import spans

LABELS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=30)
NUMBERS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=30)
WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=8)


def metric(name):
    return known()[name]


@pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")  # what scikit-learn makes of few rows
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@given(LABELS)
def test_labels_as_scikit_learn_counts_them(pairs):
    said, true = zip(*pairs, strict=True)
    assert metric("accuracy")(said, true) == pytest.approx(sk.accuracy_score(true, said))
    assert metric("macro_f1")(said, true) == pytest.approx(sk.f1_score(true, said, average="macro"))
    assert metric("matthews")(said, true) == pytest.approx(sk.matthews_corrcoef(true, said), abs=1e-12)


@given(NUMBERS)
def test_correlations_as_scipy_computes_them(pairs):
    said, true = map(list, zip(*pairs, strict=True))
    if len(set(said)) == 1 or len(set(true)) == 1:
        assert metric("pearson")(said, true) == metric("spearman")(said, true) == 0
    else:
        assert metric("pearson")(said, true) == pytest.approx(stats.pearsonr(said, true).statistic, abs=1e-12)
        assert metric("spearman")(said, true) == pytest.approx(stats.spearmanr(said, true).statistic, abs=1e-12)
    assert metric("absolute_error")(said, true) == pytest.approx(sk.mean_absolute_error(true, said))


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-PER I-PER O B-LOC", [("PER", 1, 3), ("LOC", 4, 5)]),
        ("B-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("I-PER I-PER O I-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),  # an entity without a B, as conlleval reads it
        ("B-PER I-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("S-X B-X I-X E-X I-X", [("X", 0, 1), ("X", 1, 4), ("X", 4, 5)]),
        ("B-X S-X S-X I-X", [("X", 0, 1), ("X", 1, 2), ("X", 2, 3), ("X", 3, 4)]),
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
        ("NOUN VERB", []),
        ("", []),
    ],
)
def test_entities_of_tags(tags, found):
    assert spans(tags.split()) == found


@given(st.lists(st.lists(st.tuples(*[st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"])] * 2), min_size=1), min_size=1))
def test_entity_f1_is_that_of_sets_of_entities(sentences):
    said, true = ([[pair[side] for pair in one] for one in sentences] for side in (0, 1))

    def every(tags):
        return {(row, *span) for row, one in enumerate(tags) for span in spans(one)}

    one, other = every(said), every(true)
    right = len(one & other)
    precision, recall = right / max(len(one), 1), right / max(len(other), 1)
    expected = 2 * precision * recall / (precision + recall) if right else 0.0
    assert metric("entity_f1")(said, true) == pytest.approx(expected)
    flat = [(a, b) for x, y in zip(said, true, strict=True) for a, b in zip(x, y, strict=True)]
    assert metric("tag_accuracy")(said, true) == pytest.approx(sum(a == b for a, b in flat) / len(flat))


@given(WORDS, WORDS)
def test_edit_distance_and_common_subsequence_by_their_definitions(one, other):
    @cache
    def edits(i, j):
        if not i or not j:
            return i + j
        return min(edits(i - 1, j) + 1, edits(i, j - 1) + 1, edits(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    @cache
    def longest(i, j):
        if not i or not j:
            return 0
        if one[i - 1] == other[j - 1]:
            return longest(i - 1, j - 1) + 1
        return max(longest(i - 1, j), longest(i, j - 1))

    assert distance(one, other) == edits(len(one), len(other))
    assert common(one, other) == longest(len(one), len(other))


def test_error_rates_are_of_the_whole_corpus():
    said, true = ["the cat sat", "a dog"], ["the cat sat down", "the dog"]
    assert metric("wer")(said, true) == pytest.approx(2 / 6)
    assert metric("cer")(["abc", "x"], ["abd", "xyz"]) == pytest.approx(3 / 6)
    assert metric("wer")(["a b"], [["a b c d", "a b c"]]) == pytest.approx(1 / 3)
    assert metric("wer")(["a b"], [""]) == 2
    assert metric("exact_match")([" yes ", "no"], ["yes", ["nope", "No"]]) == 0.5


SAID = ["The cat is on the mat.", "there is a dog", "", "Tom sold a car to Ann"]
TRUE = ["The cat sat on the mat.", "There is a dog here", "something", "Ann bought a car"]
MORE = ["A cat is on the mat.", "There is the dog", "anything", "Ann has bought the car"]


@pytest.mark.parametrize(("name", "library"), [("bleu", "BLEU"), ("chrf", "CHRF"), ("ter", "TER")])
def test_translation_metrics_are_those_of_sacrebleu(name, library):
    ours = metric(name)
    for references in ([TRUE], [TRUE, MORE]):
        theirs = getattr(sacrebleu.metrics, library)()
        several = [list(one) for one in zip(*references, strict=True)]
        assert ours(SAID, several) == pytest.approx(theirs.corpus_score(SAID, references).score)
        assert ours.signature() == str(theirs.get_signature())
    assert ours(SAID, TRUE) == pytest.approx(getattr(sacrebleu.metrics, library)().corpus_score(SAID, [TRUE]).score)
    rows = ours.compared(SAID, TRUE)
    assert ours.value(rows[[1, 1, 3]]) == pytest.approx(
        ours([SAID[k] for k in (1, 1, 3)], [TRUE[k] for k in (1, 1, 3)])
    )


def test_rouge_by_its_definition():
    said, true = "The cat, the cat sat!", "the cat sat on the mat"
    words = ["the", "cat", "the", "cat", "sat"], ["the", "cat", "sat", "on", "the", "mat"]
    for name, length in (("rouge_1", 1), ("rouge_2", 2)):
        one, other = (Counter(tuple(w[i : i + length]) for i in range(len(w) - length + 1)) for w in words)
        shared = sum(min(one[gram], other[gram]) for gram in one)
        precision, recall = Fraction(shared, one.total()), Fraction(shared, other.total())
        assert metric(name)([said], [true]) == pytest.approx(float(2 * precision * recall / (precision + recall)))
    assert metric("rouge_l")([said], [true]) == pytest.approx(2 * 3 / 11)  # the cat sat
    assert metric("rouge_1")(["x", "a b"], ["y", ["c", "a b"]]) == 0.5
    assert metric("rouge_2")(["a", ""], ["a", "b"]) == 0


def test_answers_are_compared_as_squad_does():
    exact, overlap = metric("squad_exact_match"), metric("squad_f1")
    assert exact(["The Eiffel tower!"], [["eiffel Tower", "it"]]) == 1
    assert exact(["Eiffel"], [["eiffel tower"]]) == 0
    assert overlap(["the big Eiffel tower"], [["Eiffel tower"]]) == pytest.approx(2 * 2 / 5)
    assert exact(["", "a"], [[], []]) == 1  # no answer is right; and an article is no word
    assert overlap(["x", ""], [[], []]) == 0.5


def test_perplexity_and_bits_per_byte():
    nats, sizes = [2.0, 4.0], [(2, 8.0), (4, 4.0)]
    assert metric("perplexity")(nats, sizes) == pytest.approx(math.e)
    assert metric("bits_per_byte")(nats, sizes) == pytest.approx(6 / math.log(2) / 12)
    assert metric("perplexity")([1e4], [(1, 1.0)]) == math.inf


# -- intervals ---------------------------------------------------------------------------------------------------------


def test_the_interval_is_the_percentile_bootstrap():
    generator = random.Random(0)
    right = [generator.random() < 0.7 for _ in range(200)]
    accuracy = metric("accuracy")
    rows = accuracy.compared(["x" if one else "y" for one in right], ["x"] * 200)
    low, high = interval(accuracy, rows)
    draws = np.random.default_rng(0)
    means = [np.mean(np.array(right)[draws.integers(0, 200, 200)]) for _ in range(1000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert low < np.mean(right) < high
    width = 2 * 1.96 * math.sqrt(0.7 * 0.3 / 200)
    assert high - low == pytest.approx(width, rel=0.15)
    assert interval(accuracy, rows) == (low, high)
    assert interval(accuracy, rows, draws=50, seed=1) != interval(accuracy, rows, draws=50, seed=2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """scipy's bootstrap of the same data gives the same width."""
    values = np.random.default_rng(3).normal(size=(60, 2)) @ np.array([[1, 0.8], [0, 0.6]])
    pearson = metric("pearson")
    low, high = interval(pearson, pearson.compared(*values.T))
    theirs = stats.bootstrap(
        tuple(values.T), lambda x, y: stats.pearsonr(x, y).statistic, paired=True, vectorized=False,
        n_resamples=1000, method="percentile", random_state=0,
    ).confidence_interval  # fmt: skip
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


# -- what cannot be compared -------------------------------------------------------------------------------------------


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="accuracy compares as many of each · got 2 predictions and 1 references"):
        metric("accuracy")(["a", "b"], ["a"])
    with pytest.raises(DataError, match="got 0 predictions and 0 references"):
        metric("bleu")([], [])
    with pytest.raises(DataError, match="tags of unequal number · got 1 predicted for 2"):
        metric("entity_f1")([["O"]], [["O", "O"]])
    with pytest.raises(UnknownNameError, match="no metric 'acuracy' · expected one of accuracy"):
        named("acuracy", "label")
    with pytest.raises(
        UnsupportedError, match=r"bleu is for texts, this task has labels · expected accuracy, macro_f1"
    ):
        named("bleu", "label")


def test_metrics_need_no_torch():
    import subprocess
    import sys

    code = "import sys; from glassformer.evaluate.metric import known; known(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
