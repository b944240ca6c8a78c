"""What stands beside a row, or is filled up behind it, and ids that mean padding elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from glassformer.data.sampling import Documents
from glassformer.data.text import Document
from glassformer.data.tokens import encode_stream
from glassformer.models.transformer import SpecialTokens
from glassformer.parts.head import TokenHeadConfig
from glassformer.tokenizers.kinds import byte_tokenizer
from glassformer.train.losses import next_token_sum
from tests.builders import gpt_like, lively, random_tokens
from tests.families.forms import BY_NAME
from tests.families.helpers import close, make, tokens_like


def same(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_padding_is_said_and_never_guessed_from_an_id():
    """Trap 6: padding without a mask. The id of padding in a row is a token as any other."""
    model, tokens = lively(gpt_like().replace(head=TokenHeadConfig(tied=False))), random_tokens(1, 8)
    tokens[0, [0, 4, 7]] = 7
    logits, new = model(tokens), model.generate(tokens, max_tokens=6).tokens
    model.special = SpecialTokens(pad=7)
    assert torch.equal(model(tokens), logits) and torch.equal(model.generate(tokens, max_tokens=6).tokens, new)
    said = model(tokens, lengths=torch.tensor([7]))
    same(said[0, :7], logits[0, :7])


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2-classify", "llama-classify"])
def test_the_last_token_is_the_last_that_is_valid(name: str, tmp_path: Path):
    """End-of-text pooling: transformers takes the last token that is not the id of padding, whatever the mask says."""
    pair, tokens = make(BY_NAME[name], tmp_path), tokens_like(1, 9)
    pad = pair.theirs.config.pad_token_id
    tokens[0, -1] = pad
    by_id = pair.theirs(tokens).logits
    pair.theirs.config.pad_token_id = None
    truth = pair.theirs(tokens).logits
    close(pair.ours(tokens), truth)
    longer = torch.cat((tokens, torch.full((1, 3), pad)), 1)
    close(pair.ours(longer, lengths=torch.tensor([9])), truth)
    assert (by_id - truth).abs().max() > 1e-3


def test_the_end_of_a_text_is_learned_where_padding_has_its_id():
    """Trap 28: a collator with pad = end token, which hides every end from the loss."""
    tokenizer = byte_tokenizer()
    end = tokenizer.special.end
    stream = encode_stream([Document("0", "ab"), Document("1", "cdefg")], tokenizer)
    batch, _ = Documents(stream, pad=end).draw((0,), 2, 100)
    learned = batch.tokens[:, 1:][batch.valid[:, 1:]]
    assert sorted(learned.tolist()) == sorted([*b"b", end, *b"defg", end])
    model = lively(gpt_like().replace(vocab_size=tokenizer.vocab_size))
    total, count = next_token_sum(model(batch.tokens, valid=batch.valid), batch.tokens, batch.valid)
    alone = [torch.from_numpy(row.astype(np.int64))[None] for row in np.split(stream.ids, stream.starts[1:])]
    assert count == len(learned)
    same(total, sum(next_token_sum(model(row), row)[0] for row in alone))
