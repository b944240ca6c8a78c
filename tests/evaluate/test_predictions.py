"""What each kind of model says: as transformers says it, in the order of the texts, however they are batched."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import pytest
import torch
import transformers

import glassformer as gf
from glassformer.core.errors import DataError, UnsupportedError
from glassformer.core.terminal import Progress
from glassformer.data.examples import examples_of
from glassformer.evaluate import rows as batches
from glassformer.evaluate.measure import measure
from glassformer.evaluate.task import Hand, task_of, tasks
from glassformer.evaluate.tasks import answer, guess
from glassformer.models.transformer import SpecialTokens
from glassformer.parts.head import ChoiceHeadConfig, ClassifyHeadConfig, SpanHeadConfig, TagHeadConfig
from glassformer.parts.sentence import SentenceConfig
from glassformer.tokenizers.kinds import byte_tokenizer, train_bpe, train_wordpiece
from tests.builders import bert_like, gpt_like, lively, t5_like

TEXTS = [
    "the cat sat on the mat", "a dog", "it rained all day and all of the night in the old town", "why not",
    "the mat is on a dog and the dog is on a mat",
]  # fmt: skip
PAIRS = TEXTS[::-1]


@pytest.fixture(scope="module")
def words():
    return train_wordpiece([*TEXTS, "where is the cat? who sat. [x]"], 200)


def published(place, kind, words, **changes):
    """A folder of transformers' own BERT with one head, and what both libraries make of it."""
    names = {"num_labels": 3, "id2label": {0: "O", 1: "B-x", 2: "I-x"}, "label2id": {"O": 0, "B-x": 1, "I-x": 2}}
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=words.vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=64, initializer_range=0.6, pad_token_id=words.special.pad, **{**names, **changes},
    )  # fmt: skip
    theirs = getattr(transformers, kind)(config).eval()
    theirs.save_pretrained(place)
    words.save(place)
    return theirs, Hand(gf.load(place), words)


def said_by(theirs, words, rows):
    """The logits that transformers computes for each text or pair alone."""
    with torch.no_grad():
        found = []
        for row in rows:
            batch = words.encode_batch([row])
            found.append(theirs(input_ids=batch.tokens, token_type_ids=batch.segments).logits[0])
        return found


def texts(*rows):
    return list(examples_of(rows))


def test_classes_are_those_of_transformers(tmp_path, words):
    theirs, hand = published(tmp_path, "BertForSequenceClassification", words)
    task = task_of(hand.model)
    assert task.WORD == "classify"
    for examples, rows in [
        (texts(*({"text": text} for text in TEXTS)), TEXTS),
        (
            texts(*({"text": a, "pair": b} for a, b in zip(TEXTS, PAIRS, strict=True))),
            [*zip(TEXTS, PAIRS, strict=True)],
        ),
    ]:
        found = task.predict(examples, hand)
        for one, logits in zip(found, said_by(theirs, words, rows), strict=True):
            expected = dict(zip(("O", "B-x", "I-x"), logits.softmax(-1).tolist(), strict=True))
            assert one.said["probabilities"] == pytest.approx(expected, abs=1e-5)
            assert one.value == max(expected, key=expected.get) == one.said["label"]
            assert list(one.said["probabilities"]) == sorted(expected, key=expected.get, reverse=True)
    assert len({one.value for one in found}) > 1
    assert found[0].line == f"{found[0].value}\t{found[0].said['probability']:.4f}"
    two = task.predict(examples, Hand(hand.model, words, top=2))
    assert two[0].line.count("\t") == 3
    assert len(two[0].said["probabilities"]) == 2


def test_numbers_are_those_of_transformers(tmp_path, words):
    theirs, hand = published(
        tmp_path, "BertForSequenceClassification", words, num_labels=1, id2label={0: "x"}, label2id={"x": 0}
    )
    task = task_of(hand.model)
    assert task.WORD == "regress"
    found = task.predict(texts(*({"text": text} for text in TEXTS)), hand)
    expected = [float(logits[0]) for logits in said_by(theirs, words, TEXTS)]
    assert [one.value for one in found] == pytest.approx(expected, abs=1e-4)
    assert float(found[0].line) == pytest.approx(expected[0], rel=1e-4)


