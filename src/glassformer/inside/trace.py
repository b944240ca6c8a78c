"""A trace: read, change and differentiate the values of the forwards inside it, by name.

    with model.trace() as t:
        t.read("decoder.blocks.*.attention.pattern")
        t.scale("decoder.blocks.5.attention.heads", 0.0, head=3)
        logits = model(tokens)
    t["decoder.blocks.5.attention.pattern"]        # batch head query key

Everything is undone when the block ends. What was asked for and did not happen is an error, never silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from glassformer.core.errors import EditError, UnknownNameError, near
from glassformer.core.part import Part
from glassformer.inside import taps
from glassformer.inside.edits import PREFERENCE, EditSpec
from glassformer.inside.names import resolve
from glassformer.inside.selection import Index, Selection
from glassformer.models.transformer import Transformer
from glassformer.parts.block import ADDED, Block, ParallelBlock
from glassformer.parts.embedding import Embedding
from glassformer.parts.patches import PatchEmbedding
from glassformer.parts.rows import Frame
from glassformer.parts.stack import Stack

_ABSENT = object()


class Trace:
    """The taps of one ``with`` block on one model."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self.edits: list[EditSpec] = []
        self.reads: dict[str, taps.Read] = {}
        self.deltas: dict[str, taps.Gradient] = {}
        self._shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._placed: list[tuple[str, taps.Tapped]] = []
        self._before: list[tuple[object, str, object]] = []
        self._framed = {
            name: part for name, part in model.named_modules() if isinstance(part, Stack | Embedding | PatchEmbedding)
        }
        self._frames = {name: Frame() for name in self._framed}
        self._active = False

    def __enter__(self) -> Self:
        self._active = True
        for name, part in self._framed.items():
            self._frames[name] = frame = part.frame or Frame()  # a trace around this one has put some there
            frame.positions = None
            self._replace(part, "frame", frame)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._active = False
        for owner, name, value in reversed(self._before):
            if value is _ABSENT:
                owner.__dict__.pop(name, None)
            else:
                owner.__dict__[name] = value
        if kind is None:
            self._check_fired()

    # Reads

    def read(self, address: str, **selection: Index) -> None:
        """Keep a value (or every value a glob matches), or only some of it: ``head=3``, ``query=-1``."""
        for one in self._resolve(address):
            self.reads[one] = taps.Read(Selection(selection, self._frame(one)))
            self._place(one, self.reads[one])

    def __getitem__(self, address: str) -> Tensor:
        """The value of the last forward, or the selected part of it; selected axes are kept."""
        found = self._resolve(address)
        if len(found) > 1:
            raise EditError(f"{address!r} means {len(found)} values", do="use t.values() or one address")
        if found[0] not in self.reads:
            known = near(found[0], self.reads) or "nothing"
            raise UnknownNameError(f"{found[0]!r} was not read", expected=f"one of {known}", do="ask with t.read(...)")
        if not self.reads[found[0]].fired:
            raise EditError(f"{found[0]!r} has not been computed yet", do="call the model first")
        return self._result(found[0], self.reads[found[0]])

    def values(self) -> dict[str, Tensor]:
        """address → value of everything that was read."""
        return {address: self._result(address, read) for address, read in self.reads.items() if read.fired}

    def _result(self, address: str, read: taps.Read) -> Tensor:
        value = read.result()
        self._check_met(address, read)
        return value

    # Edits; each also stands in ``edits``, from where it can be saved.

    def zero(self, address: str, **selection: Index) -> None:
        """Set to 0."""
        self._edit("zero", address, {}, selection)

    def set(self, address: str, value: float | Tensor, **selection: Index) -> None:
        """Set to a number, or to a tensor that broadcasts to the value."""
        self._edit("set", address, {"value": value}, selection)

    def scale(self, address: str, factor: float | Tensor, **selection: Index) -> None:
        """Multiply."""
        self._edit("scale", address, {"factor": factor}, selection)

    def add(self, address: str, value: float | Tensor, **selection: Index) -> None:
        """Add a number or a direction."""
        self._edit("add", address, {"value": value}, selection)

    def mean(self, address: str, **selection: Index) -> None:
        """Set to the mean over the batch and the real positions of this forward."""
        self._edit("mean", address, {}, selection)

    def patch(self, address: str, value: Tensor, **selection: Index) -> None:
        """Set to the same value of another run."""
        self._edit("patch", address, {"value": value}, selection)

    copy = patch

    def project(self, address: str, direction: Tensor, *, keep: bool = False, **selection: Index) -> None:
        """Take out what lies along a direction; with ``keep``, leave only that."""
        self._edit("project", address, {"direction": direction, "keep": float(keep)}, selection)

    def clamp(
        self, address: str, low: float | Tensor = float("-inf"), high: float | Tensor = float("inf"), **selection: Index
    ) -> None:
        """Bound from below and above."""
        self._edit("clamp", address, {"low": low, "high": high}, selection)

    def swap(self, address: str, axis: str, first: int, second: int, **selection: Index) -> None:
        """Exchange two entries of an axis, for instance two rows of the batch at one position."""
        self._edit("swap", address, {"first": first, "second": second}, selection, axis)

    def noise(self, address: str, std: float | Tensor, *, seed: int = 0, **selection: Index) -> None:
        """Add gaussian noise; the same seed and position give the same numbers."""
        self._edit("noise", address, {"std": std, "seed": seed}, selection)

    def cut(self, address: str, **selection: Index) -> None:
        """On a pattern: cut the selected edges; what is left of a row sums to 1 again."""
        self._edit("cut", address, {}, selection)

    def freeze(self, address: str, pattern: Tensor, **selection: Index) -> None:
        """On a pattern: take the one of another run."""
        self._edit("freeze", address, {"value": pattern}, selection)

    def temper(self, address: str, temperature: float | Tensor, **selection: Index) -> None:
        """On a pattern: sharpen (below 1) or flatten (above 1)."""
        self._edit("temper", address, {"temperature": temperature}, selection)

    def skip(self, part: str, **selection: Index) -> None:
        """A block passes its input on; an attention or feed-forward adds nothing. ``part``: its path or its output."""
        self._edit("skip", part.removesuffix(".output") + ".output", {}, selection)

    def route(self, part: str, choice: Literal["force", "forbid"], **selection: Index) -> None:
        """Experts are taken before all others, or never: ``expert=3, position=-1``. ``part``: a mixture of experts."""
        if choice not in ("force", "forbid"):
            raise EditError("route", got=repr(choice), expected="force or forbid")
        address = part.removesuffix(PREFERENCE) + PREFERENCE
        self._edit("route", address, {"force": float(choice == "force")}, selection)

    def call(self, address: str, function: Callable[[Tensor], Tensor], **selection: Index) -> None:
        """Any Python function of the value; its block runs eagerly, and it cannot be saved."""
        for one in self._resolve(address):
            self._run_eagerly(one)
            self._place(one, taps.Call(Selection(selection, self._frame(one)), function))

    def apply(self, edits: Iterable[EditSpec]) -> None:
        """Make edits that were built or loaded before."""
        for edit in edits:
            self._apply(edit)

    # Gradients

    def gradient(self, address: str) -> None:
        """Make a value, or every value a glob matches, one that ``gradients`` can differentiate by.

        Raises:
            EditError: the value is computed by a compiled block and ``shape_gradients`` has not been called.
        """
        for one in self._resolve(address):
            delta = self._zeros(one)
            if delta is None and any(True for _ in self._compiled_parts(one)):
                do = "call t.shape_gradients with the inputs first"
                raise EditError("the gradient of a compiled block needs its shape", at=one, do=do)
            self.deltas[one] = taps.Gradient(Selection({}, self._frame(one)), delta)
            self._place(one, self.deltas[one])

    def shape_gradients(self, *inputs: Tensor, **rows: Any) -> None:
        """Learn the shapes of all values for these inputs; compiled blocks need them before ``gradient``."""
        from glassformer.inside.names import shapes

        with _eager(self.model), _untapped(self.model):
            self._shapes = shapes(self.model, *inputs, **rows)

    def _zeros(self, address: str) -> Tensor | None:
        """A zero of a value's shape that requires grad, or None where the shape is not known."""
        if address not in self._shapes:
            return None
        weight = next(self.model.parameters())
        return torch.zeros(self._shapes[address][1], dtype=weight.dtype, device=weight.device, requires_grad=True)

    def gradients(self, of: Tensor) -> dict[str, Tensor]:
        """address → d of / d value, for a scalar ``of`` and every value that ``gradient`` named.

        Raises:
            EditError: nothing was named, or the scalar does not depend on a value.
        """
        ready = {address: tap.delta for address, tap in self.deltas.items() if tap.delta is not None and tap.fired}
        if not ready:
            raise EditError("no value to differentiate by", do="name them with t.gradient(...) before the forward")
        if of.numel() != 1:
            raise EditError("gradients are of a scalar", got=tuple(of.shape), do="sum or choose one entry")
        if not of.requires_grad:
            raise EditError("the scalar was computed without gradients", do="leave out torch.no_grad and the cache")
        found = torch.autograd.grad(of, list(ready.values()), retain_graph=True, allow_unused=True)
        for address, gradient in zip(ready, found, strict=True):
            if gradient is None:
                raise EditError("the scalar does not depend on this value", at=address)
        return dict(zip(ready, found, strict=True))

    # How it is done

    def _edit(
        self, kind: str, address: str, numbers: dict[str, Any], selection: dict[str, Index], axis: str = ""
    ) -> None:
        self._apply(EditSpec.of(kind, address, numbers, selection, axis))

    def _apply(self, edit: EditSpec) -> None:
        found = self._resolve(edit.address)
        self.edits.append(edit)
        for one in found:
            chosen = Selection(edit.selection, self._frame(one))
            self._place(one, self._skip(one, chosen) if edit.kind == "skip" else edit.build(chosen))

    def _skip(self, address: str, chosen: Selection) -> taps.Edit:
        """A block keeps its input for its output; the parts that it adds to its stream add 0."""
        path = address.removesuffix(".output")
        if not isinstance(self.model.get_submodule(path), Block | ParallelBlock):
            parent, _, name = path.rpartition(".")
            if name not in ADDED or not isinstance(self.model.get_submodule(parent), Block | ParallelBlock):
                raise EditError("nothing that can be skipped", at=path, expected=f"a block, or its {', '.join(ADDED)}")
            return taps.Zero(chosen, {})
        entry, kept = f"{path}.input", taps.Keep(Selection({}, chosen.frame))
        self._place(entry, kept)
        return taps.Skip(chosen, kept)

    def _resolve(self, address: str) -> list[str]:
        return resolve(address, self.model.config)

    def _frame(self, address: str) -> Frame:
        """The positions of the stack or embedding that computes a value; the last stack's for what stands behind it."""
        inside = [frame for name, frame in self._frames.items() if address.startswith(f"{name}.")]
        return inside[0] if inside else list(self._frames.values())[-1]

    def _place(self, address: str, tap: taps.Tapped) -> None:
        """Put a tap behind those that the value already has."""
        if not self._active:
            raise EditError("a trace is used inside its with block", got=address, do="with model.trace() as t: ...")
        path, _, name = address.rpartition(".")
        part = self.model.get_submodule(path)
        assert isinstance(part, Part)
        table: dict[str, Any] = dict(part.taps or {})
        old = table.get(name)
        items = tuple(old.each()) if old is not None else ()
        table[name] = taps.Chain((*items, tap))
        self._replace(part, "taps", table)
        self._placed.append((address, tap))

    def _replace(self, owner: nn.Module, name: str, value: object) -> None:
        """Set an instance attribute, to be undone when the block ends."""
        self._before.append((owner, name, owner.__dict__.get(name, _ABSENT)))
        owner.__dict__[name] = value

    def _run_eagerly(self, address: str) -> None:
        """Take the compiled call off every module around a value."""
        for part in self._compiled_parts(address):
            self._replace(part, "_compiled_call_impl", None)

    def _compiled_parts(self, address: str) -> Iterator[nn.Module]:
        """The modules around a value that have a compiled call."""
        path = address.rpartition(".")[0]
        while path:
            part = self.model.get_submodule(path)
            if part._compiled_call_impl is not None:
                yield part
            path = path.rpartition(".")[0]

    def _check_fired(self) -> None:
        """Raise for every tap that did not happen, and for indices that no forward met."""
        for address, tap in self._placed:
            if not tap.fired:
                why = "the forward took a path that does not compute it" if self._ran() else "no forward ran"
                raise EditError(f"{why} inside the trace", at=address, do="call the model inside the with block")
            if isinstance(tap, taps.Read):
                tap.result()
            self._check_met(address, tap)

    def _check_met(self, address: str, tap: taps.Tapped) -> None:
        """Raise for indices that no forward met."""
        missed = tap.missed()
        if missed:
            raise EditError("the value has no such entry", at=address, got=", ".join(missed))

    def _ran(self) -> bool:
        """Whether a forward has said where its tokens stand."""
        return any(frame.positions is not None for frame in self._frames.values())


