"""Translation with beam 5 in float32 against ``transformers.generate``, with equal texts: a T5 of the size of t5-small.

The weights are random; that texts end at lengths of their own, as translations do, is made so by taking tokens that
they say now and then for end tokens. Both sides get the same batches of sources, sorted by length.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers

from benchmarks.paired import Figure, interleave, median, ratio
from glassformer.checkpoints.folder import load
from glassformer.core.machine import gemm_rate
from glassformer.models.transformer import Transformer

SENTENCES, BEAMS, BATCH, NEW, REPEATS = 64, 5, 16, 32, 3
WANTED = 3.0


def t5(vocab: int = 32_128) -> transformers.PreTrainedModel:
    """t5-small with random weights."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8, vocab_size=vocab, dropout_rate=0.0,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config).eval()


def sources(vocab: int) -> list[list[int]]:
    """Sentences of 5 to 30 tokens, the shortest first."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 31, (SENTENCES,), generator=generator).sort().values.tolist()
    return [torch.randint(2, vocab, (length,), generator=generator).tolist() for length in lengths]


def batches(rows: list[list[int]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """tokens and which of them are real, padded at the right: batch position, both."""
    for first in range(0, len(rows), BATCH):
        some = rows[first : first + BATCH]
        longest = max(map(len, some))
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in some])
        yield tokens, torch.arange(longest) < torch.tensor([len(row) for row in some])[:, None]


def figures() -> Iterator[Figure]:
    """Sentences a second, with ends that the models choose and with texts of one length."""
    theirs = t5()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(Path(folder) / "model")
        model = load(Path(folder) / "model")
    yield compare(theirs, model, ends_of(model), "until an end token")
    yield compare(theirs, model, [], f"{NEW} tokens each")


def ends_of(model: Transformer, rows: int = 8) -> list[int]:
    """The tokens that the first of some texts say half-way."""
    tokens, valid = next(batches(sources(model.config.vocab_size)))
    said = model.generate(tokens, valid=valid, max_tokens=NEW, stop_ids=()).tokens
    return sorted(set(said[:rows, NEW // 2].tolist()))


@torch.no_grad()
def compare(theirs: transformers.PreTrainedModel, model: Transformer, ends: list[int], what: str) -> Figure:
    """Interleaved translations of the same sentences."""
    rows = sources(model.config.vocab_size)
    found: dict[str, list[list[int]]] = {}

    def run_ours() -> None:
        found["ours"] = []
        for tokens, valid in batches(rows):
            found["ours"] += model.generate(tokens, valid=valid, max_tokens=NEW, stop_ids=ends, beams=BEAMS).rows()

    def run_theirs() -> None:
        settings = transformers.GenerationConfig(
            max_new_tokens=NEW, num_beams=BEAMS, do_sample=False, eos_token_id=ends or None, pad_token_id=0,
            decoder_start_token_id=0,
        )  # fmt: skip
        found["theirs"] = []
        for tokens, valid in batches(rows):
            out = theirs.generate(tokens, attention_mask=valid.long(), generation_config=settings)
            found["theirs"] += [cut(row, ends) for row in out[:, 1:].tolist()]

    times = interleave({"ours": run_ours, "transformers": run_theirs}, repeats=REPEATS)
    agree = sum(one == two for one, two in zip(found["ours"], found["theirs"], strict=True)) / SENTENCES
    seconds = median(times, "ours")
    assert model.decoder is not None and model.head is not None
    weights = sum(weight.numel() for part in (model.decoder, model.head) for weight in part.parameters())
    flops = 2 * weights * BEAMS * sum(map(len, found["ours"]))
    share = flops / seconds / (gemm_rate(BATCH * BEAMS, model.config.d_model, model.config.vocab_size) * 1e9)
    said = f"transformers.generate, {100 * agree:.0f} % equal texts"
    rate = ratio(times, "ours", "transformers")
    name = f"translate t5-small, beam {BEAMS}, batch {BATCH}, {what}"
    return Figure(
        name, SENTENCES / seconds, "sentences/s", said, rate, WANTED, share, f"products of {BATCH * BEAMS} rows"
    )


def cut(row: list[int], ends: list[int]) -> list[int]:
    """Up to and with the first end."""
    end = next((place for place, token in enumerate(row) if token in ends), len(row))
    return row[: end + 1]
