"""A head for a model that was trained with another one: the body keeps its weights, what is new begins anew."""

from __future__ import annotations

import torch

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.writing import Origin, label_keys
from glassformer.families import family_of
from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.train.objective import ExampleObjectiveConfig


def with_head(model: Transformer, objective: ExampleObjectiveConfig, labels: tuple[str, ...]) -> TransformerConfig:
    """The description of a model with the head that an objective trains: as its family has it, where it has one."""
    origin, n_labels = getattr(model, "origin", None), objective.labels(len(labels))
    if isinstance(origin, Origin) and "description" not in origin.kept:
        family = family_of(origin.family, "attach")
        if objective.head in family.ARCHITECTURES.values():
            names = labels if len(labels) == n_labels else [str(number) for number in range(n_labels)]
            keys = {**origin.kept, **(label_keys(names) if objective.head in LABELLED else {})}
            config: TransformerConfig = family.to_config(Keys(keys, f"{origin.folder}"), objective.head)
            return config
    return objective.fit(model.config, n_labels)


#: Heads with a row of scores a label.
LABELLED = ("classify", "tag")


@torch.no_grad()
def attached(model: Transformer, config: TransformerConfig, *, seed: int) -> tuple[Transformer, list[str]]:
    """The model with another description, which differs in its head; and the parameters that begin anew.

    A head is taken over where a parameter of the same name and shape is there.
    """
    if config == model.config:
        return model, []
    new = config.build(seed=seed)
    held = dict(model.named_parameters())
    fresh = []
    for name, weight in new.named_parameters():
        if name in held and held[name].shape == weight.shape:
            weight.copy_(held[name])
        else:
            fresh.append(name)
    new.special = model.special
    new.__dict__.update({name: model.__dict__[name] for name in ("origin", "labels") if name in model.__dict__})
    return new, fresh
