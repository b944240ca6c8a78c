from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, strategies as st

from glassformer.core.errors import DataError
from glassformer.inside import view as views
from glassformer.inside.page import packing
from glassformer.inside.view import Guess, LayerPatterns, PatternGroup, View, habits, look, token_text
from glassformer.parts.norm import LayerNormConfig
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.inside import tiny

TEXT = "for x in y:\n"


def patterns(*shape: int, sharp: float = 1.0, causal: bool = True, seed: int = 0) -> torch.Tensor:
    """Made-up weights (head query key) whose rows sum to 1."""
    scores = sharp * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if causal:
        scores = scores.masked_fill(torch.ones(shape[-2:]).triu(1).bool(), -torch.inf)
    return scores.softmax(-1)


def made_up(layers: list[torch.Tensor], tokens: tuple[str, ...]) -> View:
    """A view with these patterns (head query key each) and no predictions."""
    group = PatternGroup(
        name="decoder",
        title="Self-attention",
        queries="tokens",
        keys="tokens",
        layers=tuple(
            LayerPatterns(address=f"decoder.blocks.{n}.attention.pattern", weights=w) for n, w in enumerate(layers)
        ),
    )
    return View(
        model="made up", about="", tokens=tokens, predicts="nothing", vocab_size=9, bits=(None,) * len(tokens), lens=(),
        patterns=(group,),
    )  # fmt: skip


# -- from a model ------------------------------------------------------------------------------------------------------


def test_a_decoder_is_seen_as_it_is():
    model, tokenizer = tiny.decoder(), byte_tokenizer()
    view = look(model, tokenizer, TEXT, name="tiny")
    ids = torch.tensor([tokenizer.encode(TEXT)])
    with torch.no_grad(), model.trace() as trace:
        trace.read("decoder.blocks.*.attention.pattern")
        shares = model(ids)[0].softmax(-1)
    assert "".join(view.tokens) == TEXT
    assert (view.predicts, view.source, view.vocab_size) == ("next", (), 257)
    assert view.about == "decoder of 3 blocks × 4 heads, 20.2 k parameters, vocabulary of 257"
    assert view.bits[0] is None
    assert view.bits[4] == pytest.approx(-math.log2(shares[3, ord(TEXT[4])]), rel=1e-5)
    assert [layer.name for layer in view.lens] == ["embedding", "block 0", "block 1", "block 2"]
    assert view.lens[0].address == "decoder.embedding"
    best = shares[3].max(-1)
    assert view.guesses(-1, 4)[0] == Guess(token_text(tokenizer, int(best.indices)), best.values.item())
    assert len(view.guesses(-1, len(TEXT))) == 5, "what comes after the text"
    assert view.guesses(-1, 0) == () == view.guesses(-1, len(TEXT) + 1)
    assert view.lens[-1].actual[3] == shares[3, ord(TEXT[4])].item()
    assert view.lens[-1].actual[-1] is None
    (group,) = view.patterns
    for layer in group.layers:
        assert torch.equal(layer.weights, trace[layer.address][0])


def test_an_encoder_says_the_token_itself_and_masks_each_ordinary_one():
    model = tiny.encoder(vocab_size=len(tiny.WORDS))
    view = look(model, tiny.word_tokenizer(), "the cat sat")
    assert view.tokens == ("[CLS]", "the", "cat", "sat", "[SEP]")
    assert view.predicts == "itself"
    assert [bits is None for bits in view.bits] == [True, False, False, False, True]
    masked = model(torch.tensor([[2, 5, 4, 7, 3]]))[0, 2].log_softmax(-1)
    assert view.bits[2] == pytest.approx(-masked[6].item() / math.log(2), rel=1e-5)
    assert None not in view.lens[-1].actual
    assert view.guesses(-1, 2) == view.lens[-1].guesses[2]
    assert [(group.name, group.title) for group in view.patterns] == [("encoder", "Self-attention")]


def test_without_a_mask_token_an_encoder_has_guesses_and_no_bits():
    view = look(tiny.encoder(vocab_size=len(tiny.WORDS)), tiny.word_tokenizer(has_mask=False), "the cat")
    assert view.bits == (None,) * 4
    assert len(view.lens) == 3


