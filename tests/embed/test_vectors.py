"""``model.embed`` gives the vectors of sentence-transformers, whatever stands beside a text."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import pytest
import torch
import transformers

import glassformer as gf
from glassformer.core.errors import CheckpointError, ConfigError, DataError, UnsupportedError
from glassformer.embed import fast, rows
from glassformer.tokenizers.kinds import byte_tokenizer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["the", "cat", "sat", "on", "mat", "a", "dog", "##s", ".", ",", ":", "query"]
TEXTS = ["the cat", "a dog sat on the mat .", "cat", "the cats sat on a mat , the dogs sat .", "a cat", "dogs ,"]
WAYS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


def encoder(folder: Path) -> Path:
    """A BERT of random weights with a tokenizer, as transformers writes it."""
    torch.manual_seed(1)
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    model = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
            max_position_embeddings=32,
        )
    )  # fmt: skip
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape) * 0.2)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return encoder(tmp_path_factory.mktemp("plain") / "bert")


def theirs(bert: Path, *behind: torch.nn.Module, limit: int = 32, **said) -> SentenceTransformer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SentenceTransformer(modules=[Transformer(str(bert), max_seq_length=limit), *behind], **said)


def close(ours: torch.Tensor, their) -> None:
    torch.testing.assert_close(ours, torch.as_tensor(their), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("way", [*WAYS, ["cls", "mean"], ["mean", "cls"]], ids=str)
def test_every_way_to_pool(bert, tmp_path, way):
    model = theirs(bert, Pooling(32, pooling_mode=way))
    model.save(str(tmp_path / "st"))
    ours = gf.load(tmp_path / "st")
    close(ours.embed(TEXTS), model.encode(TEXTS))
    ours.save(tmp_path / "back", tokenizer=gf.load_tokenizer(tmp_path / "st"))
    close(gf.load(tmp_path / "back").embed(TEXTS), model.encode(TEXTS))
    close(ours.embed(TEXTS), SentenceTransformer(str(tmp_path / "back")).encode(TEXTS))


def test_what_stands_behind_the_pool(bert, tmp_path):
    torch.manual_seed(2)
    steps = [
        Pooling(32), Dense(32, 16), Dense(16, 16, bias=False, activation_function=torch.nn.Identity()),
        Dense(16, 12, activation_function=torch.nn.ReLU(), use_residual=True), LayerNorm(12), Normalize(),
    ]  # fmt: skip
    torch.nn.init.normal_(steps[4].norm.weight)
    model = theirs(bert, *steps)
    model.save(str(tmp_path / "st"))
    ours = gf.load(tmp_path / "st")
    assert ours.embed(TEXTS).shape == (len(TEXTS), 12)
    close(ours.embed(TEXTS), model.encode(TEXTS))
    ours.save(tmp_path / "back", tokenizer=gf.load_tokenizer(tmp_path / "st"))
    close(ours.embed(TEXTS), SentenceTransformer(str(tmp_path / "back")).encode(TEXTS))


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_prompts_are_pooled_or_not(bert, tmp_path, way, include):
    prompts = {"query": "query : ", "plain": ""}
    model = theirs(bert, Pooling(32, pooling_mode=way, include_prompt=include), prompts=prompts)
    model.save(str(tmp_path / "st"))
    ours = gf.load(tmp_path / "st")
    close(ours.embed(TEXTS, prompt="query"), model.encode(TEXTS, prompt_name="query"))
    close(ours.embed(TEXTS, prompt="the cat : "), model.encode(TEXTS, prompt="the cat : "))
    close(ours.embed(TEXTS), model.encode(TEXTS))
    assert not torch.allclose(ours.embed(TEXTS, prompt="query"), ours.embed(TEXTS))


def test_a_default_prompt(bert, tmp_path):
    model = theirs(bert, Pooling(32), prompts={"query": "query : "}, default_prompt_name="query")
    model.save(str(tmp_path / "st"))
    ours = gf.load(tmp_path / "st")
    close(ours.embed(TEXTS), model.encode(TEXTS))
    close(ours.embed(TEXTS, prompt=""), model.encode(TEXTS, prompt=""))


def test_a_long_text_is_cut_only_when_that_is_said(bert, tmp_path):
    model = theirs(bert, Pooling(32), limit=8)
    model.save(str(tmp_path / "st"))
    message = "a text is longer than the model · got text 1 of 9 tokens · expected at most 8 · shorten it, or say trunc"
    for limits in (None, '{"max_seq_length": 8, "do_lower_case": false}'):  # as today, and as before
        if limits is not None:
            (tmp_path / "st" / "sentence_bert_config.json").write_text(limits)
            settings = json.loads((tmp_path / "st" / "tokenizer_config.json").read_text())
            settings.pop("model_max_length")
            (tmp_path / "st" / "tokenizer_config.json").write_text(json.dumps(settings))
        ours = gf.load(tmp_path / "st")
        with pytest.raises(DataError, match=message):
            ours.embed(TEXTS)
        close(ours.embed(TEXTS, truncate=True), model.encode(TEXTS))


def test_the_layout_of_old_folders(bert, tmp_path):
    model = theirs(bert, Pooling(32, pooling_mode="cls"), Normalize())
    old = tmp_path / "old"
    (old / "1_Pooling").mkdir(parents=True)
    (old / "0_Transformer").symlink_to(bert)
    kinds = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    lines = [
        {"idx": i, "name": str(i), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for i, (place, kind) in enumerate(kinds)
    ]
    (old / "modules.json").write_text(json.dumps(lines))
    (old / "1_Pooling" / "config.json").write_text(
        '{"word_embedding_dimension": 32, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'
    )
    with pytest.raises(CheckpointError, match="a path that leaves the folder"):
        gf.load(old)  # a link is a way out, too
    (old / "0_Transformer").unlink()
    (old / "0_Transformer").mkdir()
    for file in bert.iterdir():
        (old / "0_Transformer" / file.name).write_bytes(file.read_bytes())
    close(gf.load(old).embed(TEXTS), model.encode(TEXTS))


@pytest.fixture
def ours(bert, tmp_path):
    theirs(bert, Pooling(32), Normalize()).save(str(tmp_path / "st"))
    return gf.load(tmp_path / "st")


def test_a_text_gets_the_vector_that_it_gets_alone(ours):
    together = ours.embed(TEXTS)
    for place, text in enumerate(TEXTS):
        close(ours.embed([text])[0], together[place])
    close(ours.embed(TEXTS[::-1]).flip(0), together)
    close(ours.embed(TEXTS, batch_tokens=7), together)


def test_the_fast_path_is_the_models_own_forward(ours, monkeypatch):
    assert not fast.refuses(ours)
    quick = ours.embed(TEXTS)
    with ours.trace() as trace:  # somebody looks: the model computes itself
        trace.read("encoder.blocks.1.output")
        close(ours.embed(TEXTS), quick)
    assert trace["encoder.blocks.1.output"].shape[0] == 1
    with ours.trace() as trace:
        trace.scale("encoder.blocks.0.attention.output", 0.0)
        assert not torch.allclose(ours.embed(TEXTS), quick, atol=1e-3)
    monkeypatch.setattr(rows, "_packs", lambda attention: False)
    close(ours.embed(TEXTS), quick)


def test_changed_weights_are_seen(ours):
    before = ours.embed(TEXTS)
    with torch.no_grad():
        ours.encoder.blocks[0].feed_forward.up_proj.weight.mul_(2)
    after = ours.embed(TEXTS)
    assert not torch.allclose(before, after, atol=1e-3)
    close(copy.deepcopy(ours).embed(TEXTS), after)


def test_a_folder_that_does_not_say_how(bert):
    model = gf.load(bert)
    with pytest.raises(UnsupportedError, match=r'does not say how .* · say it, for instance pool="mean"'):
        model.embed(TEXTS)
    with torch.no_grad():
        alone = [model(torch.tensor([gf.load_tokenizer(bert).encode(text)]))[0].mean(0) for text in TEXTS]
    close(model.embed(TEXTS, pool="mean"), torch.stack(alone))


def test_relative_buckets_go_by_length(tmp_path):
    """T5's scores cannot be cut into documents."""
    buckets = gf.RelativeBucketsConfig(n_buckets=8, max_distance=16)
    block = gf.BlockConfig(
        attention=gf.AttentionConfig(n_heads=4), feed_forward=gf.FeedForwardConfig(d_ff=32), norm=gf.RMSNormConfig()
    )
    stack = gf.StackConfig(blocks=(block,) * 2, positions=buckets)
    model = gf.TransformerConfig(d_model=32, vocab_size=260, encoder=stack).build(seed=3)
    tokenizer = byte_tokenizer()
    with torch.no_grad():
        alone = [model(torch.tensor([tokenizer.encode(text)]))[0].mean(0) for text in TEXTS]
    close(model.embed(TEXTS, pool="mean", tokenizer=tokenizer), torch.stack(alone))


