"""LoRA files for a model of the engine."""

from __future__ import annotations

from dataclasses import field
from functools import lru_cache
from pathlib import Path

from ..common.log import logger
from ..common.records import record
from ..dit.adapters import Adapter, AppliedAdapter, ParameterShapes
from ..model_loading.build import ModelKey, model_key
from ..model_loading.files.model_hash import other_base
from ..model_loading.lora import LoadedLora, read_lora
from ..model_loading.publishing.known_files import known_file
from ..model_loading.spec import ModelSpec
from .recipe import LoraRecipe
from .runtime import Runtime, told_reading


def apply_lora(lora: LoraRecipe, shapes: ParameterShapes, spec: ModelSpec, runtime: Runtime) -> AppliedAdapter:
    """A LoRA for a model with these parameters; its file is read once, and the runtime told how far that is.

    Raises:
        CheckpointError, InvalidInputError: the file is none, or does not fit the model.
    """
    adapter = _read(_LoraForModel(model_key(lora.path), shapes, spec, lora.is_second_expert, runtime)).adapter
    applied = _applied(adapter, lora)
    applied.check_blocks()
    applied.check_mergeable(shapes)
    return applied


def holds_loras_for_two(lora: LoraRecipe, shapes: ParameterShapes, spec: ModelSpec, runtime: Runtime) -> bool:
    """Whether a file has a LoRA for each expert of a pair, of which the model of `spec` gets the one for high noise."""
    return _read(_LoraForModel(model_key(lora.path), shapes, spec, False, runtime)).holds_two_experts


def unread_lora(lora: LoraRecipe) -> AppliedAdapter:
    """A LoRA of which nothing is known but how large its file is."""
    return _applied(_UnreadAdapter(lora.path.name, {}, file_bytes(lora.path)), lora)


def file_bytes(path: Path) -> int:
    """Of a LoRA; as published where it is not here yet, 0 where it is not a published one."""
    if path.is_file():
        return path.stat().st_size
    known = known_file(path.name)
    return 0 if known is None else known.size_bytes


def _applied(adapter: Adapter, lora: LoraRecipe) -> AppliedAdapter:
    return AppliedAdapter(adapter, lora.strength, lora.blocks, lora.start, lora.end, lora.merge)


@record(eq=False)
class _UnreadAdapter(Adapter):
    file_bytes: int

    @property
    def size_bytes(self) -> int:
        return self.file_bytes


@record
class _LoraForModel:
    """Which file is read for which model; who is told of it makes no difference to what is read."""

    key: ModelKey
    shapes: ParameterShapes
    spec: ModelSpec
    is_second_expert: bool
    runtime: Runtime = field(compare=False)


@lru_cache(maxsize=8)
def _read(reading: _LoraForModel) -> LoadedLora:
    """The LoRA of a file for a model; read once, as another strength makes a new model object and not a new adapter.

    Its tensors are windows into the file where the system allows it, so that keeping some costs little.
    """
    path, is_second = reading.key.path, reading.is_second_expert
    with told_reading(reading.runtime, Path(path).name) as on_bytes:
        loaded = read_lora(path, reading.shapes, reading.spec, is_second_expert=is_second, on_bytes=on_bytes)
    logger.info("LoRA %s", loaded.report.line())
    if loaded.report.unmatched:
        logger.debug("LoRA %s: unmatched: %s", loaded.report.name, ", ".join(loaded.report.unmatched))
    base = other_base(loaded.metadata, reading.spec.path)
    if base is not None:
        logger.info(
            "LoRA %s was trained on %s and is put onto %s: where these are different models, it may do less.",
            loaded.report.name,
            base,
            reading.spec.path.name,
        )
    return loaded
