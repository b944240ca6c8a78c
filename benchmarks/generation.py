"""Greedy generation in float32 at the 124 M shape, against ``transformers.generate``, with equal tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks import shapes
from benchmarks.paired import Figure, interleave, median, ratio
from glassformer.checkpoints.folder import load
from glassformer.core.machine import read_bandwidth

PROMPT, NEW, REPEATS = 128, 64, 5
WANTED = {1: 1.6, 8: 2.5}


def figures() -> Iterator[Figure]:
    """One ratio a batch size; the limit is reading every weight once a step."""
    import tempfile
    from pathlib import Path

    theirs = shapes.peer(shapes.LARGE).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(Path(folder) / "model")
        model = load(Path(folder) / "model")
    weight_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    for batch, wanted in WANTED.items():
        generator = torch.Generator().manual_seed(batch)
        prompt = torch.randint(0, shapes.LARGE.vocab_size, (batch, PROMPT), generator=generator)
        found: dict[str, torch.Tensor] = {}

        def run_ours(prompt: torch.Tensor = prompt, found: dict[str, torch.Tensor] = found) -> None:
            rows = model.generate(prompt, max_tokens=NEW, stop_ids=()).tokens
            found["ours"] = torch.as_tensor(rows)

        def run_theirs(prompt: torch.Tensor = prompt, found: dict[str, torch.Tensor] = found) -> None:
            out = theirs.generate(prompt, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, pad_token_id=0)
            found["theirs"] = out[:, PROMPT:]

        with torch.no_grad():
            times = interleave({"ours": run_ours, "transformers": run_theirs}, repeats=REPEATS)
        agree = (found["ours"] == found["theirs"]).float().mean().item()
        seconds = median(times, "ours")
        share = NEW * weight_bytes / seconds / (read_bandwidth() * 1e9)
        said = f"transformers.generate, {100 * agree:.0f} % equal tokens"
        rate = ratio(times, "ours", "transformers")
        yield Figure(
            f"generate 124 M, batch {batch}",
            batch * NEW / seconds,
            "tokens/s",
            said,
            rate,
            wanted,
            share,
            "read bandwidth",
        )
