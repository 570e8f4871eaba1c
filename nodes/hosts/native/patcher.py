"""The MODEL that native nodes get: a model patcher whose weights stay ours, in our formats, swapped our way."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import comfy.hooks  # pyright: ignore[reportMissingImports]
import comfy.model_patcher  # pyright: ignore[reportMissingImports]
import comfy.utils  # pyright: ignore[reportMissingImports]
import torch
from torch import nn

from ....common.errors import InvalidInputError
from ....dit.adapters import AppliedAdapter
from ....dit.branches.vace import VaceBranch
from ....dit.inputs import DitInputs
from ....engine.models import VideoModel
from ....memory.policy import BlockSwap, fewest_swapped, streamed_blocks, swapped_blocks
from ....memory.tensors import held_tensors, size_bytes
from ...api import one_sentence
from ..residence import OfSharedWeights
from .changes import ROOT, adapter_of
from .model import BridgedModel, working_bytes
from .run import NativeRun

_ADVICE = "Take that node out, or put it behind Load Diffusion Model."


class BridgedPatcher(OfSharedWeights):
    """See `comfy.model_patcher.ModelPatcher`, whose answers to nodes, samplers and the memory manager it gives.

    What nodes change of weights is computed beside them during a run (see `changes`). The manager's budget decides how
    many blocks are swapped: as few as leave the weights within it, all of them at a budget of none. What is not a block
    is always on the device.

    Attributes:
        video: the transformer with the LoRAs of our own nodes; it keeps the weights alive. None of the MODEL that the
            place of the weights holds, which only stands for them after a run.
        swap: the swapped blocks as they were last arranged; None before.
    """

    model: BridgedModel

    def __init__(
        self,
        model: BridgedModel,
        load_device: torch.device,
        offload_device: torch.device,
        size: int = 0,
        weight_inplace_update: bool = False,
    ) -> None:
        self.weights = model.weights
        self.swap: BlockSwap | None = None
        self.video: Any = None
        self._run: NativeRun | None = None
        super().__init__(model, load_device, offload_device, size, weight_inplace_update)

    def clone(self, *arguments: Any, **options: Any) -> BridgedPatcher:
        other = super().clone(*arguments, **options)
        other.video = self.video
        return other

    def of(self, video: VideoModel) -> BridgedPatcher:
        """Another MODEL of the same weights, with the LoRAs of this one."""
        other = self.clone()
        other.video = video
        return other

    def model_size(self) -> int:
        if not self.size:
            self.size = size_bytes(held_tensors(self.weights.module))
        return self.size

    def partially_load(
        self, device_to: torch.device, extra_memory: float = 0, force_patch_weights: bool = False
    ) -> int:
        with self.use_ejected(skip_and_inject_on_exit_only=True):
            before = self.weights.loaded_bytes
            self.unpatch_model(unpatch_weights=False)
            self._refuse_patches()
            self.patch_model(load_weights=False)
            if extra_memory < 0:
                self.partially_unload(self.offload_device, -extra_memory)
                return 0
            self.load(device_to, before + extra_memory)
            return self.weights.loaded_bytes - before

    def load(
        self,
        device_to: torch.device | None = None,
        lowvram_model_memory: float = 0,
        force_patch_weights: bool = False,
        full_load: bool = False,
    ) -> None:
        device = self.load_device if device_to is None else device_to
        if self._run is None or self.swap is None:  # during a run, that decides
            budget = float("inf") if full_load else lowvram_model_memory - self._adapter_bytes()
            self.swap = fewest_swapped(self.weights.module, device, budget)
            self.weights.leave_out(swapped_blocks(self.swap, self.weights.module))
        self.weights.load(device)
        self.model.device = device
        for callback in self.get_all_callbacks(comfy.model_patcher.CallbacksMP.ON_LOAD):
            callback(self, device, lowvram_model_memory, force_patch_weights, full_load)

    def partially_unload(
        self, device_to: torch.device, memory_to_free: float = 0, force_patch_weights: bool = False
    ) -> int:
        freed = 0
        for block in reversed(streamed_blocks(self.weights.module)):
            if freed >= memory_to_free:
                break
            freed += self.weights.take_away([block])
        return freed

    def unpatch_model(self, device_to: torch.device | None = None, unpatch_weights: bool = True) -> None:
        self.eject_model()
        if unpatch_weights:
            self.unpatch_hooks()
            self.weights.unload()
            self.model.device = self.offload_device
        for name, own in self.object_patches_backup.items():
            comfy.utils.set_attr(self.model, name, own)
        self.object_patches_backup.clear()

    def detach(self, unpatch_all: bool = True) -> nn.Module:
        if self._run is not None:
            self._run.close()
        return super().detach(unpatch_all)

    def pre_run(self) -> None:
        self._refuse_patches()
        self._refuse_sharing()
        super().pre_run()
        self._run = self.model.diffusion_model.at_work = NativeRun(self, self)

    def cleanup(self) -> None:
        if self._run is not None:
            self._run.close()
            if self.model.diffusion_model.at_work is self._run:
                self.model.diffusion_model.at_work = None
            self._run = None
        super().cleanup()

    def patch_hooks(self, hooks: comfy.hooks.HookGroup | None) -> None:
        self.current_hooks = hooks

    def unpatch_hooks(self, whitelist_keys_set: set[str] | None = None) -> None:
        self.current_hooks = None

    def changed_by(self) -> Hashable:
        """See `run.Bridged`."""
        hooks = () if self.current_hooks is None else self.current_hooks.hooks
        return self.patches_uuid, tuple((id(hook.hook_ref), hook.strength) for hook in hooks)

    def changes(self) -> AppliedAdapter | None:
        """See `run.Bridged`."""
        hooked = self.get_combined_hook_patches(self.current_hooks)
        names = dict.fromkeys((*self.patches, *hooked))
        patches = {name: (*self.patches.get(name, ()), *hooked.get(name, ())) for name in names}
        return adapter_of(patches, self.weight_wrapper_patches, self.video.shapes)

    def pass_bytes(self, inputs: DitInputs) -> int:
        """See `run.Bridged`."""
        controls = sum(steering.branch is VaceBranch for steering in inputs.steering)
        return working_bytes(self.video.placed.weights, self.video.spec.config, inputs.latent.shape, controls)

    @one_sentence
    def get_key_patches(self, filter_prefix: str | None = None) -> dict[str, list[Any]]:
        if self.video.shapes.quantised:
            raise InvalidInputError(
                f"{self.video.file} is stored quantised, and a node asks for its weights as numbers, to merge or to "
                "save them. Load a file in bf16, fp16 or fp32 for that."
            )
        return super().get_key_patches(filter_prefix)

    def state_dict_for_saving(self, *parts: Any, **more: Any) -> Mapping[str, Any]:
        return self.model.state_dict_for_saving(*parts, **more)

    def _adapter_bytes(self) -> int:
        changes = self.changes()
        loras: Sequence[AppliedAdapter] = self.video.loras if changes is None else (*self.video.loras, changes)
        return sum(lora.adapter.size_bytes for lora in loras)

    @one_sentence
    def _refuse_sharing(self) -> None:
        """Refuses a run in the midst of another one of the same weights, whose LoRAs may be others.

        Raises:
            InvalidInputError: it is so.
        """
        if self.model.diffusion_model.at_work not in (None, self._run):
            raise InvalidInputError(
                f"Two models of the same weights ({self.video.file}) take part in one run, and the weights can carry "
                "the LoRAs of one. For a guider of two models, use two files, or Load Diffusion Model for one of them."
            )

    @one_sentence
    def _refuse_patches(self) -> None:
        """Refuses what replaces parts of the model that are others here.

        Raises:
            InvalidInputError: there is such a patch.
        """
        inside = [name for name in self.object_patches if name.startswith(ROOT) or name == ROOT[:-1]]
        if inside:
            raise InvalidInputError(
                f"A node replaces '{inside[0]}' of the model, which that of Wan To Native Model computes in its own "
                f"way. {_ADVICE}"
            )
        if "manual_cast_dtype" in self.object_patches:
            raise InvalidInputError(
                "A node chooses the format to compute in, which the model of Wan To Native Model has from Load Wan "
                "Model. Choose precision there, and take that node out."
            )
        if self.injections:
            raise InvalidInputError(
                f"A node puts its own code into the layers of the model ('{next(iter(self.injections))}'), which those "
                f"of Wan To Native Model do not take. For a LoRA, use LoraLoaderModelOnly. {_ADVICE}"
            )
