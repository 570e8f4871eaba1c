"""Speed control: a small network that makes of a number how much the video moves, beside the timestep's modulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

from torch import Tensor, nn

from ...common.errors import InvalidInputError, PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ...common.records import record
from ..config import DiTConfig
from ..context import Context
from ..layers import timestep_signal
from ..precise import in_float32
from .branch import Branch, Shapes, Steered, Trunk

LARGEST_BUCKET = 100
_SIGNAL_STEPS = 10
"""Of the sinusoid, for one of the bucket: 0..100 becomes 0..1000, as timesteps are."""


@record
class SpeedBranch(Branch[DiTConfig]):
    """What a motion bucket adds to the modulation of every block.

    Attributes:
        signal_width: of the bucket's sinusoid.

    Source: modelscope/DiffSynth-Studio diffsynth/models/wan_video_motion_controller.py and pipelines/wan_video.py,
        model_fn_wan_video, of diffsynth 2.1.12.
    """

    name = "speed_control"
    words = "speed control"
    roots = ("motion_controller",)
    module_kind = "speed_module"

    signal_width: int = 256

    @classmethod
    def read(cls, tensors: Shapes) -> SpeedBranch | None:
        """See `Branch.read`."""
        key = "motion_controller.linear.0.weight"
        return cls(tensors.size(key, 1)) if tensors.has(key) else None

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} has no speed control and cannot follow a motion bucket. Set the bucket to -1, or choose ",
            *names.file("speed_control", "a speed-control module"), ".",
        )  # fmt: skip

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {"motion_controller": SpeedControl(self, config.dim, operations)}

    def check(self, given: Sequence[MotionBucket], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There are {len(given)} motion buckets, and the model follows one. Leave one of them.")

    def embed(self, trunk: Trunk, given: Sequence[MotionBucket], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        control = trunk.get_submodule("motion_controller.linear")
        assert isinstance(control, nn.Sequential)
        bucket = context.modulation.new_tensor([_SIGNAL_STEPS * given[-1].value])
        added = in_float32(control, timestep_signal(bucket, self.signal_width))  # [1, 6 * D]
        return Steered(tokens, context._replace(modulation=context.modulation + added.view(1, 1, 6, -1)))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        dim = config.dim
        return (self.signal_width + 1) * dim + (dim + 1) * dim + (dim + 1) * 6 * dim


class MotionBucket(NamedTuple):
    """How much the video is to move: `value` 0..100, see `checked_bucket`."""

    value: float

    @property
    def branch(self) -> type[SpeedBranch]:
        """The kind of branch it steers."""
        return SpeedBranch


def checked_bucket(value: float) -> MotionBucket:
    """A motion bucket of a number that a user chose.

    Raises:
        InvalidInputError: it is not from 0 to 100.
    """
    if not 0 <= value <= LARGEST_BUCKET:
        raise InvalidInputError(
            f"A motion bucket is from 0, calm, to {LARGEST_BUCKET}, lively, got {value:g}; -1 leaves it out."
        )
    return MotionBucket(float(value))


class SpeedControl(nn.Module):
    """A bucket's sinusoid -> what it adds to the six modulations of a block."""

    def __init__(self, branch: SpeedBranch, dim: int, operations: ModuleType) -> None:
        super().__init__()
        self.linear = nn.Sequential(
            operations.Linear(branch.signal_width, dim),
            nn.SiLU(),
            operations.Linear(dim, dim),
            nn.SiLU(),
            operations.Linear(dim, 6 * dim),
        )
