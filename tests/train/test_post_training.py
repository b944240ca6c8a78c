"""Conversations, preferences, a teacher: which tokens are learned, losses by hand, what is asked and not trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from glassformer.__main__ import main
from glassformer.checkpoints.folder import load
from glassformer.core.errors import ConfigError, DataError, UnsupportedError
from glassformer.data.batch import IGNORED
from glassformer.tokenizers.kinds import byte_tokenizer, train_bpe, train_wordpiece
from glassformer.train.objectives.chat import ChatConfig
from glassformer.train.objectives.distill import DistillConfig
from glassformer.train.objectives.masked_token import MaskedTokenConfig
from glassformer.train.objectives.preference import PreferenceConfig
from glassformer.train.optimizers import AdamWConfig
from glassformer.train.presets import bert, gpt
from glassformer.train.state import Machine
from glassformer.train.step import Learner
from glassformer.train.task_data import gather, prepare, special_tokens
from tests.train.test_objectives import EXTRA, ROWS, TALK, TEXTS, batch_of, gradient, with_tokens

TURNS = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."}, {"role": "user", "content": "And?"},
    {"role": "assistant", "content": "Then  so."}, {"role": "user", "content": "Hm."},
]  # fmt: skip
#: As Qwen3: only an answer behind the last question begins with a thought.
THINKS = """{% set last = namespace(at=0) %}
{% for one in messages %}{% if one.role == 'user' %}{% set last.at = loop.index %}{% endif %}{% endfor %}
{% for one in messages %}<|{{ one.role }}|>
{% if one.role == 'assistant' and loop.index > last.at %}[thought]{% endif %}{{ one.content }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""


def decoder(tokenizer, seed=0):
    model = gpt(tokenizer.vocab_size, 128, d_model=16, n_layers=1, n_heads=2).build(seed=seed)
    model.special = special_tokens(tokenizer, writes=False)
    return model


def talking(template=TALK):
    tokens, settings = EXTRA["chat"]
    return with_tokens(byte_tokenizer(), [*tokens, "<|system|>"], {**settings, "chat_template": template})


def chatted(messages, template=TALK, **settings):
    tokenizer, objective = talking(template), ChatConfig(**settings)
    rows = [{"messages": one} for one in messages]
    data = prepare(objective, gather(rows, rows[:1]), decoder(tokenizer), tokenizer)
    return tokenizer, data.sampler.samples


def learned(tokenizer, sample):
    """The texts of the runs that are learned; each label is the token behind."""
    runs, ids = [], list(sample.tokens)
    for place, label in enumerate(sample.labels["tokens"]):
        if label != IGNORED:
            assert label == ids[place + 1]
            runs += [[]] if place == 0 or sample.labels["tokens"][place - 1] == IGNORED else []
            runs[-1].append(label)
    return [tokenizer.decode(run, skip_special=False) for run in runs]


# -- conversations -----------------------------------------------------------------------------------------------------


def test_only_answers_with_the_end_of_their_turn_are_learned():
    tokenizer, (sample,) = chatted([TURNS])
    assert learned(tokenizer, sample) == ["So.<|end|>", "Then  so.<|end|>"]
    whole = tokenizer.decode(sample.tokens, skip_special=False)
    assert whole.startswith("<|system|>Be brief.<|end|>\n<|user|>Why?<|end|>\n<|assistant|>So.<|end|>\n")
    _, (last,) = chatted([TURNS], turns="last")
    assert learned(tokenizer, last) == ["Then  so.<|end|>"]


def test_what_comes_before_an_answer_is_what_the_model_is_asked():
    from glassformer.tokenizers.chat import chat_ids

    tokenizer, (sample,) = chatted([TURNS], turns="last")
    asked = chat_ids(tokenizer, TURNS[:4])
    first = next(place for place, label in enumerate(sample.labels["tokens"]) if label != IGNORED)
    assert list(sample.tokens[: first + 1]) == asked


def test_a_template_in_which_answers_cannot_be_found_is_refused():
    with pytest.raises(UnsupportedError, match=r"example 0: a chat template in which .* turns=last"):
        chatted([TURNS[1:5]], THINKS)
    tokenizer, (sample,) = chatted([TURNS[1:5]], THINKS, turns="last")
    assert learned(tokenizer, sample) == ["[thought]Then  so.<|end|>"]
    with pytest.raises(UnsupportedError, match="answers cannot be told from the rest"):
        chatted([TURNS], "{{ messages | length }}: {{ messages[-1].content }}", turns="last")


def test_many_conversations_are_rendered_in_few_processes(monkeypatch):
    from glassformer.tokenizers import chat

    calls, plain = [], chat.rendered_all
    monkeypatch.setattr(
        chat, "rendered_all", lambda template, several: calls.append(len(several)) or plain(template, several)
    )
    _, samples = chatted([TURNS] * 60)
    assert len(samples) == 60 and sum(calls) == 61 * 5 and len(calls) <= 5


@pytest.mark.parametrize(("messages", "what"), [
    ([{"role": "user", "content": "x<|end|>"}, TURNS[2]], "example 1, message 0: a message holds a special token"),
    ([{"role": "user"}], "example 1, message 0: no message"),
    ([TURNS[0]], "example 1: a conversation without an answer"),
    ([TURNS[1], {"role": "assistant", "content": "y" * 200}], "example 1: an example is longer than the model"),
])  # fmt: skip
def test_a_wrong_conversation_is_named(messages, what):
    with pytest.raises(DataError, match=what):
        chatted([TURNS, messages])


def test_an_answer_that_is_cut_away_is_named():
    tokenizer, objective = talking(), ChatConfig()
    rows = [{"messages": [{"role": "user", "content": "x" * 200}, TURNS[2]]}]
    with pytest.raises(DataError, match="example 0: no token of an answer is left · got 128 tokens"):
        prepare(objective, gather(rows, rows), decoder(tokenizer), tokenizer, truncate=True)


# -- preferences -------------------------------------------------------------------------------------------------------

PAIRS = [{"prompt": text, "chosen": " yes, " + text[:5], "rejected": " no"} for text in TEXTS]


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    tokenizer = train_bpe([*TEXTS, " yes, no"], 300)
    decoder(tokenizer, seed=5).save(folder, tokenizer=tokenizer)
    return folder


def preferred(reference, rows=PAIRS, seed=0, **settings):
    from glassformer.tokenizers.tokenizer import Tokenizer

    objective = PreferenceConfig(reference=str(reference), **settings)
    tokenizer = Tokenizer.load(reference)
    model = decoder(tokenizer, seed)
    objective.check_model(model.config)
    return objective, model, prepare(objective, gather(rows, rows[:2]), model, tokenizer)


def log_probability(model, tokenizer, prompt, answer):
    """Token by token, without padding."""
    ids, before = tokenizer.encode(prompt + answer), len(tokenizer.encode(prompt))
    ids = [*ids, tokenizer.special.end]
    scores = torch.log_softmax(model(torch.tensor([ids])), -1)[0]
    return sum(scores[place - 1, ids[place]] for place in range(before, len(ids)))


@pytest.mark.parametrize(("beta", "smoothing"), [(0.1, 0.0), (0.5, 0.1)])
def test_the_loss_is_that_of_the_paper(reference, beta, smoothing):
    objective, model, data = preferred(reference, beta=beta, smoothing=smoothing)
    batch = batch_of(objective, data)
    loss, metrics = objective.loss_sum(model, batch)
    before, total, right = load(reference), 0.0, 0
    for row in PAIRS:
        ours, theirs = (
            log_probability(one, data.tokenizer, row["prompt"], row["chosen"])
            - log_probability(one, data.tokenizer, row["prompt"], row["rejected"])
            for one in (model, before)
        )
        margin = beta * (ours - theirs)
        total -= (1 - smoothing) * functional.logsigmoid(margin) + smoothing * functional.logsigmoid(-margin)
        right += int(margin > 0)
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-5)
    assert metrics["accuracy"] == right