def test_what_cannot_be_embedded(ours):
    for texts in ([], "a text", ["a", 3]):
        with pytest.raises(DataError, match="no list of texts"):
            ours.embed(texts)
    with pytest.raises(ConfigError, match="the folder says how to pool"):
        ours.embed(TEXTS, pool="max")
    built = ours.config.build(seed=0)
    with pytest.raises(UnsupportedError, match="a model that was not loaded has no tokenizer"):
        built.embed(TEXTS, pool="mean")


WRONG = {
    "a foreign module": ("modules.json", '"type": "sentence_transformers', '"type": "else', "a Transformer in front"),
    "an unknown step": ("modules.json", "normalize.Normalize", "normalize.Whiten", "got Whiten · expected one of"),
    "another width": ("1_Pooling/config.json", "32", "33", "embedding_dimension: not supported · got 33"),
    "an unknown pool": ("1_Pooling/config.json", '"mean"', '"median"', "got median · expected one of"),
    "an unknown key": ("1_Pooling/config.json", '"include_prompt"', '"include_prompts"', "include_prompts=True"),
    "no list": ("modules.json", "[", '{"a": [', "not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_folders_are_one_clear_line(bert, tmp_path, name):
    theirs(bert, Pooling(32), Normalize()).save(str(tmp_path / "st"))
    file, old, new, message = WRONG[name]
    path = tmp_path / "st" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CheckpointError) as caught:
        gf.load(tmp_path / "st")
    assert message in str(caught.value) and "\n" not in str(caught.value)
