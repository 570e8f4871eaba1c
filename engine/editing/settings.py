"""How to edit a clip."""

from __future__ import annotations

from ...common.checking import check_number
from ...common.errors import InvalidInputError
from ...common.records import record
from ...sampling.schedule import NoiseSchedule, make_schedule
from ...sampling.validation import check_seed
from ..sampling.settings import SamplerSettings


@record
class EditSettings:
    """How to edit a clip.

    Attributes:
        cfg: guidance scale with the text that the clip is to show.
        source_cfg: with the text that it shows now; of two experts for both.
        strength: 0..1, the part of the steps that is made, from its last ones; more gives the words more way, and
            leaves less of the clip in its place.
        batch_index: see `SamplerSettings`.

    Raises:
        InvalidInputError: a value that is of another kind.
    """

    seed: int = 0
    steps: int = 30
    cfg: float = 5.0
    source_cfg: float = 1.5
    shift: float = 5.0
    schedule: str = "simple"
    strength: float = 0.6
    batch_index: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("seed", "steps", "cfg", "source_cfg", "shift", "strength"):
            check_number(getattr(self, name), name)

    def noise_schedule(self) -> NoiseSchedule:
        """The noise levels to walk: those of the last steps, at least of one where the strength is above 0.

        Raises:
            InvalidInputError: a value that cannot work.
        """
        check_seed(self.seed)
        if not 0.0 <= self.strength <= 1.0:
            raise InvalidInputError(
                f"The strength of an edit is from 0 (the clip stays) to 1 (all steps), got {self.strength:g}. Usual "
                "are 0.4 to 0.7."
            )
        whole = make_schedule(self.schedule, self.steps, self.shift)
        wanted = self.strength * whole.steps
        return whole.last_steps(max(round(wanted), int(wanted > 0)))

    def as_sampled(self) -> SamplerSettings:
        """What of them a run of the sampler has, too: for advice."""
        return SamplerSettings(
            self.seed, self.steps, self.cfg, self.shift, "euler", self.schedule, denoise=self.strength
        )
