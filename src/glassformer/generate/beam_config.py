"""How texts are searched with beams: the description of a search, its options, and what it refuses."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError, EditError
from glassformer.generate.sampling import SamplingConfig
from glassformer.inside import taps
from glassformer.models.transformer import Transformer


class BeamConfig(Config):
    """How texts are searched.

    beams: texts that are continued at once; 1 is greedy decoding · length_penalty: above 0 favours long texts, below
    short ones · n_best: texts of each prompt that are returned · early_stopping: True ends once there are ``beams``
    complete texts; False once the best beam, were it to end now, is worse than all of these; "never" once no length
    could make it better · groups: of beams, each with a ``diversity`` penalty on tokens that the groups before it say
    in the same step.
    """

    beams: int
    length_penalty: float = 1.0
    n_best: int = 1
    early_stopping: bool | Literal["never"] = False
    groups: int = 1
    diversity: float | None = None

    def check(self) -> None:
        self._bound("beams", 0 < self.beams <= 1 << 12, "1 … 4096")
        self._bound("n_best", 0 < self.n_best <= self.beams, f"1 … {self.beams}, the number of beams")
        self._bound("groups", self.groups > 0 and self.beams % self.groups == 0, f"a divisor of {self.beams} beams")
        self._bound("length_penalty", abs(self.length_penalty) <= 10, "-10 … 10")
        if self.groups > 1:
            self._bound("diversity", 0 < (self.diversity or 0) <= 1e4, "more than 0, at most 10000, for groups")
        else:
            self._bound("diversity", self.diversity is None, "groups, at least 2")

    def _bound(self, field: str, ok: bool, expected: str) -> None:
        if not ok:
            raise ConfigError("out of range", at=field, got=getattr(self, field), expected=expected)


class SearchOptions(TypedDict, total=False):
    """The fields of a ``BeamConfig`` but ``n_best``, as options; None is not said."""

    beams: int | None
    length_penalty: float | None
    early_stopping: bool | Literal["never"] | None
    groups: int | None
    diversity: float | None


class BeamOptions(SearchOptions, total=False):
    """The fields of a ``BeamConfig``, as options; None is not said."""

    n_best: int | None


def beams_of(options: BeamOptions, sampling: SamplingConfig) -> BeamConfig | None:
    """How texts are searched, if they are.

    Raises:
        ConfigError: an option out of its range, one that is for beams where there are none, or beams that draw.
        TypeError: an option that does not exist.
    """
    unknown = [name for name in options if name not in BeamOptions.__annotations__]
    if unknown:
        raise TypeError(f"generate() got an unexpected keyword argument {unknown[0]!r}")
    said: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if "beams" not in said:
        if said:
            raise ConfigError(f"{next(iter(said))} is for beams, and there are none", do="say how many beams")
        return None
    if sampling.draws:
        draw = next(one for one in ("temperature", "top_k", "top_p", "min_p") if getattr(sampling, one) is not None)
        got = f"{draw}={getattr(sampling, draw)}"
        raise ConfigError("beams take the best texts and draw nothing", got=got, do="leave out beams, or what draws")
    return BeamConfig(**said)


def check_taps(model: Transformer) -> None:
    """Refuse what somebody does to rows of the batch: it would be done to beams.

    Raises:
        EditError: a selection on the batch, or an edit that mixes its rows.
    """
    for path, part in model.named_modules():
        table = vars(part).get("taps") or {}
        for name, tap in table.items():
            for one in tap.each():
                selections = [one.selection, *(getattr(one, pair, one.selection) for pair in ("one", "two"))]
                mixes = isinstance(one, taps.Mean)
                if mixes or any("batch" in selection.said for selection in selections):
                    got = "the mean over the batch" if mixes else "a selection on batch"
                    do = "leave it out, or decode without beams"
                    raise EditError("rows of the batch are beams", at=f"{path}.{name}".strip("."), got=got, do=do)