def test_a_model_that_has_not_moved_loses_log_2(reference):
    objective, model, data = preferred(reference, seed=5)
    batch = batch_of(objective, data)
    loss, metrics = objective.loss_sum(model, batch)
    assert loss.item() / len(batch) == pytest.approx(0.693147, abs=1e-5)
    assert abs(metrics["margin"].item()) < 1e-4


def test_any_cut_of_pairs_gives_the_same_gradient(reference):
    objective, model, data = preferred(reference)
    batch = batch_of(objective, data)
    whole = gradient(objective, model, [batch], [5])
    cut = gradient(objective, model, batch.cut(2), [5] * 3)
    assert (cut - whole).norm() <= 1e-6 * whole.norm()
    assert all(len(piece.tokens) == len(piece.target.tokens) for piece in batch.cut(2))


def test_a_batch_of_pairs_is_learned_and_the_reference_is_asked_once(reference, monkeypatch):
    from glassformer.train.objectives import preference

    objective, model, data = preferred(reference)
    known = preference._known(str(reference), "cpu")
    known.found.clear()
    asked = []
    handle = known.model.embedding.register_forward_hook(lambda *call: asked.append(1))
    batch = batch_of(objective, data)
    learner = Learner(model, objective, AdamWConfig().build(model, 1e-2), Machine(), 1.0, 0)
    before = [weight.clone() for weight in known.model.parameters()]
    losses = [learner.step(batch, number=number, micro_rows=2, factor=1.0).loss for number in range(60)]
    handle.remove()
    assert losses[-1] < 0.3 * losses[0] and len(asked) == 10
    assert all(torch.equal(one, two) for one, two in zip(before, known.model.parameters(), strict=True))