def test_tags_are_those_of_transformers_at_the_first_token_of_each_word(tmp_path, words):
    theirs, hand = published(tmp_path, "BertForTokenClassification", words)
    task = task_of(hand.model)
    found = task.predict(texts({"text": TEXTS[0]}, *({"words": text.split()} for text in TEXTS[1:])), hand)
    for one, text, logits in zip(found, TEXTS, said_by(theirs, words, TEXTS), strict=True):
        begins = [sum(len(word) + 1 for word in text.split()[:place]) for place in range(len(text.split()))]
        offsets = words.offsets(text)
        places = [next(k for k, (a, b) in enumerate(offsets) if a == begin and b > a) for begin in begins]
        tags = [("O", "B-x", "I-x")[int(logits[place].argmax())] for place in places]
        assert one.value == tags == one.said["tags"]
        assert one.line == " ".join(f"{word}/{tag}" for word, tag in zip(text.split(), tags, strict=True))
    assert len({tag for one in found for tag in one.value}) > 1
    entity = next(one for one in found if one.said["entities"]).said
    first = entity["entities"][0]
    assert first["text"] == " ".join(entity["words"][first["first"] : first["last"] + 1])
    cut = task.predict(texts({"text": "the cat " * 40}), Hand(hand.model, words, truncate=True))[0]
    assert cut.said["tags"][-1] is None
    assert cut.value[-1] == ""
    assert cut.line.endswith(" the cat")
    (odd,) = task.predict(texts({"words": ["the", "\u200b", "cat"]}), hand)  # WordPiece drops what is not to be seen
    assert [tag is None for tag in odd.said["tags"]] == [False, True, False]
    assert [odd.value[0], odd.value[2]] == task.predict(texts({"text": "the cat"}), hand)[0].value


def test_guesses_are_those_of_transformers(tmp_path, words):
    theirs, hand = published(tmp_path, "BertForMaskedLM", words)
    task = task_of(hand.model)
    text = "the [MASK] sat on [MASK] mat"
    (one, other) = task.predict(texts({"text": text}, {"text": "[MASK]"}), Hand(hand.model, words, top=3))
    (logits,) = said_by(theirs, words, [text])
    ids = words.encode(text)
    places = [place for place, token in enumerate(ids) if token == words.special.mask]
    assert len(places) == len(one.said["guesses"]) == 2
    for guesses, place in zip(one.said["guesses"], places, strict=True):
        best = logits[place].softmax(-1).topk(3)
        assert [guess["id"] for guess in guesses] == best.indices.tolist()
        assert [guess["probability"] for guess in guesses] == pytest.approx(best.values.tolist(), abs=1e-5)
    first, second = (guesses[0]["token"] for guesses in one.said["guesses"])
    assert one.value == one.line == f"the {first} sat on {second} mat"
    (cut,) = task.predict(texts({"text": "[MASK] the" * 40}), Hand(hand.model, words, truncate=True))
    assert cut.value.endswith("[MASK] the")
    assert 0 < len(cut.said["guesses"]) == 40 - cut.value.count("[MASK]") < 40
    assert len(other.said["guesses"]) == 1
    with pytest.raises(DataError, match=r"example 0: a text without a mask · expected \[MASK\] where a word"):
        task.predict(texts({"text": "the cat"}), hand)


def test_a_guess_stands_in_the_text_as_a_word_would():
    """A token that brings its own space does not double the one before the mask."""
    words = train_bpe(TEXTS * 9, 300)
    hand = Hand(gpt_like().replace(vocab_size=words.vocab_size).build(seed=None), words)
    token = next(token for token in range(words.vocab_size) if words.decode([token]).startswith(" "))
    scores = torch.zeros(2, words.vocab_size)
    scores[:, token] = 9.0
    word = words.decode([token]).strip()
    found = guess._said(["the ", " and the", "!"], "[MASK]", scores, hand)
    assert found.value == f"the {word} and the {word}!"


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(tmp_path_factory, words):
    return published(tmp_path_factory.mktemp("qa"), "BertForQuestionAnswering", words, num_labels=2,
                     id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1})  # fmt: skip


def scores_by(theirs, words, question, context):
    """Start and end scores of transformers, and the places in the row of the context's tokens."""
    batch = words.encode_batch([(question, context)])
    with torch.no_grad():
        out = theirs(input_ids=batch.tokens, token_type_ids=batch.segments)
    inside = (batch.segments[0] == 1).nonzero()[:, 0].tolist()[:-1]  # without the separator behind it
    return out.start_logits[0], out.end_logits[0], inside


