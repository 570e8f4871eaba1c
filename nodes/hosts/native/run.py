"""A run of a native sampler over our transformer: weights in their places, adapters on, blocks swapped, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import comfy.model_management  # pyright: ignore[reportMissingImports]
import torch
from torch import Tensor

from ....dit.adapters import AppliedAdapter
from ....dit.footprint import pass_shape
from ....dit.inputs import DitInputs
from ....dit.model import WanDiT
from ....engine.models import VideoModel
from ....engine.sampling.stage import Stage, Workload
from ....memory.policy import RESIDENT, BlockSwap, MemoryPolicy, fewest_swapped, slot_bytes, swapped_blocks
from ....memory.residency import Weights
from ....memory.slabs import Slabs
from ...api import one_sentence
from ..residence import OfSharedWeights
from .blocks import check_options, patched, places_of
from .transformer import NativePass


class Bridged(Protocol):
    """What a run asks of the MODEL it is of."""

    weights: Weights
    video: VideoModel
    swap: BlockSwap | None

    def changed_by(self) -> Hashable:
        """Equal as long as nodes change the weights in the same way."""
        ...

    def changes(self) -> AppliedAdapter | None:
        """What nodes change of the weights."""
        ...

    def pass_bytes(self, inputs: DitInputs) -> int:
        """Bytes of a pass beside the weights."""
        ...


class NativeRun:
    """See `transformer.AnsweringRun`. Between passes all stays in place, until patches or the memory manager change it.

    Args:
        patcher: the MODEL, for the memory manager.
        bridged: the same, as what it tells.
    """

    def __init__(self, patcher: OfSharedWeights, bridged: Bridged) -> None:
        self._bridged = bridged
        self._residence = RunResidence(patcher, bridged)
        self._stage: Stage | None = None
        self._changed_by: Hashable = None
        self._has_spans = False
        self._is_busy = False

    @one_sentence
    def velocity(self, asked: NativePass) -> Tensor:
        """The velocity [B, C, T, h, w], in the dtype of the latent."""
        check_options(asked.options)
        self._is_busy = True
        try:
            stage = self._arranged(asked)
            stage.begin_step(_step(asked.options)[0] if self._has_spans else 0)
            return stage.carefully(self._predict, stage, asked)
        finally:
            self._is_busy = False

    def close(self) -> None:
        """Takes adapters and swapped blocks off; weights stay where the memory manager has them."""
        if self._stage is not None and not self._is_busy:
            self._stage.__exit__()
            self._stage = None

    def _predict(self, stage: Stage, asked: NativePass) -> Tensor:
        embedded = stage.embed(replace(asked.inputs, places=places_of(asked.options)))
        if asked.sees_text_as_picture:
            context = embedded.context
            embedded = embedded._replace(context=context._replace(image=context.text))
        execution = patched(stage.arranged, stage.module, asked, embedded)
        return stage.unembed(stage.module.trunk([embedded], execution).pop(), embedded)

    def _arranged(self, asked: NativePass) -> Stage:
        changed_by, weights = self._bridged.changed_by(), self._bridged.weights
        if self._stage is not None and (changed_by != self._changed_by or not weights.is_whole):
            self._stage.__exit__()
            self._stage = None
        if self._stage is None:
            self._stage = self._open(asked)
            self._changed_by = changed_by
        return self._stage

    def _open(self, asked: NativePass) -> Stage:
        video, changes = self._bridged.video, self._bridged.changes()
        loras = video.loras if changes is None else (*video.loras, changes)
        self._has_spans = any((lora.start, lora.end) != (0.0, 1.0) for lora in loras)
        model = replace(video, placed=replace(video.placed, residence=self._residence), loras=loras)
        latent = asked.inputs.latent
        batch, _, frames, height, width = latent.shape
        tokens = pass_shape((batch, frames, height, width)).tokens
        workload = Workload(tokens, frames, self._bridged.pass_bytes(asked.inputs), may_join=False)
        execution = replace(video.execution, on_block=lambda *_: video.runtime.check_interrupt())
        step, steps = _step(asked.options) if self._has_spans else (0, 1)
        return Stage(model, self._policy(), workload, steps, step=step, execution=execution).__enter__()

    def _policy(self) -> MemoryPolicy:
        """As the memory manager has left the weights: what it took away meanwhile stays away."""
        bridged, weights = self._bridged, self._bridged.weights
        if bridged.swap is not None and (weights.is_whole or not weights.is_loaded):
            return bridged.swap if bridged.swap.blocks else RESIDENT
        return fewest_swapped(weights.module, self._residence.device, weights.loaded_bytes)


class RunResidence:
    """See `engine.runtime.Residence`: the place of weights that the memory manager loads under an object of its own."""

    def __init__(self, patcher: OfSharedWeights, bridged: Bridged) -> None:
        self._patcher = patcher
        self._bridged = bridged
        self._needed_bytes = 0
        place = bridged.video.residence
        self.device: torch.device = place.device
        self.module: WanDiT = place.module
        self.slabs: Slabs = place.slabs

    @contextlib.contextmanager
    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> Iterator[WanDiT]:
        weights = self._bridged.weights
        self._bridged.swap = memory if isinstance(memory, BlockSwap) else BlockSwap(0)
        weights.leave_out(swapped_blocks(memory, self.module))
        self._needed_bytes = working_bytes + slot_bytes(memory, self.module, self.device)
        if weights.is_loaded and any(model is self._patcher for model in comfy.model_management.loaded_models()):
            weights.load(self.device)  # no more than the manager has given room for
        else:
            self._load()
        yield self.module

    def unload(self) -> None:
        self._bridged.weights.unload()

    def host_tensors(self) -> list[Tensor]:
        return self._bridged.weights.host_tensors()

    def reload(self) -> None:
        if not self._bridged.weights.is_loaded:
            self._load()

    def _load(self) -> None:
        comfy.model_management.load_models_gpu(
            [self._patcher], memory_required=self._needed_bytes, force_full_load=True
        )


def _step(options: dict[str, Any]) -> tuple[int, int]:
    """Which step of how many is made, by the noise level that is asked at; the first of one where nothing tells."""
    sigmas, current = options.get("sample_sigmas"), options.get("sigmas")
    if sigmas is None or current is None or len(sigmas) < 2:
        return 0, 1
    steps = len(sigmas) - 1
    reached = int((sigmas[:-1] >= current.max().to(sigmas) * (1 - 1e-6)).sum())
    return min(max(reached - 1, 0), steps - 1), steps
