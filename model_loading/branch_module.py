"""Adding a branch from a file of its own to a model without it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..dit.branches.module import BranchModule
from ..dit.config import DiTConfig
from ..dit.model import WanDiT
from .build import Loaded, layers_for
from .files.checkpoint import Checkpoint
from .filling import fill
from .footprint import ModelBytes, model_bytes
from .meter import OnBytes, untold
from .opening import open_checkpoint
from .pairing import check_pair
from .precision import Precision, choose_casting
from .publishing.published import published_outline
from .recognition.detect import inspect_as
from .spec import ModelKind, ModelSpec

DiT = Loaded[DiTConfig, WanDiT, None]
ModuleKind = ModelKind[DiTConfig, BranchModule, None]
"""A kind of file that holds a branch by itself."""


def inspect_module(checkpoint: Checkpoint, kind: ModuleKind, model: ModelSpec[DiTConfig]) -> ModelSpec[DiTConfig]:
    """What a file with a branch by itself is, checked against the model it is for.

    Raises:
        CheckpointError: the file is damaged, or of another kind.
        PairingError: the branch does not belong onto the model.
    """
    spec = inspect_as(checkpoint, kind)
    check_pair(model, spec)
    return spec


def add_module(
    loaded: DiT,
    path: str | Path,
    kind: ModuleKind,
    *,
    precision: Precision = "auto",
    on_bytes: OnBytes = untold,
) -> DiT:
    """The model with the branch of a file, which computes in the model's dtype.

    Args:
        loaded: stays as it is; its layers are those of the result, too.
        kind: of the file.
        precision: the fp8 ones cast the branch's matrices too.

    Raises:
        MissingFileError, CheckpointError, PairingError: see `inspect_module`.
    """
    checkpoint = open_checkpoint(path)
    spec = inspect_module(checkpoint, kind, loaded.spec)
    casting = choose_casting(spec, precision)
    with torch.device("meta"):
        module = kind.build(spec.config, layers_for(spec, casting))
    whole = loaded.module.with_branches(fill(module, checkpoint, spec, loaded.dtype, on_bytes, casting))
    return replace(loaded, module=whole, spec=_described(loaded.spec, spec))


def outline_with_module(
    model: ModelSpec[DiTConfig],
    weights: ModelBytes,
    path: Path,
    kind: ModuleKind,
    precision: Precision,
    device: torch.device | str | None,
) -> tuple[ModelSpec[DiTConfig], ModelBytes]:
    """What `add_module` makes of a model, and what it takes, by the headers alone; see `footprint.model_bytes`.

    Args:
        model, weights: without the branch.
        path: one that is not there is known by its name if it is a published one.

    Raises:
        MissingFileError, CheckpointError, PairingError: see `inspect_module`.
    """
    if os.path.exists(path):
        checkpoint = open_checkpoint(path)
        module = inspect_module(checkpoint, kind, model)
        added = model_bytes(checkpoint, module, precision, device)
    else:
        module, _, added = published_outline(path.name, kind, precision, device)
        check_pair(model, module)
    whole = _described(model, module)
    blocks = _together(weights.blocks, added.blocks, whole.config, module.config)
    return whole, weights._replace(fixed=weights.fixed + added.fixed, blocks=blocks)


def _together(blocks: Sequence[int], added: Sequence[int], whole: DiTConfig, module: DiTConfig) -> tuple[int, ...]:
    """Sizes of a model's blocks with those of a module: blocks of its own, or what it has inside the trunk's."""
    if any(branch.in_blocks for branch in module.branches):
        inside = iter(added)
        places = zip(whole.block_order(), blocks)
        return tuple(size + next(inside) if place.branch is None else size for place, size in places)
    kinds = {type(branch) for branch in module.branches}
    sizes = {False: iter(blocks), True: iter(added)}
    return tuple(next(sizes[place.branch in kinds]) for place in whole.block_order())


def _described(model: ModelSpec[DiTConfig], module: ModelSpec[DiTConfig]) -> ModelSpec[DiTConfig]:
    """What a model is with a branch that fits it."""
    return replace(
        model,
        config=model.config.with_branches(module.config.branches),
        preset=None,
        title=f"{model.title} with {module.title}",
        parameters=model.parameters + module.parameters,
        size_bytes=model.size_bytes + module.size_bytes,
    )