def test_the_answer_is_the_span_with_the_highest_scores(reader, words):
    theirs, hand = reader
    task = task_of(hand.model)
    rows = [("where is the cat?", text) for text in TEXTS]
    found = task.predict(texts(*({"question": q, "context": c} for q, c in rows)), hand)
    for one, (question, context) in zip(found, rows, strict=True):
        starts, ends, inside = scores_by(theirs, words, question, context)
        spans = [(float(starts[a] + ends[b]), a, b) for a in inside for b in inside if a <= b < a + answer.LONGEST]
        _, a, b = max(spans)
        offsets = words.offsets((question, context))
        assert one.value == context[offsets[a][0] : offsets[b][1]]
        share = starts[inside].softmax(0)[inside.index(a)] * ends[inside].softmax(0)[inside.index(b)]
        assert one.said["score"] == pytest.approx(float(share), abs=1e-5)
        assert one.value == context[one.said["start"] : one.said["end"]]


def test_an_answer_does_not_end_before_it_begins_and_has_at_most_thirty_tokens():
    scores = torch.zeros(40, 2)
    scores[5, 0], scores[2, 1], scores[35, 1], scores[34, 1] = 5.0, 6.0, 7.0, 4.0
    assert answer.best_span(scores) == (9.0, 5, 34)
    (brute, a, b) = max(
        (float(scores[a, 0] + scores[b, 1]), a, b) for a in range(40) for b in range(a, min(a + 30, 40))
    )
    assert (brute, a, b) == (9.0, 5, 34)


def test_a_long_context_is_read_in_windows_that_overlap(reader, words):
    _, hand = reader
    context = " ".join(TEXTS * 4)
    (example,) = texts({"question": "where is the cat?", "context": context})
    windows = answer.windows_of(example, hand)
    assert len(windows) > 3
    assert all(len(window.sample.tokens) <= 64 for window in windows)
    covered = [set(range(*place)) for window in windows for place in window.places]
    assert {place for some in covered for place in some} == {k for k, c in enumerate(context) if c != " "}
    for before, after in pairwise(windows):
        shared = len(set(before.places) & set(after.places))
        assert shared >= len(before.places) // 2 - 1
    for window in windows:
        ids = window.sample.tokens[window.first :]
        for token, (first, last) in zip(ids, window.places, strict=False):
            assert words.token_content(token).removeprefix("##") == context[first:last]


def test_the_best_of_all_windows_wins(reader):
    """As if each window were asked alone; the score counts the places of all windows."""
    _, hand = reader
    task = task_of(hand.model)
    (example,) = texts({"question": "who sat", "context": " ".join(TEXTS * 4)})
    (one,) = task.predict([example], hand)
    alone = []
    for window in answer.windows_of(example, hand):
        part = example["context"][window.places[0][0] : window.places[-1][1]]
        (found,) = task.predict(texts({"question": "who sat", "context": part}), hand)
        alone.append((found.value, window.places[0][0] + found.said["start"], found.said["score"]))
    assert (one.value, one.said["start"]) in [found[:2] for found in alone]
    assert one.said["score"] < max(found[2] for found in alone)


def test_answers_are_said_in_several_ways(reader):
    _, hand = reader
    task = task_of(hand.model)
    squad = [{"text": "a dog", "answer_start": 3}, {"text": "dog", "answer_start": 5}]
    columns = {"text": ["a dog", "dog"], "answer_start": [3, 5]}
    said = [
        {"answer": "a dog"},
        {"answer": ["a dog", "dog"]},
        {"answers": squad},
        {"answers": columns},
        {"answers": []},
    ]
    found = [task.reference(example, hand) for example in texts(*said)]
    assert found == [["a dog"], ["a dog", "dog"], ["a dog", "dog"], ["a dog", "dog"], []]
    for wrong in (3, [3], {"text": 3}, [{"x": 1}]):
        with pytest.raises(DataError, match="example 0: no text and no list of texts as answers"):
            task.reference(texts({"answers": wrong})[0], hand)


