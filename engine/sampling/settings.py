"""What a sampling run starts from: its settings, and an empty latent."""

from __future__ import annotations

import torch
from torch import Tensor

from ...common.checking import check_number
from ...common.families import Family
from ...common.records import record
from ...common.shapes import VideoShape, check_bounds, check_frames, check_size
from ...sampling.schedule import NoiseSchedule, from_sigmas, make_schedule
from ...sampling.solvers import FROM_BELOW_ONE, SOLVERS, WITHOUT_PENULTIMATE, Solver
from ...sampling.validation import check_part, check_seed, find_choice
from ..tasks import latent_shape


@record(eq=False)
class SamplerSettings:
    """How to sample; `sigmas` [steps + 1] replaces steps, shift, schedule and denoise.

    A run may make a part of the steps: those from `start_step` up to `end_step`, None for the last. One that stops
    early gives the latent of that noise level, divided by its signal weight as native samplers do, so that a run that
    starts there, with noise of zeros, goes on from it. With `ends_clean` its last step goes down to sigma 0.

    `batch_index` numbers the videos of a batch among the noises of the seed, so that each is the same in any batch;
    None for the first noises.

    Raises:
        InvalidInputError: a value that is of another kind.
    """

    seed: int = 0
    steps: int = 30
    cfg: float = 5.0
    shift: float = 5.0
    solver: str = "unipc"
    schedule: str = "simple"
    denoise: float = 1.0
    sigmas: Tensor | None = None
    start_step: int = 0
    end_step: int | None = None
    ends_clean: bool = False
    batch_index: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("seed", "steps", "cfg", "shift", "denoise"):
            check_number(getattr(self, name), name)
        check_part(self.start_step, self.end_step)

    def find_solver(self) -> Solver:
        """How the steps are computed.

        Raises:
            InvalidInputError: there is no such solver, or the seed is none.
        """
        check_seed(self.seed)
        return find_choice(SOLVERS, self.solver, "solver")

    def noise_schedule(self) -> NoiseSchedule:
        """The noise levels to walk.

        Raises:
            InvalidInputError: a value that cannot work.
        """
        if self.sigmas is not None:
            whole = from_sigmas(self.sigmas, self.shift)
        else:
            without_penultimate = self.solver in WITHOUT_PENULTIMATE
            whole = make_schedule(
                self.schedule, self.steps, self.shift, self.denoise, without_penultimate=without_penultimate
            )
        if self.solver in FROM_BELOW_ONE:
            whole = whole.from_below_one(self.shift)
        return whole.part(self.start_step, self.end_step, ends_clean=self.ends_clean)


def empty_latent(family: Family, video: VideoShape, batch: int = 1) -> Tensor:
    """What a new video of a size starts from: zeros [batch, C, T, h, w], float32, CPU.

    Raises:
        InvalidInputError: no video of a Wan model has this size or length.
    """
    check_bounds(video.width, video.height, video.frames, batch)
    check_size(video.width, video.height, family.size_multiple)
    check_frames(video.frames)
    return torch.zeros(batch, *latent_shape(family, video), dtype=torch.float32)
