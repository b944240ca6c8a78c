"""Answers in a context, and several labels of a text: places, windows, measures, and what is named when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from torch.nn import functional

from glassformer.checkpoints.folder import load
from glassformer.core.errors import ConfigError, DataError
from glassformer.data.examples import Example, read_examples
from glassformer.tokenizers.kinds import train_bpe, train_wordpiece
from glassformer.tokenizers.tokenizer import load_tokenizer
from glassformer.train.evaluate import measure_batches
from glassformer.train.objective import Reading
from glassformer.train.objectives.multi_label import MultiLabelConfig
from glassformer.train.objectives.span import SpanConfig
from glassformer.train.presets import bert
from glassformer.train.task_data import gather, prepare
from tests.train.test_objectives import batch_of, task

CONTEXT = "In the year 1889 the tower was built by Gustave Eiffel, who was born in Dijon. It is of iron. " * 3
QUESTION = "Who built it?"


def asked(answer="Gustave Eiffel", context=CONTEXT, **fields):
    start = context.index(answer)
    return {"question": QUESTION, "context": context, "answers": {"text": [answer], "answer_start": [start]}, **fields}


@pytest.fixture(scope="module")
def words():
    return train_wordpiece([CONTEXT, QUESTION], 120)


def windows(row, tokenizer, most=None, **settings):
    return SpanConfig(**settings).windows(Example("train.json, line 3", row), Reading(tokenizer, max_tokens=most))


@pytest.mark.parametrize("make", [train_wordpiece, train_bpe])
@pytest.mark.parametrize("answer", ["1889", "Gustave Eiffel", "iron.", "In", "ower"])
def test_the_tokens_of_the_answer_say_it(answer, make):
    tokenizer = make([CONTEXT, QUESTION], 300)
    (sample,) = windows(asked(answer), tokenizer)
    said = list(sample.tokens[sample.labels["start"] : sample.labels["end"] + 1])
    assert answer.lower().replace(" ", "") in tokenizer.decode(said).lower().replace(" ", "")
    assert list(sample.tokens) == tokenizer.encode((QUESTION, CONTEXT))
    assert len(said) <= len(tokenizer.encode(answer, add_special=False)) + 1


@pytest.mark.parametrize(("most", "stride"), [(40, 8), (32, 20), (48, 30)])
def test_windows_are_those_of_transformers(words, tmp_path, most, stride):
    words.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    row = asked("Dijon")
    ours = windows(row, words, most, stride=stride)
    room = most - len(words.encode((QUESTION, "")))
    shared = {"truncation": "only_second", "return_overflowing_tokens": True, "return_offsets_mapping": True}
    shared["return_token_type_ids"] = True
    found = theirs(QUESTION, CONTEXT, max_length=most, stride=room - stride, **shared)
    assert [list(one.tokens) for one in ours] == found["input_ids"] and len(ours) > 1
    assert [list(one.segments) for one in ours] == found["token_type_ids"]
    begin = row["answers"]["answer_start"][0]
    for number, (one, offsets) in enumerate(zip(ours, found["offset_mapping"], strict=True)):
        context = [place for place, which in enumerate(found.sequence_ids(number)) if which == 1]
        is_inside = offsets[context[0]][0] <= begin and offsets[context[-1]][1] >= begin + 5
        first = next((place for place in context if offsets[place][0] == begin), 0)
        last = next((place for place in context if offsets[place][1] == begin + 5), 0)
        assert (one.labels["start"], one.labels["end"]) == ((first, last) if is_inside else (0, 0))


def test_no_answer_points_at_the_first_token(words):
    for row in (asked(answers={"text": [], "answer_start": []}), asked(answers=[])):
        (sample,) = windows(row, words)
        assert (sample.labels["start"], sample.labels["end"]) == (0, 0)
    both = {"question": QUESTION, "context": "a tower", "answer": "", "start": 0}
    assert windows(both, words)[0].labels == {"start": 0, "end": 0}


def test_answers_are_told_in_three_ways(words):
    row = asked("Dijon")
    start = CONTEXT.index("Dijon")
    others = [
        {**row, "answers": [{"text": "Dijon", "answer_start": start}, {"text": "iron", "answer_start": 90}]},
        {"question": QUESTION, "context": CONTEXT, "answer": "Dijon", "start": str(start)},
    ]
    for other in others:
        assert windows(other, words)[0].labels == windows(row, words)[0].labels


WRONG = {
    "elsewhere": (
        {**asked(), "answers": {"text": ["Gustave Eiffel"], "answer_start": [41]}},
        "got 'ustave Eiffel,' at char",
    ),
    "before": ({**asked(), "answers": {"text": ["In"], "answer_start": [-2]}}, "the answer is not at its place"),
    "no number": ({**asked(), "answers": [{"text": "In", "answer_start": "x"}]}, "is no finite number"),
    "no place": ({**asked(), "answers": [{"text": "In"}]}, "no answer with its place"),
    "two lengths": ({**asked(), "answers": {"text": ["In"], "answer_start": []}}, "as many texts as places"),
    "no answers": ({**asked(), "answers": "In"}, "holds no answers"),
    "nothing": ({"question": QUESTION, "context": CONTEXT}, "no field 'answer'"),
    "a space": ({"question": QUESTION, "context": CONTEXT, "answer": " ", "start": 2}, "an answer without a token"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_is_named(case, words):
    row, what = WRONG[case]
    with pytest.raises(DataError, match=what) as caught:
        windows(row, words)
    assert str(caught.value).startswith("train.json, line 3: ")


def test_windows_with_gaps_and_without_room_are_refused(words):
    with pytest.raises(
        DataError, match="windows with gaps · got room for 23 tokens of the context in 30 · expected 128"
    ):
        windows(asked(), words, 30)
    with pytest.raises(DataError, match="a question leaves no room for its context"):
        windows(asked(), words, 5)
    with pytest.raises(ConfigError, match="stride"):
        SpanConfig(stride=0)


def test_the_loss_is_that_of_transformers(words, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.BertConfig(vocab_size=words.vocab_size, max_position_embeddings=128, **sizes)
    theirs = transformers.BertForQuestionAnswering(config).eval()
    theirs.save_pretrained(tmp_path)
    model, objective = load(tmp_path), SpanConfig()
    rows = [asked("Dijon"), asked("1889")]
    batch = batch_of(objective, prepare(objective, gather(rows, rows[:1]), model, words))
    assert batch.valid is None
    loss, metrics = objective.loss_sum(model, batch)
    labels = {"start_positions": batch.labels["start"], "end_positions": batch.labels["end"]}
    expected = theirs(input_ids=batch.tokens, token_type_ids=batch.segments, **labels)
    torch.testing.assert_close(loss / len(batch), expected.loss, rtol=1e-4, atol=1e-5)
    right = (expected.start_logits.argmax(-1) == batch.labels["start"]).sum()
    assert metrics["start"] == right


def test_padding_is_no_place_for_an_answer():
    objective, model, data = task("span")
    batch = batch_of(objective, data)
    assert batch.valid is not None
    whole = objective.loss_sum(model, batch)[0].item()
    rows = [batch[row : row + 1] for row in range(len(batch))]
    alone = []
    for row in rows:
        length = int(row.valid.sum())
        alone.append(type(row)(row.tokens[:, :length], None, row.segments[:, :length], None, row.labels))
    assert sum(objective.loss_sum(model, row)[0].item() for row in alone) == pytest.approx(whole, rel=1e-5)


DATA = Path(__file__).parents[3] / "shared/data"


@pytest.mark.skipif(not (DATA / "xquad").is_dir(), reason="../shared/data/xquad is not here")
@pytest.mark.parametrize("language", ["en", "es"])
def test_every_answer_of_xquad_is_found_in_its_tokens(language, tmp_path):
    (tmp_path / "vocab.txt").write_bytes((DATA / "tokenizers/bert-base-uncased-vocab.txt").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    tokenizer, objective = load_tokenizer(tmp_path), SpanConfig(stride=64)
    reading = Reading(tokenizer, max_tokens=200)
    examples = list(read_examples(DATA / f"xquad/xquad.{language}.json.gz"))[::4]
    several = exact = 0
    for example in examples:
        (whole,) = objective.windows(example, Reading(tokenizer))
        answer, start = (example["answers"][0][key] for key in ("text", "answer_start"))
        around = whole.labels["start"] - len(tokenizer.encode(example["question"], literal=True))
        offsets = tokenizer.offsets(example["context"], add_special=False, literal=True)
        first, last = offsets[around][0], offsets[whole.labels["end"] - whole.labels["start"] + around][1]
        assert first <= start < start + len(answer) <= last
        exact += (first, last) == (start, start + len(answer))
        rows = objective.windows(example, reading)
        several += len(rows) > 1
        inside = [row for row in rows if row.labels["end"]]
        assert all(len(row.tokens) <= 200 for row in rows)
        for row in inside:
            ids = row.tokens[row.labels["start"] : row.labels["end"] + 1]
            assert ids == whole.tokens[whole.labels["start"] : whole.labels["end"] + 1]
        assert inside
    assert len(examples) == 298 and several > 20 and exact > 290


# -- several labels ----------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_torch_and_the_measures_those_of_counting():
    objective, model, data = task("multi_label")
    batch = batch_of(objective, data)
    labels = batch.labels["labels"][:, :2]
    loss, _ = objective.loss_sum(model, batch)
    logits = model(batch)
    mean = functional.binary_cross_entropy_with_logits(logits, labels.float())
    torch.testing.assert_close(loss / objective.weight(batch), mean)
    assert objective.weight(batch) == 10
    with torch.no_grad():
        model.head.proj.bias.copy_(torch.tensor([1.0, -1.0]))
        model.head.proj.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(3))
    said, right = model(batch) > 0, labels == 1
    found = measure_batches(model, objective, [batch[:2], batch[2:]], data.tokenizer, 0)
    hits = int((said & right).sum())
    assert found["exact"] == pytest.approx(float((said == right).all(-1).float().mean()))
    assert found["precision"] == pytest.approx(hits / max(int(said.sum()), 1))
    assert found["recall"] == pytest.approx(hits / int(right.sum()))
    assert found["f1"] == pytest.approx(2 * hits / int(said.sum() + right.sum()))


def test_labels_are_a_list_or_a_text_with_commas():
    rows = [{"text": "a", "labels": ["x", "y"]}, {"text": "b", "labels": "y, x"}, {"text": "c", "labels": ""}]
    rows += [{"text": "d", "labels": []}, {"text": "e", "labels": "z"}]
    objective = MultiLabelConfig()
    examples = gather(rows, rows[:1])
    assert examples.labels(objective) == ("x", "y", "z")
    tokenizer = train_wordpiece("abcde", 50)
    body = bert(50, 32, d_model=16, n_layers=1, n_heads=2)
    model = objective.fit(body, 3).build()
    samples = prepare(objective, examples, model, tokenizer).sampler.samples
    assert [list(sample.labels["labels"]) for sample in samples] == [
        [1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1],
    ]  # fmt: skip
    batch = batch_of(objective, prepare(objective, examples, model, tokenizer))
    assert batch.labels["labels"].shape == (5, 3) == (len(rows), max(3, batch.tokens.shape[1]))


def test_more_labels_than_tokens():
    rows = [{"text": "a", "labels": [f"l{number:02}" for number in range(part, 40, 3)]} for part in range(3)]
    objective = MultiLabelConfig()
    examples = gather(rows, rows[:1])
    tokenizer = train_wordpiece("abcde", 50)
    model = objective.fit(bert(50, 32, d_model=16, n_layers=1, n_heads=2), 40).build()
    batch = batch_of(objective, prepare(objective, examples, model, tokenizer))
    assert objective.weight(batch) == 120
    logits = model(batch)
    expected = functional.binary_cross_entropy_with_logits(logits, batch.labels["labels"].float(), reduction="sum")
    torch.testing.assert_close(objective.loss_sum(model, batch)[0], expected)
