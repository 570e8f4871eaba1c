"""What a model is and takes, without reading its weights: from its header, or before it is downloaded from its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from .branch_module import outline_with_module
from .build import check_complete
from .footprint import Outline, model_bytes
from .kinds import MODEL_KINDS
from .opening import open_checkpoint
from .precision import Precision, choose_dtype
from .publishing.known_files import known_file
from .publishing.published import published_outline
from .recognition.detect import inspect_as
from .recognition.variants import same_shape_notes, unsupported_variant
from .spec import AnyKind


def outline(
    path: Path,
    kind: AnyKind,
    precision: Precision = "auto",
    device: torch.device | str | None = None,
    modules: Sequence[tuple[str, Path]] = (),
) -> Outline:
    """The outline of a model as `build` loads it with this precision for a device.

    Args:
        path: a file or folder; one that is not there is known by its name if it is a published one.
        modules: kinds and files of what is added to a transformer, in order; known as `path` is.

    Raises:
        MissingFileError: it is not there, and no published file either.
        CheckpointError, PairingError: it cannot be used.
        InvalidInputError: see `precision.choose_dtype`.
    """
    if not os.path.exists(path):  # False for names too long
        waiting = known_file(path.name)
        if waiting is not None and not waiting.is_run:
            raise unsupported_variant(path.name, waiting.what)
        spec, dtype, weights = published_outline(path.name, kind, precision, device)
        notes = same_shape_notes(path, spec.config, None) if kind.has_variants else ()
        spec = replace(spec, notes=notes)
    else:
        checkpoint = open_checkpoint(path)
        spec = inspect_as(checkpoint, kind)
        if kind.is_transformer:
            check_complete(spec)
        dtype, weights = choose_dtype(spec, precision, device).dtype, model_bytes(checkpoint, spec, precision, device)
    for name, file in modules:
        spec, weights = outline_with_module(spec, weights, file, MODEL_KINDS[name], precision, device)
    return Outline(spec, dtype, weights)
