"""Every family computes what transformers computes: hidden states, outputs, gradients, caches, words, folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from glassformer.checkpoints.folder import load, save
from glassformer.families import families
from tests.families.forms import FAMILIES, FORMS, IMAGE_FORMS, PAD
from tests.families.helpers import (
    Pair,
    close,
    fixed_sum,
    forget,
    gradients,
    head_of,
    labels_for,
    main_output,
    our_loss,
    padded,
    run_ours,
    run_theirs,
    tokens_like,
)

NAMES = [form.name for form in FORMS]
PLAIN = [form for form in FORMS if not form.light and FAMILIES[form.family].kind != "encoder"]
WRITERS = [form.name for form in PLAIN if head_of(form) == "tokens"]
STEPPERS = [form.name for form in PLAIN if head_of(form) in ("tokens", "hidden") and not form.by_length]
TYPED = [form.name for form in FORMS if FAMILIES[form.family].segments]
LENGTH = 20


@pytest.fixture
def pair(request, pair_of) -> Pair:
    return pair_of(request.param)


every_form = pytest.mark.parametrize("pair", NAMES, indirect=True)


def test_every_architecture_of_every_family_is_compared():
    known = {name for family in families() for name in family.ARCHITECTURES if family.MODEL_TYPES[0] != "glassformer"}
    # what the first version of transformers called T5ForConditionalGeneration, and MosaicML MptForCausalLM
    assert known - {"T5WithLMHeadModel", "MPTForCausalLM"} == {form.architecture for form in FORMS + IMAGE_FORMS}


@every_form
def test_hidden_states_of_every_layer(pair: Pair):
    tokens, target = tokens_like(3, LENGTH), tokens_like(3, 7, seed=1)
    answer = run_theirs(pair, tokens, target, output_hidden_states=True)
    with torch.no_grad(), pair.ours.trace() as trace:
        for stack in ("encoder", "decoder"):
            if getattr(pair.ours, stack) is not None:
                trace.read(f"{stack}.embedding")
                trace.read(f"{stack}.blocks.*.output")
        run_ours(pair, tokens, target)
    hidden = trace.values()
    compared = 0
    for stack in ("encoder", "decoder"):
        part = getattr(pair.ours, stack)
        if part is None:
            continue
        theirs = answer[f"{stack}_hidden_states" if pair.is_pair else "hidden_states"]
        last = hidden[f"{stack}.blocks.{len(part.blocks) - 1}.output"]
        ours = [hidden[f"{stack}.embedding"]]
        ours += [hidden[f"{stack}.blocks.{layer}.output"] for layer in range(len(part.blocks) - 1)]
        final = part.norm(last)
        if final.shape != theirs[-1].shape:  # OPT's last hidden states are those that its head has projected
            final = pair.ours.head.transform(final)
        for layer, (mine, their) in enumerate(zip([*ours, final], theirs, strict=True)):
            close(mine, their, f"{stack} layer {layer}")
            compared += 1
    assert compared >= 3


@every_form
def test_output_loss_and_gradients(pair: Pair):
    tokens, target = tokens_like(3, LENGTH), tokens_like(3, 7, seed=1)
    labels = labels_for(pair, target if pair.is_pair else tokens)
    answer = run_theirs(pair, tokens, target, **labels)
    with pair.ours.trace() as trace:
        if pair.head == "pretrain":
            trace.read("head.sentence_logits")
        out = run_ours(pair, tokens, target)
    sentence = trace["head.sentence_logits"] if pair.head == "pretrain" else None
    close(out, main_output(answer), "output")
    if sentence is not None:
        close(sentence, answer["sop_logits" if "sop_logits" in answer else "seq_relationship_logits"], "sentence")
    their_loss = answer.loss if labels else fixed_sum(main_output(answer))
    loss = our_loss(pair, out, sentence, labels)
    close(loss, their_loss, "loss")
    for model, scalar in ((pair.theirs, their_loss), (pair.ours, loss)):
        model.zero_grad()
        scalar.backward()
    found = list(gradients(pair))
    largest = max(float(their.abs().max()) for _, _, their in found)
    for name, mine, their in found:
        # a bias of keys moves all scores of a row alike: its gradient is nothing but rounding
        scale = max(float(their.abs().max()), 0.1 * largest)
        assert (mine - their).abs().max() / scale <= 1e-5, name


def alone(pair: Pair, rows: list[Tensor], targets: list[Tensor]) -> list[Tensor]:
    """What transformers answers to each row by itself: the truth for every batch that holds them."""
    with torch.no_grad():
        return [
            main_output(run_theirs(pair, row[None], target[None]))[0] for row, target in zip(rows, targets, strict=True)
        ]


@every_form
@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_of_a_padded_batch_are_what_they_are_alone(pair: Pair, side: str):
    rows = [tokens_like(length, seed=length) for length in (LENGTH, 6, 1, 13)]
    targets = [tokens_like(length, seed=length) for length in (3, 8, 5, 1)]
    truth = alone(pair, rows, targets)
    tokens, valid = padded(rows, side)
    target, target_valid = padded(targets, side)
    with torch.no_grad():
        if pair.is_pair:
            out = run_ours(pair, tokens, target, source_valid=valid, target_valid=target_valid)
        else:
            out = run_ours(pair, tokens, valid=valid)
    largest = max(float(their.abs().max()) for their in truth)  # a choice is one number, which may be near zero
    for row, (mine, their) in enumerate(zip(out, truth, strict=True)):
        whole = (
            mine
            if pair.head in ("classify", "sentence", "choice")
            else mine[(target_valid if pair.is_pair else valid)[row]]
        )
        close(whole, their, f"row {row}", largest if pair.head == "choice" else None)


@pytest.mark.parametrize("pair", TYPED, indirect=True)
def test_segments_and_their_absence(pair: Pair):
    tokens = tokens_like(3, LENGTH)
    segments = (torch.arange(LENGTH) >= torch.tensor([[4], [11], [20]])).long()
    with torch.no_grad():
        with_types = run_ours(pair, tokens, segments=segments)
        close(with_types, main_output(run_theirs(pair, tokens, token_type_ids=segments)))
        close(run_ours(pair, tokens), main_output(run_theirs(pair, tokens)))
        assert not torch.allclose(with_types, run_ours(pair, tokens))


@pytest.mark.parametrize("pair", STEPPERS, indirect=True)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_cache_step_by_step(pair: Pair, side: str):
    rows = [tokens_like(length, seed=length) for length in (9, 4, 1)]
    targets = [tokens_like(length, seed=length + 7) for length in (2, 5, 1)]
    later = tokens_like(3, 4, seed=5)
    (tokens, valid), (target, target_valid) = padded(rows, side), padded(targets, side)
    cache = pair.ours.cache(3, 32)
    if pair.is_pair:
        first = pair.ours(tokens, target, source_valid=valid, target_valid=target_valid, cache=cache)
        steps = [pair.ours(tokens, new[:, None], source_valid=valid, cache=cache) for new in later.T]
    else:
        first = pair.ours(tokens, valid=valid, cache=cache)
        steps = [pair.ours(new[:, None], cache=cache) for new in later.T]
    for row in range(3):
        their_first, their_steps = their_cached(pair, rows[row][None], targets[row][None], later[row])
        shown = (target_valid if pair.is_pair else valid)[row]
        close(first[row] if pair.head == "classify" else first[row][shown], their_first[0], f"row {row}")
        for number, (mine, their) in enumerate(zip(steps, their_steps, strict=True)):
            close(mine[row], their[0], f"row {row}, step {number}")


@torch.no_grad()
def their_cached(pair: Pair, tokens: Tensor, target: Tensor, later: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What transformers answers to the row, and to each later token on top of its own cache."""
    # the encoder of one family is asked too, and refuses: there the config's own use_cache does it
    said = {} if pair.form.family == "switch_transformers" else {"use_cache": True}
    answer = run_theirs(pair, tokens, target, **said)
    first, steps = main_output(answer), []
    for new in later:
        answer = run_theirs(
            pair, tokens if pair.is_pair else new[None, None], new[None, None], **said,
            past_key_values=answer.past_key_values,
        )  # fmt: skip
        steps.append(main_output(answer))
    return first, steps


