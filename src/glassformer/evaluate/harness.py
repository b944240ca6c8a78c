"""``lm_eval --model glassformer``: the class that EleutherAI's harness asks for probabilities and texts.

Where its version reads no entry points of other packages (0.4.13 and before), call it through this file:

    python -m glassformer.evaluate.harness --model glassformer --model_args model=FOLDER --tasks ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.model import TemplateLM

from glassformer.checkpoints.folder import load
from glassformer.core.errors import DataError, UnsupportedError
from glassformer.core.terminal import Progress
from glassformer.data.tokens import end_token
from glassformer.evaluate.scores import scored, windows
from glassformer.evaluate.task import BATCH_TOKENS, Hand, task_of
from glassformer.evaluate.tasks.language import REACH
from glassformer.evaluate.tasks.write import written
from glassformer.tokenizers.tokenizer import load_tokenizer

#: What the harness calls the options of ``generate``; others that it says are refused.
OPTIONS = {"max_gen_toks": "max_tokens", "temperature": "temperature", "top_k": "top_k", "top_p": "top_p"}
#: New tokens of a text, where a task does not say how many.
MAX_TOKENS = 256


class GlassformerLM(TemplateLM):
    """A decoder.

    Args:
        model: A folder with config.json, weights and a tokenizer.
        batch_tokens: Tokens computed at once.
        device: Where to compute.
        dtype: Type to compute in.
    """

    def __init__(
        self, model: str, batch_tokens: int = BATCH_TOKENS, device: str | None = None, dtype: Any = None, **others: Any
    ) -> None:
        super().__init__()
        unknown = {name for name, value in others.items() if value is not None} - {"batch_size", "max_batch_size"}
        if unknown:
            raise UnsupportedError("model_args", got=", ".join(sorted(unknown)), expected="model, batch_tokens, dtype")
        progress = Progress()
        loaded = load(model, dtype=dtype, device=device_of(device, progress))
        task = task_of(loaded)
        if task.WORD != "continue":
            raise UnsupportedError("lm_eval", at=model, got=f"a model that can {task.WORD}", expected="a decoder")
        self._said_cut = False
        self.hand = Hand(loaded, load_tokenizer(model), batch_tokens=batch_tokens, progress=progress)

    @property
    def eot_token_id(self) -> int:
        """The token in front of a text, and behind it."""
        return end_token(self.hand.tokenizer)

    @property
    def reach(self) -> int:
        """Tokens that are read at once."""
        return self.hand.longest or REACH

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **others: Any) -> list[int]:
        """The tokens of a text; the one with which the tokenizer begins each text only where that is wanted."""
        ids = self.hand.tokenizer.encode(string, add_special=add_special_tokens is not False)
        ends = self.hand.model.special.end
        return ids[:-1] if ids and ids[-1] in ends and self.hand.tokenizer.decode(ids[-1:]) == "" else ids

    def _loglikelihood_tokens(self, requests: Sequence[Any], **others: Any) -> list[tuple[float, bool]]:
        """Sum of log probabilities of each continuation, and whether it is what would be written greedily.

        Raises:
            DataError: A continuation is longer than the model, or has no token.
        """
        for (_, text), _, new in requests:
            if not 0 < len(new) <= self.reach:
                expected = f"1 … {self.reach}"
                raise DataError("tokens of a continuation", at=repr(text[:50]), got=len(new), expected=expected)
        rows = [self._cut([*context, *new], self.reach + 1) for _, context, new in requests]
        found = scored(rows, [len(new) for _, _, new in requests], self.hand)
        return [(-float(one.nats.sum()), one.is_greedy) for one in found]

    def loglikelihood_rolling(self, requests: Sequence[Any], **others: Any) -> list[float]:
        """The log probability of each text, behind the end token, in windows that do not overlap."""
        rows, counts, owners = [], [], []
        for number, request in enumerate(requests):
            ids = [self.eot_token_id, *self.tok_encode(request.args[0], add_special_tokens=False)]
            for first, begin, end in windows(len(ids), self.reach, self.reach):
                rows.append(ids[first:end])
                counts.append(end - begin)
                owners.append(number)
        sums = [0.0] * len(requests)
        for number, one in zip(owners, scored(rows, counts, self.hand), strict=True):
            sums[number] -= float(one.nats.sum())
        return sums

    def generate_until(self, requests: Sequence[Any], **others: Any) -> list[str]:
        """The text behind each context, up to the first of its stop strings."""
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(number)
        found: dict[int, str] = {}
        for numbers in groups.values():
            options = options_of(requests[numbers[0]].args[1])
            room = self.reach - min(options["max_tokens"], self.reach - 1)
            contexts = [self.tok_encode(requests[number].args[0]) or [self.eot_token_id] for number in numbers]
            rows = [self._cut(ids, room) for ids in contexts]
            options["max_tokens"] = self.reach - room
            hand = Hand(self.hand.model, self.hand.tokenizer, writing=options, progress=self.hand.progress)
            found.update(zip(numbers, [one.text for one in written(rows, hand)], strict=True))
        return [found[number] for number in range(len(requests))]

    def _cut(self, ids: list[int], most: int) -> list[int]:
        """The last tokens of a context that is too long; said once, as the harness does it too."""
        if len(ids) > most and not self._said_cut:
            self._said_cut = True
            self.hand.progress.note(f"a context of {len(ids)} tokens loses its beginning: the model reads {self.reach}")
        return ids[-most:]


def device_of(said: str | None, progress: Progress) -> str:
    """Where to compute; the harness says ``cuda:0`` where nobody said anything, so the processor may have to do."""
    if said is not None and said.startswith("cuda") and not torch.cuda.is_available():
        progress.note(f"computing on the processor: there is no {said} here")
        return "cpu"
    return said or "cpu"


def options_of(said: dict[str, Any]) -> dict[str, Any]:
    """What a task says about texts, in the words of ``generate``.

    Raises:
        UnsupportedError: It says something that is not known here.
    """
    draws, until = said.get("do_sample", False), said.get("until") or []
    unknown = sorted(set(said) - {*OPTIONS, "until", "do_sample"})
    if unknown:
        raise UnsupportedError("generation_kwargs", got=", ".join(unknown), expected=", ".join([*OPTIONS, "until"]))
    options: dict[str, Any] = {OPTIONS[name]: value for name, value in said.items() if name in OPTIONS}
    kept = {name: value for name, value in options.items() if draws or name == "max_tokens"}
    stop = [until] if isinstance(until, str) else list(until)
    return {"max_tokens": MAX_TOKENS, **kept, "stop": [one for one in stop if one]}


def main() -> None:
    """The harness's own command line, which then knows this model."""
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import model_registry

    if "glassformer" not in model_registry.keys():  # noqa: SIM118 - a registry is no mapping
        model_registry.register("glassformer", target="glassformer.evaluate.harness:GlassformerLM")
    cli_evaluate()


if __name__ == "__main__":
    main()