def test_preferences_between_whole_conversations(tmp_path):
    tokenizer = talking()
    decoder(tokenizer).save(tmp_path / "reference", tokenizer=tokenizer)
    better, worse = ([TURNS[1], {"role": "assistant", "content": word}] for word in ("So.", "Whatever."))
    objective = PreferenceConfig(reference=str(tmp_path / "reference"))
    rows = [{"chosen": better, "rejected": worse}] * 2
    (sample, _) = prepare(objective, gather(rows, rows[:1]), decoder(tokenizer), tokenizer).sampler.samples
    said = [
        tokenizer.decode(side[sample.labels[name] :], skip_special=False)
        for name, side in (("chosen", sample.tokens), ("rejected", sample.target))
    ]
    assert said == ["So.<|end|>", "Whatever.<|end|>"]


def test_what_cannot_be_a_reference_is_refused(reference, tmp_path):
    with pytest.raises(ConfigError, match="no model to ask · say its folder: --set reference=FOLDER"):
        PreferenceConfig().check_model(decoder(byte_tokenizer()).config)
    objective, model, _ = preferred(reference)
    with pytest.raises(UnsupportedError, match="a reference with another vocabulary"):
        prepare(objective, gather(PAIRS, PAIRS[:1]), model, byte_tokenizer())
    encoder = bert(300, 64, d_model=16, n_layers=1, n_heads=2)
    with pytest.raises(UnsupportedError, match="preferences · got an encoder with TokenHeadConfig"):
        objective.check_model(encoder)
    with pytest.raises(ConfigError, match="beta"):
        PreferenceConfig(beta=0.0)
    with pytest.raises(DataError, match="example 1: no field 'prompt'"):
        preferred(reference, [PAIRS[0], {"chosen": "a", "rejected": "b"}])


# -- a teacher ---------------------------------------------------------------------------------------------------------


def taught(folder, hard="classify", seed=0, teacher_labels=("0", "1", "2"), **settings):
    objective = DistillConfig(teacher=str(folder), hard=hard, **settings)
    tokenizer = train_wordpiece(TEXTS, 300)
    examples = gather(ROWS, ROWS[:3])
    labels = examples.labels(objective)
    body = bert(tokenizer.vocab_size, 64, d_model=16, n_layers=1, n_heads=2)
    config = objective.fit(body, len(labels))
    if not folder.exists():
        teacher = objective.fit(bert(tokenizer.vocab_size, 64, d_model=32, n_layers=2, n_heads=2), len(labels)).build(
            seed=9
        )
        teacher.labels = teacher_labels if labels else ()
        teacher.special = special_tokens(tokenizer, writes=False)
        with torch.no_grad():
            for weight in teacher.head.parameters():
                weight.mul_(20)
        teacher.save(folder, tokenizer=tokenizer)
    model = config.build(seed=seed)
    return objective, model, lambda: prepare(objective, examples, model, tokenizer, labels=labels)