def test_a_pair_has_three_kinds_of_attention():
    view = look(tiny.pair(), byte_tokenizer(), "ab", target="xyz")
    assert view.source == ("a", "b")
    assert view.tokens == ("<|endoftext|>", "x", "y", "z")
    found = [(group.name, group.queries, group.keys, len(group.layers)) for group in view.patterns]
    assert found == [
        ("encoder", "source", "source", 2),
        ("cross", "tokens", "source", 3),
        ("decoder", "tokens", "tokens", 3),
    ]
    assert view.patterns[1].layers[0].weights.shape == (4, 4, 2)
    assert view.about.startswith("encoder of 2 blocks × 4 heads, decoder of 3 blocks × 4 heads, ")


def test_a_model_without_a_head_shows_its_attention():
    view = look(tiny.build(decoder=tiny.stack(2, LayerNormConfig())), byte_tokenizer(), "abc")
    assert (view.predicts, view.lens, view.bits) == ("nothing", (), (None,) * 3)
    assert len(view.patterns[0].layers) == 2


def test_one_token_is_enough():
    view = look(tiny.decoder(), byte_tokenizer(), "a")
    assert view.bits == (None,)
    assert view.patterns[0].layers[0].weights.tolist() == [[[1.0]]] * 4
    assert json.loads(json.dumps(view.to_json()))["tokens"] == ["a"]


def test_dropout_is_off_while_looking_and_on_again_afterwards():
    model = tiny.decoder()
    quiet = look(model, byte_tokenizer(), TEXT)
    model.set_dropout(residual=0.5, attention=0.5)
    model.train()
    assert look(model, byte_tokenizer(), TEXT).bits == quiet.bits
    assert model.training


@pytest.mark.parametrize(
    ("model", "text", "target", "message"),
    [
        (tiny.decoder, "a" * 513, None, "the text is too long · got 513 tokens · expected at most 512"),
        (lambda: tiny.decoder(longest=8), "a" * 9, None, "got 9 tokens · expected at most 8, which this model takes"),
        (tiny.decoder, "", None, "the text has no token"),
        (tiny.decoder, "a", "b", "a target is for an encoder-decoder"),
        (tiny.pair, "a", None, "an encoder-decoder needs two texts · got one · add --target"),
        (tiny.pair, "a", "b" * 512, "the target is too long · got 513 tokens"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(model, text, target, message):
    with pytest.raises(DataError) as refusal:
        look(model(), byte_tokenizer(), text, target=target)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_pair_that_does_not_say_how_its_decoder_starts_is_refused():
    model = tiny.pair()
    model.special = type(model.special)()
    with pytest.raises(DataError, match="does not say how its decoder starts"):
        look(model, byte_tokenizer(), "a", target="b")


def test_texts_of_tokens():
    tokenizer = byte_tokenizer()
    assert [token_text(tokenizer, token) for token in (97, 10, 0xE2, 256, 300)] == [
        "a", "\n", "\\xe2", "<|endoftext|>", "<unused 300>",
    ]  # fmt: skip
    assert token_text(tiny.word_tokenizer(), 2) == "[CLS]"


# -- as JSON -----------------------------------------------------------------------------------------------------------


def test_json_holds_the_same_values():
    view = look(tiny.decoder(), byte_tokenizer(), TEXT, name="tiny")
    data = json.loads(json.dumps(view.to_json()))
    assert (data["format"], data["version"], data["model"], data["predicts"]) == ("glassformer-view", 1, "tiny", "next")
    assert data["tokens"] == list(view.tokens)
    assert data["bits"][1:] == pytest.approx(view.bits[1:], rel=1e-3)
    first = data["lens"][-1]["guesses"][3][0]
    assert (data["texts"][first[0]], first[1]) == (
        view.guesses(-1, 4)[0].token,
        pytest.approx(view.guesses(-1, 4)[0].probability, rel=1e-3),
    )
    for layer, stored in zip(view.patterns[0].layers, data["patterns"][0]["layers"], strict=True):
        assert (stored["address"], stored["kept"], stored["thumbnail"]) == (layer.address, None, [len(TEXT)] * 2)
        weights = packing.unpack(stored["matrices"], (len(TEXT), len(TEXT)), None)
        assert ((weights - layer.weights).abs() <= layer.weights.sqrt() / 255 + 1 / 260100 + 1e-7).all()
        assert stored["worst_error"] == pytest.approx((weights - layer.weights).abs().max().item(), rel=1e-3)


def test_habits_are_the_mean_weights_on_first_previous_and_itself():
    head = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0.2, 0.5, 0.3]])
    assert habits(head[None]) == [pytest.approx([0.55, 0.7, 0.2])]
    assert habits(torch.ones(2, 1, 1)) == []