def test_a_question_that_leaves_no_room(reader):
    _, hand = reader
    task = task_of(hand.model)
    with pytest.raises(DataError, match=r"example 0: a question leaves no room for its context · got \d+ tokens"):
        task.predict(texts({"question": "the cat " * 40, "context": "a dog"}), hand)
    with pytest.raises(DataError, match="example 0: a context without a token"):
        task.predict(texts({"question": "why", "context": " "}), hand)
    with pytest.raises(DataError, match=r"example 0: no field 'context'"):
        task.predict(texts({"question": "why"}), hand)


# -- texts for texts ---------------------------------------------------------------------------------------------------


def hand_of(config, **options):
    model = lively(config.replace(vocab_size=257))
    model.special = SpecialTokens(end=(256,), pad=0, decoder_start=0)
    return Hand(model, byte_tokenizer(), **options)


def test_an_encoder_decoder_writes_what_generate_writes():
    hand = hand_of(t5_like(), writing={"max_tokens": 12}, prefix="x: ")
    task = task_of(hand.model)
    found = task.predict(texts(*({"source": text[:50]} for text in TEXTS)), hand)
    alone = [gf.generate(hand.model, hand.tokenizer, "x: " + text[:50], max_tokens=12) for text in TEXTS]
    assert [one.value for one in found] == alone
    assert len(set(alone)) > 1
    beams = hand_of(t5_like(), writing={"max_tokens": 6, "beams": 3}, prefix="x: ")
    found = task.predict(texts(*({"source": text[:50]} for text in TEXTS)), beams)
    alone = [gf.generate(hand.model, hand.tokenizer, "x: " + text[:50], max_tokens=6, beams=3) for text in TEXTS]
    assert [one.value for one in found] == alone
    assert all(one.said["score"] < 0 for one in found)


def test_a_decoder_goes_on():
    hand = hand_of(gpt_like(), writing={"max_tokens": 5})
    task = task_of(hand.model)
    (one,) = task.predict(texts({"text": "a dog"}), hand)
    assert one.value == gf.generate(hand.model, hand.tokenizer, "a dog", max_tokens=5)
    what = r"example 1: an example is longer than the model · got 60 tokens · expected at most 59"
    with pytest.raises(DataError, match=what):
        task.predict(texts({"text": "a"}, {"text": "a" * 60}), hand)
    assert task_of(hand.model, measures=True).WORD == "predict text"


def test_vectors_and_how_alike_they_are():
    hand = hand_of(bert_like().replace(head=None))
    hand.model.__dict__["sentence"] = SentenceConfig(pool=("mean",)).build(32)
    task = task_of(hand.model)
    found = task.predict(texts(*({"text": text} for text in TEXTS)), hand)
    vectors = hand.model.embed(TEXTS, tokenizer=hand.tokenizer)
    torch.testing.assert_close(torch.tensor([one.said["vector"] for one in found]), vectors)
    pairs = texts(*({"text": a, "pair": b} for a, b in zip(TEXTS, PAIRS, strict=True)))
    alike = [one.value for one in task.predict(pairs, hand)]
    assert alike == pytest.approx(torch.cosine_similarity(vectors, vectors.flip(0)).tolist(), abs=1e-5)


# -- every kind --------------------------------------------------------------------------------------------------------


def test_batches_change_nothing(tmp_path, words):
    _, hand = published(tmp_path, "BertForSequenceClassification", words)
    examples = texts(*({"text": text} for text in TEXTS))
    task = task_of(hand.model)
    whole = task.predict(examples, hand)
    one_by_one = task.predict(examples, Hand(hand.model, words, batch_tokens=1))
    for one, other in zip(whole, one_by_one, strict=True):
        assert one.said["probabilities"] == pytest.approx(other.said["probabilities"], abs=1e-5)
    mixed = texts({"text": TEXTS[0]}, {"text": TEXTS[1], "pair": TEXTS[2]})  # segments for some rows only
    found = task.predict(mixed, hand)
    assert found[0].said["probabilities"] == pytest.approx(whole[0].said["probabilities"], abs=1e-5)


def test_work_is_talked_about_when_it_takes_long(tmp_path, words, monkeypatch):
    said = io.StringIO()
    _, hand = published(tmp_path, "BertForSequenceClassification", words)
    hand = Hand(hand.model, words, batch_tokens=1, progress=Progress(said, seconds=0))
    examples = texts(*({"text": text} for text in TEXTS))
    task_of(hand.model).predict(examples, hand)
    assert said.getvalue() == ""
    monkeypatch.setattr(batches, "PATIENCE", 0.0)
    task_of(hand.model).predict(examples, hand)
    assert said.getvalue().splitlines() == [f"computed {done} of 5" for done in range(1, 6)]