@pytest.mark.parametrize("pair", WRITERS, indirect=True)
@pytest.mark.parametrize("side", ["left", "right"])
def test_greedy_words_are_the_same(pair: Pair, side: str):
    count = 5 if pair.form.by_length else 12  # the rows of those must not grow over their limit
    rows = [tokens_like(length, seed=length) for length in (3, 1, 2)]
    truth = torch.cat([their_words(pair, row[None], count) for row in rows])
    tokens, valid = padded(rows, side)
    words = pair.ours.generate(tokens, valid=valid, max_tokens=count, stop_ids=()).tokens
    assert words.tolist() == truth.tolist()
    assert len(set(words.flatten().tolist())) > 2, "a model that repeats one token shows nothing"


def their_words(pair: Pair, row: Tensor, count: int) -> Tensor:
    forget(pair.theirs)
    settings = transformers.GenerationConfig(
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        pad_token_id=PAD,
        decoder_start_token_id=PAD,
        use_cache=pair.form.their_cache,
    )
    out = pair.theirs.generate(row, attention_mask=torch.ones_like(row), generation_config=settings)
    return out[:, -count:]


@every_form
def test_a_folder_saved_back_is_the_folder(pair: Pair, tmp_path: Path):
    assert save(pair.ours, tmp_path / "back") == pair.form.family
    check_same_folder(pair, tmp_path / "back")


