"""Greedy generation in float32 against ``transformers.generate``, with equal tokens: GPT-2 and Llama shapes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers

from benchmarks import shapes
from benchmarks.paired import Figure, interleave, median, ratio
from glassformer.checkpoints.folder import load
from glassformer.core.machine import read_bandwidth
from glassformer.models.transformer import Transformer

PROMPT, NEW, REPEATS = 128, 64, 5


@dataclass(frozen=True)
class Case:
    """A model of transformers, and by batch size the ratio that is aimed at; ``clock``: what is compared."""

    name: str
    build: Callable[[], transformers.PreTrainedModel]
    wanted: Mapping[int, float] = field(default_factory=lambda: {1: 1.6, 8: 2.5})
    clock: Callable[[], float] = time.perf_counter
    timed: str = ""


def llama(layers: int, width: int, d_ff: int, vocab: int) -> transformers.PreTrainedModel:
    """A Llama with random weights."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64 or 1, intermediate_size=d_ff,
        vocab_size=vocab, max_position_embeddings=1024, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


CASES = (
    Case("GPT-2 124 M", lambda: shapes.peer(shapes.LARGE).eval()),
    Case("Llama 160 M", lambda: llama(12, 768, 3072, 32_000)),
    Case("Llama, 2 layers of 64", lambda: llama(2, 64, 172, 256), {1: 3.0}, time.process_time, " (CPU time)"),
)


def figures() -> Iterator[Figure]:
    """One ratio a model and batch size; the limit is reading every weight once a step."""
    for case in CASES:
        theirs = case.build()
        with tempfile.TemporaryDirectory() as folder:
            theirs.save_pretrained(Path(folder) / "model")
            model = load(Path(folder) / "model")
        for batch, wanted in case.wanted.items():
            yield compare(case, theirs, model, batch, wanted)


@torch.no_grad()
def compare(case: Case, theirs: transformers.PreTrainedModel, model: Transformer, batch: int, wanted: float) -> Figure:
    """Interleaved generations of the same prompts."""
    generator = torch.Generator().manual_seed(batch)
    prompt = torch.randint(0, model.config.vocab_size, (batch, PROMPT), generator=generator)
    found: dict[str, torch.Tensor] = {}

    def run_ours() -> None:
        found["ours"] = torch.as_tensor(model.generate(prompt, max_tokens=NEW, stop_ids=()).tokens)

    def run_theirs() -> None:
        out = theirs.generate(prompt, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, pad_token_id=0)
        found["theirs"] = out[:, PROMPT:]

    times = interleave({"ours": run_ours, "transformers": run_theirs}, repeats=REPEATS, clock=case.clock)
    agree = (found["ours"] == found["theirs"]).float().mean().item()
    weight_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    seconds = median(times, "ours")
    share = NEW * weight_bytes / seconds / (read_bandwidth() * 1e9)
    said = f"transformers.generate, {100 * agree:.0f} % equal tokens"
    rate = ratio(times, "ours", "transformers")
    name = f"generate {case.name}, batch {batch}{case.timed}"
    return Figure(name, batch * NEW / seconds, "tokens/s", said, rate, wanted, share, "read bandwidth")