def test_what_is_longer_than_the_model_is_refused_or_cut(tmp_path, words):
    _, hand = published(tmp_path, "BertForSequenceClassification", words)
    task = task_of(hand.model)
    examples = texts({"text": "a"}, {"text": "the cat " * 40})
    what = r"example 1: an example is longer than the model · got 82 tokens · expected at most 64"
    with pytest.raises(DataError, match=what):
        task.predict(examples, hand)
    cut = task.predict(examples, Hand(hand.model, words, truncate=True))[1]
    (expected,) = task.predict(texts({"text": "the cat " * 31}), hand)
    assert cut.said["probabilities"] == pytest.approx(expected.said["probabilities"], abs=1e-5)


def test_each_model_has_one_task_and_some_have_none():
    for config in (bert_like(), gpt_like(), t5_like()):
        model = config.build(seed=None)
        for measures in (False, True):
            fitting = [task for task in tasks() if (task.MEASURES if measures else task.RUNS) and task.fits(model)]
            assert len(fitting) <= 1
    with pytest.raises(UnsupportedError, match="no task for this kind of model · got ChoiceHeadConfig · expected one"):
        task_of(bert_like().replace(head=ChoiceHeadConfig()).build(seed=None))
    with pytest.raises(UnsupportedError, match="got no head"):
        task_of(bert_like().replace(head=None).build(seed=None))
    with pytest.raises(UnsupportedError, match="got TagHeadConfig"):  # which tokens were replaced: one score a token
        task_of(bert_like().replace(head=TagHeadConfig(n_labels=1)).build(seed=None))


def test_pairs_for_a_model_without_token_types():
    config = bert_like()
    config = config.replace(embedding=config.embedding.replace(n_segments=0), head=ClassifyHeadConfig(n_labels=2))
    hand = hand_of(config)
    (one,) = task_of(hand.model).predict(texts({"text": "a", "pair": "dog"}), hand)
    assert sum(one.said["probabilities"].values()) == pytest.approx(1)


def test_a_span_head_over_bytes():
    hand = hand_of(bert_like().replace(head=SpanHeadConfig()))
    (one,) = task_of(hand.model).predict(texts({"question": "who", "context": "täglich Ümläute"}), hand)
    assert one.value in "täglich Ümläute"
    json.dumps(one.said)


# -- measured ----------------------------------------------------------------------------------------------------------


def test_a_measure_is_that_of_the_predictions_beside_its_floor(tmp_path, words):
    _, hand = published(tmp_path, "BertForSequenceClassification", words)
    task = task_of(hand.model, measures=True)
    labels = ["O", "O", "B-x", "O", "I-x"]
    examples = texts(*({"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)))
    found, count = measure(task, examples, hand)
    said = [one.value for one in task.predict(examples, hand)]
    assert count == 5
    assert [one.metric for one in found] == ["accuracy", "macro_f1", "matthews"]
    accuracy = found[0]
    assert accuracy.value == sum(map(str.__eq__, said, labels)) / 5
    assert accuracy.floor == 3 / 5
    assert accuracy.low <= accuracy.value <= accuracy.high
    with pytest.raises(DataError, match=r"example 1: a label that is not in the set · got O-x · expected O, B-x, I-x"):
        measure(task, texts({"text": "a", "label": "O"}, {"text": "a", "label": "O-x"}), hand)


def test_floors():
    by = {task.WORD: task for task in tasks()}
    rows = texts({"words": "a b"}, {"words": "a c"}, {"words": "a b d"})
    tags = [["X", "Y"], ["Z", "Y"], ["Z", "Y", "W"]]  # Y is the usual one, and what c and d get
    assert by["tag"].trivial(rows, tags) == [["Z", "Y"], ["X", "Y"], ["X", "Y", "Y"]]
    assert by["regress"].trivial(rows, [1.0, 2.0, 6.0]) == [3.0] * 3
    assert by["classify"].trivial(rows, ["a", "b", "b"]) == ["b"] * 3
    assert by["write"].trivial(texts({"source": "x"}), ["y"]) == ["x"]
    contexts = texts({"context": " One two. Three."}, {"context": "no end"})
    assert by["answer"].trivial(contexts, [[], []]) == ["One two.", "no end"]
