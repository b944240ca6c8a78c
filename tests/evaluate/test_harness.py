"""EleutherAI's harness asks our models; its tasks are made up here."""

from __future__ import annotations

import json

import pytest
import torch

import glassformer as gf
from glassformer.core.errors import DataError, UnsupportedError
from glassformer.models.transformer import SpecialTokens
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.builders import gpt_like, lively, t5_like

pytest.importorskip("lm_eval", reason="lm_eval is not installed: pip install 'glassformer[eval]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # what the harness and its libraries warn of is theirs

TASKS = {
    "choose": """
task: choose
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}]
""",
    "predict": """
task: predict
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: bits_per_byte}]
""",
    "go_on": """
task: go_on
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{written}}"
generation_kwargs: {until: [], max_gen_toks: 6}
metric_list: [{metric: exact_match}]
""",
}
QUESTIONS = ["the cat", "a dog on the mat", "why"]
CHOICES = [" sat", " ran away", "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("harness") / "model"
    model = lively(gpt_like().replace(vocab_size=257))
    model.special = SpecialTokens(end=(256,))
    model.save(place, tokenizer=byte_tokenizer())
    return str(place)


@pytest.fixture(scope="module")
def model(folder):
    from glassformer.evaluate.harness import GlassformerLM

    return GlassformerLM(model=folder)


def asked(*arguments):
    from lm_eval.api.instance import Instance

    return [Instance("loglikelihood", {}, one, 0) for one in arguments]


def log_probability(folder, ids, count):
    """Of the last ``count`` tokens, and whether each is the most probable one."""
    with torch.no_grad():
        logits = gf.load(folder)(torch.tensor([ids[:-1]]))[0, -count:].log_softmax(-1)
    found = logits[range(count), ids[-count:]].sum()
    return float(found), logits.argmax(-1).tolist() == ids[-count:]


def test_log_probabilities_are_those_of_the_model(model, folder):
    pairs = [(question, choice) for question in [*QUESTIONS, ""] for choice in CHOICES]
    for (question, choice), (value, is_greedy) in zip(pairs, model.loglikelihood(asked(*pairs)), strict=True):
        ids = [*(question.encode() or [256]), *choice.encode()]
        expected, greedy = log_probability(folder, ids, len(choice))
        assert value == pytest.approx(expected, abs=1e-3)
        assert is_greedy == greedy


def test_what_would_be_written_is_greedy(model, folder):
    network, found = gf.load(folder), {}
    for letter in "abcdefghijklmnopqrstuvwxyz":
        with torch.no_grad():
            token = int(network(torch.tensor([[ord(letter)]]))[0, -1].argmax())
        if token < 128:  # a byte that is a character
            found[letter] = chr(token)
    assert found
    assert all(greedy for _, greedy in model.loglikelihood(asked(*found.items())))


def test_a_long_text_is_predicted_in_windows(model, folder):
    text = "green bottles hanging on the wall, " * 4
    ids = [256, *text.encode()]
    expected = sum(log_probability(folder, ids[begin : begin + 65], len(ids[begin + 1 : begin + 65]))[0] for begin in
                   range(0, len(ids) - 65, 64))  # fmt: skip
    rest = (len(ids) - 1) % 64
    expected += log_probability(folder, ids[-65:], rest)[0]
    assert model.loglikelihood_rolling(asked((text,))) == [pytest.approx(expected, abs=1e-2)]


def test_texts_end_at_stop_strings(model, folder):
    whole = gf.generate(gf.load(folder), byte_tokenizer(), "a dog", max_tokens=20)
    (found,) = model.generate_until(asked(("a dog", {"until": [whole[3]], "max_gen_toks": 20, "temperature": 0.0})))
    assert found == whole[: whole.index(whole[3])]
    (cut,) = model.generate_until(asked(("a dog " * 40, {"max_gen_toks": 4})))
    assert cut == gf.generate(gf.load(folder), byte_tokenizer(), ("a dog " * 40)[-60:], max_tokens=4)


def test_what_cannot_be_asked_is_refused(model, folder, tmp_path):
    from glassformer.evaluate.harness import GlassformerLM

    with pytest.raises(DataError, match=r"tokens of a continuation · got 70 · expected 1 … 64"):
        model.loglikelihood(asked(("a", "b" * 70)))
    with pytest.raises(UnsupportedError, match="generation_kwargs · got num_beams"):
        model.generate_until(asked(("a", {"num_beams": 3})))
    with pytest.raises(UnsupportedError, match="model_args · got peft"):
        GlassformerLM(model=folder, peft="x")
    lively(t5_like().replace(vocab_size=257)).save(tmp_path / "t5", tokenizer=byte_tokenizer())
    with pytest.raises(UnsupportedError, match="got a model that can write · expected a decoder"):
        GlassformerLM(model=str(tmp_path / "t5"))


def test_the_harness_runs_its_tasks(model, folder, tmp_path, monkeypatch):
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    written = gf.generate(gf.load(folder), byte_tokenizer(), QUESTIONS, max_tokens=6)
    rows = [
        {"question": one, "choices": CHOICES, "answer": 0, "written": text}
        for one, text in zip(QUESTIONS, written, strict=True)
    ]
    data = tmp_path / "data.json"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(text.replace("DATA", str(data)))
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    found = lm_eval.simple_evaluate(model=model, tasks=list(TASKS), task_manager=manager, bootstrap_iters=0)
    results = found["results"]
    best = [
        max(CHOICES, key=lambda choice: log_probability(folder, [*one.encode(), *choice.encode()], len(choice))[0])
        for one in QUESTIONS
    ]
    assert results["choose"]["acc,none"] == pytest.approx(sum(one == CHOICES[0] for one in best) / 3)
    nats = sum(-log_probability(folder, [256, *one.encode()], len(one))[0] for one in QUESTIONS)
    bits = nats / sum(map(len, QUESTIONS)) / torch.log(torch.tensor(2.0)).item()
    assert results["predict"]["bits_per_byte,none"] == pytest.approx(bits, abs=1e-3)
    assert results["go_on"]["exact_match,none"] == 1
