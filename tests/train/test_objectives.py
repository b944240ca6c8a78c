"""Every objective: the same gradient however a batch is cut, one batch learned by heart, wrong models refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from torch.nn import functional

from glassformer.core.discovery import load, names
from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.batch import IGNORED
from glassformer.tokenizers.kinds import byte_tokenizer, train_bpe, train_sequences, train_wordpiece
from glassformer.tokenizers.tokenizer import Tokenizer
from glassformer.train.objective import ExampleObjectiveConfig
from glassformer.train.optimizers import AdamWConfig
from glassformer.train.presets import bert, gpt, t5
from glassformer.train.state import Machine
from glassformer.train.step import Learner
from glassformer.train.task_data import TaskData, gather, prepare, special_tokens

TEXTS = ["the cat sat on the mat", "a dog", "it rained all day and all of the night", "why not", "the mat is on a dog"]
ROWS = [
    {"text": text, "label": number, "source": text, "target": text[::-1], "words": text.split(),
     "tags": [word[0] for word in text.split()], "labels": ["one"] * (number == 1) + ["some"] * (number > 0),
     "question": "which one?", "context": text,
     "answers": {"text": text.split()[1:2], "answer_start": [text.find(" ") + 1]},
     "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text[::-1]}]}
    for text, number in zip(TEXTS, (0, 1, 0, 2, 1), strict=True)
]  # fmt: skip
PAIRED = [{**row, "pair": text} for row, text in zip(ROWS, TEXTS[::-1], strict=True)]
#: Name → preset of the body, and examples.
TASKS = {
    "classify": (bert, ROWS), "classify pairs": (bert, PAIRED), "classify by a decoder": (gpt, ROWS),
    "regress": (bert, ROWS), "tag": (bert, ROWS), "masked_token": (bert, ROWS), "sequence_to_sequence": (t5, ROWS),
    "multi_label": (bert, ROWS), "span": (bert, ROWS), "span by a decoder": (gpt, ROWS), "span_corruption": (t5, ROWS),
    "denoising": (t5, ROWS), "prefix": (gpt, ROWS), "prefix by an encoder": (t5, ROWS),
    "fill_in_the_middle": (gpt, ROWS), "chat": (gpt, ROWS),
}  # fmt: skip
MAKERS = {bert: train_wordpiece, t5: train_sequences, gpt: train_bpe}
SETTINGS = {"prefix by an encoder": {"encoder": True}}
TALK = """{% for one in messages %}<|{{ one.role }}|>{{ one.content }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""
#: Tokens that a tokenizer gets beside those that it has learned, and what it is told about them.
EXTRA = {
    "fill_in_the_middle": (["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"], {}),
    "span_corruption": ([f"<extra_id_{number}>" for number in range(40)], {}),
    "denoising": (["<mask>"], {"mask_token": "<mask>"}),
    "chat": (["<|user|>", "<|assistant|>", "<|end|>"], {"chat_template": TALK, "eos_token": "<|end|>"}),
}


def with_tokens(plain: Tokenizer, tokens, settings) -> Tokenizer:
    """The tokenizer with more special tokens behind the ones that it has."""
    backend = tokenizers.Tokenizer.from_str(plain._source)
    backend.add_special_tokens(tokens)
    return Tokenizer(backend.to_str(), {**plain.settings, **settings})


def task(name, seed=0):
    """Objective, model and data."""
    form, rows = TASKS[name]
    word = name.partition(" ")[0]
    objective: ExampleObjectiveConfig = load("train.objectives", word).OBJECTIVE(**SETTINGS.get(name, {}))
    examples = gather(rows, rows[:3])
    tokenizer = with_tokens(MAKERS[form](examples.texts(objective), 300), *EXTRA.get(word, ([], {})))
    labels = examples.labels(objective)
    body = form(tokenizer.vocab_size, 64, d_model=16, n_layers=1, n_heads=2)
    model = objective.fit(body, objective.labels(len(labels))).build(seed=seed)
    objective.check_model(model.config)
    model.special = special_tokens(tokenizer, writes=form is t5)
    return objective, model, prepare(objective, examples, model, tokenizer)


def batch_of(objective, data: TaskData):
    batch, _ = data.sampler.draw((0,), 10_000, 1)
    return objective.prepare(batch, data.tokenizer, 0)


def gradient(objective, model, pieces, weights):
    model.zero_grad()
    for piece, weight in zip(pieces, weights, strict=True):
        (objective.loss_sum(model, piece)[0] / weight).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", TASKS)
def test_any_cut_of_a_batch_gives_the_same_gradient(name):
    objective, model, data = task(name)
    batch = batch_of(objective, data)
    assert len(batch) == 5
    weight, pieces = objective.weight(batch), batch.cut(2)
    whole = gradient(objective, model, [batch], [weight])
    cut = gradient(objective, model, pieces, [weight] * 3)
    assert (cut - whole).norm() <= 1e-6 * whole.norm()
    means = gradient(objective, model, pieces, [3 * objective.weight(piece) for piece in pieces])
    assert (means - whole).norm() > 1e-3 * whole.norm()  # a mean of means weighs a short row as a long one


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_is_learned_by_heart(name):
    objective, model, data = task(name)
    batch = batch_of(objective, data)
    learner = Learner(model, objective, AdamWConfig().build(model, 3e-2), Machine(), 1.0, 0)
    losses = [learner.step(batch, number=number, micro_rows=8, factor=1.0).loss for number in range(80)]
    floor = 0.1 * np.log(data.tokenizer.vocab_size) if name == "sequence_to_sequence" else 0.0  # of smoothing
    assert losses[-1] - floor < 0.4 * (losses[0] - floor)


@pytest.mark.parametrize("name", TASKS)
def test_a_model_of_another_kind_is_refused(name):
    objective, *_ = task(name)
    other = bert(300, 64, d_model=16, n_layers=1, n_heads=2).replace(head=None)
    with pytest.raises(UnsupportedError, match="got an encoder with no head"):
        objective.check_model(other)


def test_the_page_says_what_each_objective_reads_and_which_settings_it_has():
    page = (Path(__file__).parents[2] / "docs/objectives.md").read_text("utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert {*rows} == {*names("train.objectives")}
    for name, row in rows.items():
        objective = load("train.objectives", name).OBJECTIVE
        words = set(re.findall(r"`([a-z_]+)`", row)) | (
            {"rate", "whole_words"} if "those of `masked_token`" in row else set()
        )
        settings = {field.name for field in dataclasses.fields(objective)}
        assert settings <= words, f"{name}: {settings - words}"
        if name not in ("next_token", "distill"):
            assert {*objective.FIELDS} <= words, name


def test_the_loss_of_a_class_is_that_of_torch():
    objective, model, data = task("classify")
    batch = batch_of(objective, data)
    loss, metrics = objective.loss_sum(model, batch)
    logits, label = model(batch), batch.labels["label"]
    assert torch.allclose(loss, functional.cross_entropy(logits, label, reduction="sum"))
    assert metrics["accuracy"] == (logits.argmax(-1) == label).sum()
    smooth = objective.replace(smoothing=0.2).loss_sum(model, batch)[0]
    assert torch.allclose(smooth, functional.cross_entropy(logits, label, reduction="sum", label_smoothing=0.2))


def test_pairs_have_two_segments():
    objective, _, data = task("classify pairs")
    batch = batch_of(objective, data)
    assert batch.segments.unique().tolist() == [0, 1]


def test_a_target_is_given_one_place_later_and_ends():
    _, _, data = task("sequence_to_sequence")
    sample = data.sampler.samples[0]
    end = data.tokenizer.special.end
    assert list(sample.target) == [data.tokenizer.special.pad, *sample.labels["tokens"][:-1]]
    assert sample.labels["tokens"][-1] == end and sample.tokens[-1] == end
    assert data.tokenizer.decode(sample.labels["tokens"]) == ROWS[0]["target"]


def test_a_tag_stands_at_the_first_token_of_its_word():
    _, _, data = task("tag")
    for sample, row in zip(data.sampler.samples, ROWS, strict=True):
        places = [place for place, tag in enumerate(sample.labels["tags"]) if tag != IGNORED]
        assert [data.labels[sample.labels["tags"][place]] for place in places] == row["tags"]
        pieces = [data.tokenizer.token_content(sample.tokens[place]) for place in places]
        assert all(word.startswith(piece) for word, piece in zip(row["words"], pieces, strict=True))


WRONG = {
    "classify": ({"text": "x"}, "no field 'label'"),
    "regress": ({"text": "x", "label": "nan"}, "is no finite number"),
    "tag": ({"words": ["a", "b"], "tags": ["x"]}, "2 words and 1 tags"),
    "sequence_to_sequence": ({"source": "x" * 500, "target": "y"}, "longer than the model"),
    "masked_token": ({"text": 3}, "is not text"),
    "multi_label": ({"text": "x", "labels": 3}, "is no list of labels"),
    "span": ({"question": "x", "context": "a b", "answer": "b", "start": 1}, "' ' at character 1 · expected 'b'"),
    "span_corruption": ({"text": "x"}, "a text is too short"),
    "denoising": ({"text": "x"}, "a text is too short"),
    "prefix": ({"text": ""}, "a text is too short"),
    "fill_in_the_middle": ({"text": ""}, "a text is too short"),
    "chat": ({"messages": [{"role": "user", "content": "x"}]}, "a conversation without an answer"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_example_that_cannot_be_used_is_named(name):
    row, what = WRONG[name]
    objective, model, data = task(name)
    model.config = model.config.replace(max_positions=64)
    with pytest.raises(DataError, match=what) as caught:
        prepare(objective, gather([*ROWS, row], ROWS), model, data.tokenizer)
    assert "example 5" in str(caught.value)


def test_a_label_that_was_not_trained_is_named():
    objective, model, data = task("classify")
    strange = [{**ROWS[0], "label": "7"}]
    with pytest.raises(DataError, match="example 0: a label that is not in the set · got 7 · expected 0, 1, 2"):
        prepare(objective, gather(ROWS, strange), model, data.tokenizer)


# -- masked tokens ----------------------------------------------------------------------------------------------------


def masked(text="the cat sat on the mat " * 40, size=80, **settings):
    tokenizer = train_wordpiece([text], size)
    objective = load("train.objectives", "masked_token").OBJECTIVE(**settings)
    config = bert(tokenizer.vocab_size, 512, d_model=16, n_layers=1, n_heads=2)
    examples = gather([{"text": text}] * 40, [{"text": text}])
    data = prepare(objective, examples, config.build(), tokenizer)
    batch, _ = data.sampler.draw((0,), 10**6, 1)
    return objective, tokenizer, batch, objective.prepare(batch, tokenizer, 0)


def test_15_percent_are_chosen_80_10_10():
    _, tokenizer, batch, hidden = masked()
    chosen = hidden.labels["tokens"] != IGNORED
    assert torch.equal(hidden.labels["tokens"][chosen], batch.tokens[chosen])
    assert torch.equal(hidden.tokens[~chosen], batch.tokens[~chosen])
    inside = ~torch.isin(batch.tokens, torch.tensor(sorted(tokenizer.special_ids)))
    assert not (chosen & ~inside).any() and 0.13 < chosen.sum() / inside.sum() < 0.17
    shown = hidden.tokens[chosen]
    is_mask, as_it_is = shown == tokenizer.special.mask, shown == batch.tokens[chosen]
    assert 0.77 < is_mask.float().mean() < 0.83 and 0.09 < as_it_is.float().mean() < 0.18
    assert not torch.isin(shown[~is_mask & ~as_it_is], torch.tensor(sorted(tokenizer.special_ids))).any()


def test_a_row_is_masked_by_its_number_alone():
    objective, tokenizer, batch, hidden = masked()
    again = objective.prepare(batch[7:9], tokenizer, 0)
    assert torch.equal(again.tokens, hidden.tokens[7:9])
    assert not torch.equal(hidden.tokens[0], hidden.tokens[1])  # the same text in another sample
    assert not torch.equal(objective.prepare(batch, tokenizer, 1).tokens, hidden.tokens)


def test_whole_words_are_chosen_together():
    _, tokenizer, batch, hidden = masked("unbelievable catamarans antidisestablishment " * 10, 40, whole_words=True)
    pieces = [[tokenizer.token_content(int(token)) for token in row] for row in batch.tokens]
    assert any(piece.startswith("##") for piece in pieces[0])
    chosen = (hidden.labels["tokens"] != IGNORED).numpy()
    for row, words in enumerate(pieces):
        for place in range(1, len(words)):
            if words[place].startswith("##"):
                assert chosen[row, place] == chosen[row, place - 1]


def test_a_tokenizer_without_a_mask_is_refused():
    objective, _, batch, _ = masked()
    with pytest.raises(UnsupportedError, match="a tokenizer without a mask token"):
        objective.prepare(batch, byte_tokenizer(), 0)
