"""The node that says where a pose video's way through the blocks is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...common.checking import check_number, choice_of, instance_of
from ...common.errors import InvalidInputError, PairingError
from ...dit.branches.pose import PoseBranch
from ...engine.models import with_policies
from ...engine.poses.keeping import POSE_PLACES, PoseKeeping
from ...memory.budget import GB
from ..api import io, one_sentence
from ..loaders import WanModelType
from ..sockets.models import WanModel

MOST_GIGABYTES = 1024.0


class WanDirectorPoseCache(io.ComfyNode):
    """Where Wan-Animate-2 keeps what its blocks make of the pose video."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorPoseCache",
            display_name="Wan Pose Cache",
            category="Wan Director/options",
            description="For Wan-Animate-2: where the blocks' work on the pose video is kept, which is then done once "
            "and not in every step. Without this node it is kept in RAM, as far as half of the free RAM goes.",
            search_aliases=["WanAnimate2Cache", "animate 2 cache", "pose cache", "kv cache"],
            inputs=[
                WanModelType.Input("model", tooltip="A Wan-Animate-2 model, from Load Wan Model or Wan LoRA."),
                io.Combo.Input(
                    "place",
                    options=list(POSE_PLACES),
                    default="RAM",
                    tooltip="RAM: nearly as quick as the device. device: takes room from the blocks. nowhere: done "
                    "again in every pass, in twice the time.",
                ),
                io.Boolean.Input(
                    "in_8_bit",
                    default=False,
                    tooltip="Half of the memory; the video differs a little. Off is exact to the bit.",
                ),
                io.Float.Input(
                    "gigabytes",
                    default=0.0,
                    min=0.0,
                    max=MOST_GIGABYTES,
                    step=0.5,
                    round=0.01,
                    tooltip="At most so much; what does not fit is done again. 0: all on the device, or up to half of "
                    "the free RAM. 81 frames of 832x480 take 13 GB.",
                ),
            ],
            outputs=[
                WanModelType.Output(display_name="model", tooltip="The model, for the sampler or another option.")
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, model: WanModel, place: str, in_8_bit: bool, gigabytes: float) -> Any:
        instance_of(model, WanModel, "model", "a model of Load Wan Model")
        check_number(gigabytes, "gigabytes")
        if not 0.0 <= gigabytes <= MOST_GIGABYTES:
            raise InvalidInputError(f"gigabytes is from 0 to {MOST_GIGABYTES:g}, got {gigabytes:g}. 0 is as it comes.")
        if model.spec.config.branch(PoseBranch) is None:
            raise PairingError(
                f"{model.file} ({model.spec.title}) sees no poses, and has nothing to keep of them. Take "
                "Wan Pose Cache away, or choose a Wan-Animate-2 model."
            )
        keeping = PoseKeeping(choice_of(place, POSE_PLACES, "place"), in_8_bit, round(gigabytes * GB))
        return io.NodeOutput(with_policies(model, lambda policies: replace(policies, poses=keeping)))