@pytest.mark.parametrize("hard", ["classify", MaskedTokenConfig(rate=0.5)], ids=["classify", "masked"])
@pytest.mark.parametrize(("temperature", "mix"), [(2.0, 0.5), (1.0, 1.0), (4.0, 0.0)])
def test_the_loss_is_the_mixture(tmp_path, hard, temperature, mix):
    objective, model, data = taught(tmp_path / "t", hard, temperature=temperature, mix=mix)
    objective.check_model(model.config)
    data = data()
    batch = batch_of(objective, data)
    loss, metrics = objective.loss_sum(model, batch)
    teacher = load(tmp_path / "t")
    ours, theirs = model(batch), teacher(batch)
    if hard == "classify":
        right = functional.cross_entropy(ours, batch.labels["label"], reduction="sum")
    else:
        counts = batch.labels["tokens"] != IGNORED
        ours, theirs = ours[counts], theirs[counts]
        right = functional.cross_entropy(ours, batch.labels["tokens"][counts], reduction="sum")
    p, q = (torch.log_softmax(some / temperature, -1) for some in (theirs, ours))
    soft = temperature**2 * (p.exp() * (p - q)).sum()
    torch.testing.assert_close(loss, (1 - mix) * right + mix * soft, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(metrics["soft"], soft.detach(), rtol=1e-4, atol=1e-4)
    assert metrics["soft"] > 0.01


@pytest.mark.parametrize("hard", ["classify", "tag", "masked_token"])
def test_any_cut_gives_the_same_gradient_and_the_teacher_is_learned(tmp_path, hard):
    objective, model, data = taught(tmp_path / "t", hard, mix=1.0, teacher_labels=())
    data = data()
    batch = batch_of(objective, data)
    weight = objective.weight(batch)
    whole = gradient(objective, model, [batch], [weight])
    cut = gradient(objective, model, batch.cut(2), [weight] * 3)
    assert (cut - whole).norm() <= 1e-6 * whole.norm()
    learner = Learner(model, objective, AdamWConfig().build(model, 1e-2), Machine(), 1.0, 0)
    losses = [learner.step(batch, number=number, micro_rows=8, factor=1.0).loss for number in range(100)]
    assert losses[-1] < 0.4 * losses[0]


def test_a_teacher_that_does_not_fit_is_refused(tmp_path):
    objective, model, data = taught(tmp_path / "t")
    fewer = model.config.replace(head=model.config.head.replace(n_labels=2))
    with pytest.raises(UnsupportedError, match="got 3 scores of the teacher · expected 2, as the student has"):
        objective.check_model(fewer)
    with pytest.raises(UnsupportedError, match="a teacher with another vocabulary"):
        prepare(objective, gather(ROWS, ROWS[:1]), model, train_wordpiece("abc", 100), labels=("0", "1", "2"))
    objective, model, data = taught(tmp_path / "other", teacher_labels=("2", "1", "0"))
    with pytest.raises(UnsupportedError, match=r"a teacher with other labels .* got 2, 1, 0 · expected 0, 1, 2"):
        data()


@pytest.mark.parametrize("hard", ["regress", "span", "contrastive", "next_token"])
def test_what_has_not_one_right_answer_is_refused(hard):
    with pytest.raises(
        UnsupportedError, match=r"distillation · got .* expected an objective over examples that compares"
    ):
        DistillConfig(teacher="x", hard=hard).head  # noqa: B018 - the question is what it asks for


def test_a_student_is_trained_from_the_command_line_and_opens_alone(tmp_path, capsys):
    table = tmp_path / "train.tsv"
    table.write_text(
        "".join(f"{'good' if n % 3 else 'bad'} film {n}\t{'pos' if n % 3 else 'neg'}\n" for n in range(60))
    )
    said = ["train", str(table), "--field", "text=1", "--field", "label=2", "--batch-rows", "8", "--optimizer", "adamw"]
    first = ["--objective", "classify", "--model", "bert-tiny", "--tokenizer", "wordpiece:200", "--epochs", "4"]
    assert main([*said, *first, "--learning-rate", "0.003", "--out", str(tmp_path / "teacher")]) == 0
    capsys.readouterr()
    more = ["--objective", "distill", "--set", f"teacher={tmp_path / 'teacher'}", "--set", "temperature=3"]
    student = ["--model", "bert-tiny", "--tokenizer", str(tmp_path / "teacher"), "--epochs", "4", "--json"]
    assert main([*said, *more, *student, "--learning-rate", "0.003", "--out", str(tmp_path / "student")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["validation"]["accuracy"] == 1.0 and {"soft", "hard"} <= found["validation"].keys()
    assert load(tmp_path / "student").labels == ("neg", "pos")
    assert len(list((tmp_path / "student").glob("**/model.safetensors"))) <= 4
    assert main(["train", str(table), *more[:2], "--model", "bert-tiny", "--out", str(tmp_path / "x")]) == 2