def test_a_long_text_keeps_the_largest_weights_of_each_row_and_says_what_is_lost(monkeypatch):
    size, heads = 96, 3
    layers = [patterns(heads, size, size, sharp=3.0, seed=seed) for seed in range(2)]
    monkeypatch.setattr(views, "PAGE_BYTES", 30_000)
    monkeypatch.setattr(views, "SHELL_BYTES", 0)
    monkeypatch.setattr(packing, "THUMBNAIL_CELLS", 6_000)
    data = made_up(layers, ("a",) * size).to_json()
    assert len(json.dumps(data)) < 30_000
    for weights, stored in zip(layers, data["patterns"][0]["layers"], strict=True):
        kept = stored["kept"]
        assert packing.LEAST_KEPT < kept < size
        shown = packing.unpack(stored["matrices"], (size, size), kept)
        largest = weights >= weights.topk(kept).values[..., -1:]
        error = (shown - weights).abs()
        assert (error[largest] <= weights[largest].sqrt() / 255 + 1 / 260100 + 1e-7).all()
        assert (shown[weights == 0] == 0).all(), "what is masked stays empty"
        assert stored["worst_error"] == pytest.approx(error.max().item(), rel=1e-3)
        rest = torch.where(largest, 0, weights).sum(-1).mean()
        assert stored["mean_rest"] == pytest.approx(rest.item(), rel=1e-3)
        assert stored["thumbnail"] == [31, 31]
        small = packing.inflate(stored["thumbnails"]).view(heads, 31, 31)
        assert packing.decode(small.amax((1, 2))).sub(weights.amax((1, 2))).abs().max() < 0.004


def test_twelve_by_twelve_heads_at_512_tokens_stay_under_eight_megabytes():
    layer = patterns(12, 512, 512, causal=False)  # diffuse and unmasked: the worst to deflate
    page = made_up([layer] * 12, ("token",) * 512).to_html()
    assert 5_000_000 < len(page) < 8_000_000


def test_up_to_128_tokens_every_weight_of_twelve_by_twelve_heads_is_kept():
    data = made_up([patterns(12, 128, 128, causal=False)] * 12, ("token",) * 128).to_json()
    assert {layer["kept"] for layer in data["patterns"][0]["layers"]} == {None}


@given(st.floats(0, 1))
def test_a_stored_weight_is_within_the_stated_step(weight):
    exact = torch.tensor([weight])
    error = (packing.decode(packing.encode(exact)) - exact).abs().item()
    assert error <= math.sqrt(exact.item()) / 255 + 1 / 260100 + 1e-7
    assert (packing.encode(exact).item() == 0) == (exact.item() < (0.5 / 255) ** 2)


@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_rows_by_their_largest_weights_are_read_back(kept, queries, keys, banded):
    scores = torch.randn(2, queries, keys, generator=torch.Generator().manual_seed(kept + 50 * queries))
    if banded:
        place = torch.arange(keys) - torch.arange(queries)[:, None]
        scores = scores.masked_fill((place > 0) | (place < -5), -torch.inf)
    weights = scores.softmax(-1).nan_to_num(0)
    packed = packing.pack(weights, kept)
    shown = packing.unpack(packed.matrices, (queries, keys), packed.kept)
    assert packed.kept == (kept if kept < keys else None)
    assert (shown[weights == 0] == 0).all()
    places = weights.topk(min(kept, keys)).indices
    assert torch.equal(packing.encode(shown.gather(-1, places)), packing.encode(weights.gather(-1, places)))
    assert (shown - weights).abs().max() <= packed.worst_error


def test_gaps_of_more_than_255_keys_are_read_back():
    weights = torch.zeros(1, 1, 512)
    weights[0, 0, [3, 500]] = torch.tensor([0.25, 0.75])
    shown = packing.unpack(packing.pack(weights, 2).matrices, (1, 512), 2)
    assert shown.nonzero()[:, 2].tolist() == [3, 500]
    torch.testing.assert_close(shown, weights, rtol=0, atol=0.004)
