"""A first view inside: what surprised the model, what each layer would have said, and where every head looked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from glassformer.core.errors import DataError
from glassformer.inside.lens import bits_of, guesses_of, masked_bits, residual_addresses, says_tokens
from glassformer.inside.page import packing, render
from glassformer.models.transformer import Transformer
from glassformer.parts.stack import StackConfig
from glassformer.tokenizers.tokenizer import Tokenizer

#: The most tokens of one sequence that a view shows.
MAX_TOKENS = 512
#: The size that a page stays under; the patterns get what the rest leaves.
PAGE_BYTES = 8_000_000
#: The page without any data: markup, style and script.
SHELL_BYTES = 60_000

Kind = Literal["encoder", "decoder", "cross"]


class Guess(NamedTuple):
    """A token that a layer would have said, and the probability it gave to it."""

    token: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class LensLayer:
    """What one residual value says when the model's own head reads it.

    ``guesses`` has one tuple a position, best first; ``actual`` is the probability of the token that was really
    there, None where there is none.
    """

    name: str
    address: str
    guesses: tuple[tuple[Guess, ...], ...]
    actual: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class LayerPatterns:
    """The attention patterns of one layer: weights (head query key), float32, each row sums to 1."""

    address: str
    weights: Tensor


@dataclass(frozen=True, kw_only=True)
class PatternGroup:
    """All layers of one kind of attention; ``queries`` and ``keys`` say whose tokens look at whose."""

    name: Kind
    title: str
    queries: Literal["tokens", "source"]
    keys: Literal["tokens", "source"]
    layers: tuple[LayerPatterns, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """One run of one model on one text; the same value serves the terminal, ``--json`` and the page.

    tokens: what the model predicts · source: what an encoder reads before that · predicts: what the output at a
    position speaks of, the next token, the token itself, or nothing where there is no head over the vocabulary · bits:
    surprise at each token, -log2 of its probability, None where nothing predicts it · lens: embedding to output.
    """

    model: str
    about: str
    tokens: tuple[str, ...]
    source: tuple[str, ...] = ()
    predicts: Literal["next", "itself", "nothing"]
    vocab_size: int
    bits: tuple[float | None, ...]
    lens: tuple[LensLayer, ...]
    patterns: tuple[PatternGroup, ...]

    def guesses(self, layer: int, token: int) -> tuple[Guess, ...]:
        """What a layer of ``lens`` would have put in the place of token ``token``; ``token=len(tokens)`` is what
        comes after the text.
        """
        position = token - 1 if self.predicts == "next" else token
        return self.lens[layer].guesses[position] if 0 <= position < len(self.tokens) else ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; patterns as ``page.packing`` stores them, within ``PAGE_BYTES`` together with the rest."""
        texts: dict[str, int] = {}
        data: dict[str, Any] = {
            "format": "glassformer-view",
            "version": 1,
            "model": self.model,
            "about": self.about,
            "predicts": self.predicts,
            "vocab_size": self.vocab_size,
            "tokens": list(self.tokens),
            "source": list(self.source),
            "bits": [None if bits is None else _rounded(bits) for bits in self.bits],
            "lens": [_lens_json(layer, texts) for layer in self.lens],
            "texts": list(texts),
        }
        data["patterns"] = _patterns_json(self.patterns, PAGE_BYTES - SHELL_BYTES - len(json.dumps(data)))
        return data

    def to_html(self) -> str:
        """One self-contained page: no network, no other file."""
        return render(self.to_json())


def _lens_json(layer: LensLayer, texts: dict[str, int]) -> dict[str, Any]:
    """A lens layer with its guesses as [index into ``texts``, probability]; new texts are added."""
    return {
        "name": layer.name,
        "address": layer.address,
        "guesses": [
            [[texts.setdefault(guess.token, len(texts)), _rounded(guess.probability)] for guess in guesses]
            for guesses in layer.guesses
        ],
        "actual": [None if probability is None else _rounded(probability) for probability in layer.actual],
    }


def _rounded(number: float) -> float:
    """Four significant digits."""
    return float(f"{number:.4g}")


