"""A few words from a model in training, to see what it has learned."""

from __future__ import annotations

import torch
from torch import nn

from glassformer.data.tokens import TextTokenizer, TokenStream

_PROMPT_TOKENS = 8


def prompt_of(stream: TokenStream, turn: int) -> list[int]:
    """The first tokens of a held-out document, another one each turn."""
    begin = int(stream.starts[turn % len(stream.starts)])
    return [int(token) for token in stream.ids[begin : begin + _PROMPT_TOKENS]]


@torch.no_grad()
def continue_tokens(
    model: nn.Module,
    prompt: list[int],
    *,
    count: int,
    context: int,
    vocab_size: int,
    seed: int,
    temperature: float = 0.7,
) -> list[int]:
    """At most ``count`` tokens drawn from the model after a prompt; the generator of the training is left alone."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    ids = list(prompt)
    for _ in range(count):
        logits = model(torch.tensor([ids[-context:]], device=device))[0, -1, :vocab_size].float().cpu()
        if not logits.isfinite().all():  # a model that is lost says nothing
            break
        ids.append(int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)))
    model.train(was_training)
    return ids[len(prompt) :]


def sample_text(
    model: nn.Module, tokenizer: TextTokenizer, stream: TokenStream, *, turn: int, context: int, count: int = 48
) -> tuple[str, str]:
    """A prompt from held-out text, and what the model makes of it."""
    prompt = prompt_of(stream, turn)
    size = tokenizer.vocab_size
    found = continue_tokens(model, prompt, count=count, context=context, vocab_size=size, seed=turn)
    return tokenizer.decode(prompt), tokenizer.decode(found)