@every_form
def test_a_description_says_a_folder_from_nothing(pair: Pair, tmp_path: Path):
    """As ``test_a_folder_saved_back``, but config.json is written from the description alone."""
    model = load(pair.folder)
    del model.origin
    assert save(model, tmp_path / "new", family=pair.form.family) == pair.form.family
    check_same_folder(pair, tmp_path / "new", other_words=OTHER_WORDS)


#: Said in other words, or not at all because no number hangs on it.
OTHER_WORDS = ("rope_parameters", "activation_function", "reorder_and_upcast_attn", "use_cache")


def check_same_folder(pair: Pair, folder: Path, other_words: tuple[str, ...] = ()) -> None:
    before, after = load_file(pair.folder / "model.safetensors"), load_file(folder / "model.safetensors")
    unused = set(pair.form.unused)
    assert set(after) == set(before) - unused
    for name, tensor in after.items():
        assert before[name].dtype == tensor.dtype and torch.equal(before[name], tensor), name
    then, now = (transformers.AutoConfig.from_pretrained(place).to_dict() for place in (pair.folder, folder))
    for name in ("_name_or_path", *other_words, *(pair.form.other_words if other_words else ())):
        then.pop(name, None), now.pop(name, None)
    assert now == then
    their_class = getattr(transformers, pair.form.architecture)
    loaded, report = their_class.from_pretrained(folder, output_loading_info=True)
    assert report.pop("missing_keys") == unused
    assert not any(report.values()), report
    tokens, target = tokens_like(2, LENGTH), tokens_like(2, 5, seed=1)
    again = Pair(pair.form, loaded.eval(), pair.ours, folder)
    with torch.no_grad():
        first, second = (main_output(run_theirs(one, tokens, target)) for one in (pair, again))
    close(second, first)


def test_the_words_of_a_folder_are_kept(pair_of, tmp_path: Path):
    pair = pair_of("llama-3")
    config = json.loads((pair.folder / "config.json").read_text("utf-8"))
    save(pair.ours, tmp_path / "back")
    assert json.loads((tmp_path / "back" / "config.json").read_text("utf-8")) == config