def _patterns_json(groups: tuple[PatternGroup, ...], characters: int) -> list[dict[str, Any]]:
    """Groups of patterns whose base64 takes about ``characters`` at most, thumbnails included."""
    heads = sum(layer.weights.shape[0] for group in groups for layer in group.layers)
    side = packing.thumbnail_side(heads)
    budget = max(0, characters * 3 // 4 - packing.THUMBNAIL_CELLS)
    stored = iter(packing.pack_all([layer.weights for group in groups for layer in group.layers], budget))
    return [
        {
            "name": group.name,
            "title": group.title,
            "queries": group.queries,
            "keys": group.keys,
            "layers": [_layer_json(layer, next(stored), side, group.name != "cross") for layer in group.layers],
        }
        for group in groups
    ]


def _layer_json(layer: LayerPatterns, packed: packing.Packed, side: int, is_self: bool) -> dict[str, Any]:
    small = packing.thumbnails(layer.weights, side)
    return {
        "address": layer.address,
        "kept": packed.kept,
        "worst_error": _rounded(packed.worst_error),
        "mean_rest": _rounded(packed.mean_rest),
        "thumbnail": list(small.shape[1:]),
        "thumbnails": packing.deflate(small),
        "matrices": list(packed.matrices),
        "habits": habits(layer.weights) if is_self else [],
    }


def habits(weights: Tensor) -> list[list[float]]:
    """For each head of self-attention (head query key): its mean weight on the first token, the previous one, and the
    token itself.

    The first row is left out: where only the past is visible it has no choice.
    """
    rows = weights[:, 1:].float()
    if rows.shape[1] == 0:
        return []
    first = rows[:, :, 0].mean(dim=-1)
    previous = rows.diagonal(dim1=1, dim2=2).mean(dim=-1)
    itself = weights.float().diagonal(dim1=1, dim2=2)[:, 1:].mean(dim=-1)
    return [[_rounded(share) for share in head] for head in torch.stack([first, previous, itself], dim=-1).tolist()]


# -- from a model ------------------------------------------------------------------------------------------------------


def look(
    model: Transformer,
    tokenizer: Tokenizer,
    text: str,
    *,
    target: str | None = None,
    name: str = "model",
    top: int = 5,
    say: Callable[[str], None] = lambda line: None,
) -> View:
    """Run ``model`` once on ``text``, and look at everything that a page shows.

    target: what an encoder-decoder writes for ``text`` · name: what to call the model · top: how many guesses of each
    layer · say: told what is being done.

    Raises:
        DataError: no token, more than ``MAX_TOKENS`` or than the model takes, a missing target, or one too many.
    """
    source, tokens = _encoded(model, tokenizer, text, target)
    texts = cache(partial(token_text, tokenizer))
    with torch.no_grad(), _without_dropout(model):
        say(f"reading {len(source) + len(tokens)} tokens")
        values, logits = _run(model, source, tokens)
        say("asking every layer")
        lens = _lens(model, values, tokens, top, texts)
        bits = _bits(model, tokenizer, tokens, logits)
    return View(
        model=name,
        about=_about(model),
        tokens=tuple(map(texts, tokens)),
        source=tuple(map(texts, source)),
        predicts=_predicts(model),
        vocab_size=model.config.vocab_size,
        bits=bits,
        lens=lens,
        patterns=_groups(model, values),
    )


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """What a token adds to a text: a special one its name, a piece of a character its bytes as ``\\xe2``."""
    if token >= tokenizer.vocab_size:
        return f"<unused {token}>"
    if token in tokenizer.special_ids:
        return tokenizer.token_content(token)
    return tokenizer.token_bytes(token).decode(errors="backslashreplace")


def _predicts(model: Transformer) -> Literal["next", "itself", "nothing"]:
    if not says_tokens(model):
        return "nothing"
    return "itself" if model.decoder is None else "next"


def _is_pair(model: Transformer) -> bool:
    return model.encoder is not None and model.decoder is not None


def _about(model: Transformer) -> str:
    stacks = (("encoder", model.config.encoder), ("decoder", model.config.decoder))
    parts = [f"{name} of {_size(stack)}" for name, stack in stacks if stack is not None]
    numbers = f"{_short(model.summary().parameters)} parameters, vocabulary of {model.config.vocab_size:,}"
    return ", ".join([*parts, numbers])


def _size(stack: StackConfig) -> str:
    """``12 blocks × 8 heads``, or ``× 6 to 8 heads`` where layers differ."""
    heads = [block.attention.n_heads for block in stack.blocks]
    count = str(min(heads)) if min(heads) == max(heads) else f"{min(heads)} to {max(heads)}"
    return f"{len(heads)} blocks × {count} heads"


def _short(number: int) -> str:
    """``124.4 M``, ``36.9 k``."""
    if number >= 10**9:
        return f"{number / 10**9:,.1f} G"
    return f"{number / 10**6:.1f} M" if number >= 10**6 else f"{number / 10**3:.1f} k"


# -- tokens in ---------------------------------------------------------------------------------------------------------


def _encoded(model: Transformer, tokenizer: Tokenizer, text: str, target: str | None) -> tuple[list[int], list[int]]:
    """Ids of the source (none without an encoder before the decoder) and of the text that the view is about."""
    if not _is_pair(model):
        if target is not None:
            raise DataError("a target is for an encoder-decoder", do="leave it out: this model reads one text")
        return [], _checked(model, "text", tokenizer.encode(text))
    if target is None:
        do = "add --target TEXT, the text whose making is to be seen"
        raise DataError("an encoder-decoder needs two texts", got="one", do=do)
    start = next((token for token in (model.special.decoder_start, model.special.start) if token is not None), None)
    if start is None:
        raise DataError(
            "this model does not say how its decoder starts", expected="decoder_start_token_id in config.json"
        )
    return _checked(model, "text", tokenizer.encode(text)), _checked(
        model, "target", [start, *tokenizer.encode(target)]
    )


def _checked(model: Transformer, what: str, ids: list[int]) -> list[int]:
    most = min(MAX_TOKENS, model.config.max_positions or MAX_TOKENS)
    if not ids:
        raise DataError(f"the {what} has no token", do="give it at least one character")
    if len(ids) > most:
        why = "a view shows" if most == MAX_TOKENS else "this model takes"
        raise DataError(
            f"the {what} is too long",
            got=f"{len(ids)} tokens",
            expected=f"at most {most}, which {why}",
            do="shorten it",
        )
    return ids


@contextmanager
def _without_dropout(model: Transformer) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _run(model: Transformer, source: list[int], tokens: list[int]) -> tuple[dict[str, Tensor], Tensor]:
    """One forward; every residual value of the stack with the head, every pattern, and what the head computed."""
    device = next(model.parameters()).device
    rows = [torch.tensor([ids], device=device) for ids in (source, tokens) if ids]
    addresses = [*residual_addresses(model), *(address for _, found in _pattern_addresses(model) for address in found)]
    with model.trace() as trace:
        for address in addresses:
            trace.read(address)
        logits = model(*rows)
    return {address: trace[address] for address in addresses}, logits


# -- what it says ------------------------------------------------------------------------------------------------------


def _bits(model: Transformer, tokenizer: Tokenizer, tokens: list[int], logits: Tensor) -> tuple[float | None, ...]:
    """Surprise at each token; of an encoder each ordinary token is masked in turn, if the tokenizer has a mask."""
    predicts = _predicts(model)
    if predicts == "next":
        return (None, *bits_of(logits[0, :-1], torch.tensor(tokens[1:], dtype=torch.int64)))
    mask = tokenizer.special.mask
    if predicts == "nothing" or mask is None:
        return (None,) * len(tokens)
    ordinary = [place for place, token in enumerate(tokens) if token not in tokenizer.special_ids]
    return tuple(masked_bits(model, torch.tensor(tokens, device=logits.device), mask, ordinary))


def _lens(
    model: Transformer, values: Mapping[str, Tensor], tokens: list[int], top: int, texts: Callable[[int], str]
) -> tuple[LensLayer, ...]:
    addresses = residual_addresses(model)
    if not addresses:
        return ()
    expected = torch.tensor(tokens if _predicts(model) == "itself" else [*tokens[1:], -1])
    lens = guesses_of(model, [values[address] for address in addresses], expected, top=top)
    layers = zip(addresses, lens.tokens.tolist(), lens.probabilities.tolist(), lens.actual.tolist(), strict=True)
    return tuple(
        LensLayer(
            name="embedding" if layer == 0 else f"block {layer - 1}",
            address=address,
            guesses=tuple(
                tuple(Guess(texts(token), share) for token, share in zip(*both, strict=True))
                for both in zip(best, shares, strict=True)
            ),
            actual=tuple(None if math.isnan(share) else share for share in actual),
        )
        for layer, (address, best, shares, actual) in enumerate(layers)
    )


# -- where it looks ----------------------------------------------------------------------------------------------------


def _pattern_addresses(model: Transformer) -> list[tuple[Kind, list[str]]]:
    """The kinds of attention that the model has, and the address of each layer's patterns."""
    parts: list[tuple[Kind, str, StackConfig | None]] = [
        ("encoder", "encoder.blocks.{}.attention.pattern", model.config.encoder),
        ("cross", "decoder.blocks.{}.cross_attention.pattern", model.config.decoder if _is_pair(model) else None),
        ("decoder", "decoder.blocks.{}.attention.pattern", model.config.decoder),
    ]
    return [
        (kind, [address.format(layer) for layer in range(len(stack.blocks))])
        for kind, address, stack in parts
        if stack is not None
    ]


def _groups(model: Transformer, values: Mapping[str, Tensor]) -> tuple[PatternGroup, ...]:
    titles = {"encoder": "Encoder", "cross": "Cross-attention", "decoder": "Decoder"}
    pair = _is_pair(model)
    return tuple(
        PatternGroup(
            name=kind,
            title=titles[kind] if pair else "Self-attention",
            queries="source" if pair and kind == "encoder" else "tokens",
            keys="source" if pair and kind != "decoder" else "tokens",
            layers=tuple(LayerPatterns(address=address, weights=values[address][0].float().cpu()) for address in found),
        )
        for kind, found in _pattern_addresses(model)
    )
