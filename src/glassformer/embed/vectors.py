"""``model.embed(texts)``: one vector a text, as the folder of the model says.

Texts are sorted by length and laid one behind the other, so that no token is computed that nobody asked for; each text
gets the vector that it gets alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from glassformer.core.errors import ConfigError, DataError, UnsupportedError
from glassformer.core.terminal import Progress
from glassformer.embed.rows import Hidden, hidden_states
from glassformer.models.transformer import Transformer
from glassformer.parts.sentence import Pooled, Sentence, SentenceConfig
from glassformer.tokenizers.tokenizer import Tokenizer, check_fits, load_tokenizer

#: Tokens that are computed at once: matrix products are at their best from about a thousand rows on.
BATCH_TOKENS = 2048


@torch.no_grad()
def embed(
    model: Transformer,
    texts: Sequence[str],
    *,
    prompt: str | None = None,
    pool: Pooled | None = None,
    tokenizer: Tokenizer | None = None,
    truncate: bool = False,
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress | None = None,
) -> Tensor:
    """float32, text state: the vector of each text.

    prompt: the name of one of the folder's prompts, or the text itself to be put in front of each text; None takes the
    folder's own default · pool: how token vectors become one, for a folder that does not say it · tokenizer: None takes
    the one of the folder that the model came from · truncate: cut texts that are longer than the model.

    Raises:
        UnsupportedError: a model with a decoder and an encoder, or a folder that does not say how to pool.
        DataError: no text, or one that is too long.
    """
    sentence = _sentence(model, pool)
    words = tokenizer or _tokenizer(model)
    check_fits(words, model.config.vocab_size)
    said = _prompt(sentence.config, prompt)
    rows, skipped = _encoded(texts, words, said, _limit(model, sentence, words), truncate)
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    hidden = hidden_states(model)
    found: list[Tensor] = []
    for batch in _batches([rows[place] for place in order], batch_tokens):
        found.append(_vectors(hidden, sentence, batch, 0 if sentence.config.pool_prompt else skipped))
        if progress is not None:
            progress.update(f"embedding {sum(map(len, found)):,} of {len(rows):,} texts")
    back = torch.empty(len(order), dtype=torch.int64)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(found)[back]


def _vectors(hidden: Hidden, sentence: Sentence, rows: Sequence[list[int]], prompt: int) -> Tensor:
    lengths = torch.tensor([len(row) for row in rows])
    states = hidden(rows).float()
    out: Tensor = sentence(states, lengths.to(states.device), prompt)
    return out.cpu()


def _sentence(model: Transformer, pool: Pooled | None) -> Sentence:
    """What stands behind the encoder."""
    if model.encoder is not None and model.decoder is not None:
        raise UnsupportedError("an encoder-decoder has two rows of vectors", do="load its encoder alone")
    known = model.__dict__.get("sentence")
    if pool is not None:
        if isinstance(known, Sentence):
            raise ConfigError("the folder says how to pool", got=pool, expected=", ".join(known.config.pool))
        return SentenceConfig(pool=(pool,)).build(model.config.d_model)
    if not isinstance(known, Sentence):
        do = 'say it, for instance pool="mean"'
        raise UnsupportedError("this folder does not say how token vectors become one (it has no modules.json)", do=do)
    return known


def _tokenizer(model: Transformer) -> Tokenizer:
    folder = getattr(getattr(model, "origin", None), "folder", None)
    if not isinstance(folder, Path):
        raise UnsupportedError("a model that was not loaded has no tokenizer", do="give embed(..., tokenizer=...)")
    return load_tokenizer(folder)


def _limit(model: Transformer, sentence: Sentence, words: Tokenizer) -> int | None:
    """Tokens of the longest text: what the model reaches, or less where the folder says so."""
    limits = (sentence.config.max_tokens, model.config.max_positions, words.settings.get("model_max_length"))
    return min((limit for limit in limits if type(limit) is int), default=None)


def _prompt(config: SentenceConfig, wanted: str | None) -> str:
    """The text to put in front."""
    known = dict(config.prompts)
    name = config.default_prompt if wanted is None else wanted
    return "" if name is None else known.get(name, name)


def _encoded(
    texts: Sequence[str], words: Tokenizer, prompt: str, limit: int | None, truncate: bool
) -> tuple[list[list[int]], int]:
    """The rows, and how many tokens of each belong to the prompt and what stands before it."""
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
        raise DataError("no list of texts", got=type(texts).__name__ if isinstance(texts, str) else list(texts)[:3])
    rows = words.encode_rows([prompt + text for text in texts])
    for place, row in enumerate(rows):
        if limit is not None and len(row) > limit:
            if not truncate:
                do = "shorten it, or say truncate=True"
                got = f"text {place} of {len(row)} tokens"
                raise DataError("a text is longer than the model", got=got, expected=f"at most {limit}", do=do)
            rows[place] = words.encode(prompt + texts[place], max_tokens=limit)
        if not row:
            raise DataError("a text without a token", got=repr(texts[place][:50]))
    said = words.encode(prompt) if prompt else []
    return rows, len(said) - (bool(said) and said[-1] in words.special_ids)


def _batches(rows: Sequence[list[int]], most: int) -> Iterator[Sequence[list[int]]]:
    """Runs of rows of about ``most`` tokens; rows of one length stay together where they fit."""
    begin, held = 0, 0
    for length, members in groupby(range(len(rows)), key=lambda place: len(rows[place])):
        for place in members:
            if held and held + length > most:
                yield rows[begin:place]
                begin, held = place, 0
            held += length
    yield rows[begin:]
