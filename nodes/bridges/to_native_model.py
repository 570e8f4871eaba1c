"""The node that makes a native MODEL of a model of ours."""

from __future__ import annotations

from typing import Any

from ...common.checking import instance_of
from ...common.errors import InvalidInputError, PairingError
from ...dit.branches.pose import PoseBranch
from ...engine.sampling.policies import WHOLE_STEPS
from ...model_loading.recognition.variants import is_causal
from ..api import io, one_sentence
from ..hosts.host import host
from ..loaders import WanModelType
from ..sockets.models import WanModel


class WanDirectorToNativeModel(io.ComfyNode):
    """Our transformer for ComfyUI's own samplers, guiders and model patch nodes."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorToNativeModel",
            display_name="Wan To Native Model",
            category="Wan Director/bridges",
            description="Makes a native MODEL of a Wan model, for KSampler, KSampler (Advanced), SamplerCustomAdvanced "
            "and guiders, ModelSamplingSD3, skip layer guidance and LoRA nodes. The weights stay where they are: every "
            "file format of Load Wan Model works, and nothing is loaded twice.",
            search_aliases=["bridge", "native", "model", "ksampler", "unet loader", "wan to model"],
            inputs=[
                WanModelType.Input(
                    "model",
                    tooltip="From Load Wan Model or Wan LoRA. Of two experts, connect each to a node of its own, and "
                    "use two KSampler (Advanced).",
                )
            ],
            outputs=[
                io.Model.Output(
                    display_name="MODEL",
                    tooltip="The same model for native nodes. Its shift is 8 unless ModelSamplingSD3 sets another.",
                )
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, model: WanModel) -> Any:
        instance_of(model, WanModel, "model", "a model of Load Wan Model")
        if model.low_noise is not None:
            raise PairingError(
                f"The model is a pair of experts ({model.file} and {model.low_noise.model.file}), and a native sampler "
                "runs one. Connect each of the two to a Wan To Native Model of its own, without Wan Two Experts, and "
                "use two KSampler (Advanced) that share the steps."
            )
        if model.spec.config.branch(PoseBranch) is not None:
            raise PairingError(
                f"{model.file} ({model.spec.title}) sees a pose video, which the MODEL of this node cannot be shown. "
                "Use it with Wan Sampler, or load it with Load Diffusion Model."
            )
        if model.policies != WHOLE_STEPS:
            raise InvalidInputError(
                f"{model.file} comes with settings of its steps (guidance, cache, windows or tiles) that only Wan "
                "Sampler follows. Connect the model from before those nodes, and use native nodes for the same."
            )
        if is_causal(model.spec.notes):
            raise InvalidInputError(
                f"{model.file} is a causal model, and a native sampler would make all its frames at once. Connect Wan "
                "Causal and Wan Sampler, or load it with Load Diffusion Model for Sampler AR Video."
            )
        return io.NodeOutput(host().native_model(model))