class _eager:
    """Blocks run without their compiled call."""

    def __init__(self, model: nn.Module) -> None:
        self.parts = [part for part in model.modules() if part._compiled_call_impl is not None]
        self.calls = [part._compiled_call_impl for part in self.parts]

    def __enter__(self) -> None:
        for part in self.parts:
            part._compiled_call_impl = None

    def __exit__(self, *error: object) -> None:
        for part, call in zip(self.parts, self.calls, strict=True):
            part._compiled_call_impl = call


class _untapped:
    """Parts run without the taps of a trace."""

    def __init__(self, model: nn.Module) -> None:
        self.tables = [(part, part.__dict__["taps"]) for part in model.modules() if "taps" in part.__dict__]

    def __enter__(self) -> None:
        for part, _ in self.tables:
            del part.__dict__["taps"]

    def __exit__(self, *error: object) -> None:
        for part, table in self.tables:
            part.__dict__["taps"] = table


def gradient(
    model: Transformer, tokens: Tensor, address: str, *, of: Callable[[Tensor], Tensor], **rows: Any
) -> dict[str, Tensor]:
    """address → d of(logits) / d value, for an address or a glob."""
    with model.trace() as trace:
        if any(part._compiled_call_impl is not None for part in model.modules()):
            trace.shape_gradients(tokens, **rows)
        trace.gradient(address)
        scalar = of(model(tokens, **rows))
    found: dict[str, Tensor] = trace.gradients(scalar)
    return found


def addresses(model: Transformer, patterns: Sequence[str]) -> list[str]:
    """Every address that one of the patterns matches, in the order of computation."""
    known = model.value_names()
    wanted = {address for pattern in patterns for address in resolve(pattern, model.config)}
    return [address for address in known if address in wanted]
