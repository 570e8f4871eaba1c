"""What of a latent is given from the start and stays as it is, while the rest is made.

Each kind says what the model is shown, which timesteps go with it, and what of its answer counts; `NothingGiven` hands
everything on untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..common.checking import has_values
from ..common.records import record
from ..dit.conditioning.cut import Cut
from .noise import add_noise


@record
class NothingGiven:
    """Every latent frame is made."""

    def impose(self, latent: Tensor) -> Tensor:
        """The latent itself."""
        return latent

    def timesteps(self, timestep: Tensor) -> Tensor:
        """One timestep for all frames: `timestep` [B] itself."""
        return timestep

    def shown(self, latent: Tensor, sigma: float) -> Tensor:
        """What the model sees of `latent` at `sigma`: all of it."""
        return latent

    def velocity(self, velocity: Tensor, latent: Tensor, shown: Tensor, sigma: float) -> Tensor:
        """The model's answer as it is."""
        return velocity

    def finish(self, latent: Tensor, sigma: float) -> Tensor:
        """The result of a run that ends at `sigma`: its last state."""
        return latent

    def with_arranged_noise(self, arrange: Callable[[Tensor], Tensor]) -> NothingGiven:
        """Itself: there is no noise in it."""
        return self

    def frames_before(self, frames: int) -> int:
        """How many of so many latent frames are kept as a whole before the first that is not: none."""
        return 0

    def window(self, cut: Cut) -> Given:
        """Itself."""
        return self

    def to(self, device: torch.device) -> NothingGiven:
        """Itself."""
        return self


@record(eq=False)
class GivenFrames:
    """Some latent frames are given without noise, as the 5B model of Wan 2.2 takes its start image.

    The model sees them clean, with timestep 0, and they are put back after every step.

    Attributes:
        clean: [1 or B, C, T, h, w], normalised; only the given frames count.
        frames: [T], bool, which latent frames are given.

    Source: Wan-Video/Wan2.2 wan/textimage2video.py, i2v.
    """

    clean: Tensor
    frames: Tensor

    def impose(self, latent: Tensor) -> Tensor:
        """`latent` [B, C, T, h, w] with the given frames in their places."""
        return torch.where(self.frames[:, None, None], self.clean.to(latent), latent)

    def timesteps(self, timestep: Tensor) -> Tensor:
        """The timestep of each latent frame: [B] -> [B, T], 0 for given ones."""
        return timestep[:, None] * ~self.frames

    def shown(self, latent: Tensor, sigma: float) -> Tensor:
        """What the model sees of `latent` at `sigma`: with the given frames, clean."""
        return self.impose(latent)

    def velocity(self, velocity: Tensor, latent: Tensor, shown: Tensor, sigma: float) -> Tensor:
        """The model's answer as it is; what it says of given frames is put right after the step."""
        return velocity

    def finish(self, latent: Tensor, sigma: float) -> Tensor:
        """The result of a run that ends at `sigma`: with the given frames."""
        return self.impose(latent)

    def with_arranged_noise(self, arrange: Callable[[Tensor], Tensor]) -> GivenFrames:
        """Itself: there is no noise in it."""
        return self

    def frames_before(self, frames: int) -> int:
        """How many of so many latent frames are given before the first that is not."""
        return _leading(self.frames)

    def window(self, cut: Cut) -> Given:
        """What is given of some of the latent's frames."""
        frames = cut.of_times(self.frames, dim=0)
        return GivenFrames(cut.of(self.clean), frames) if bool(frames.any()) else NOTHING_GIVEN

    def to(self, device: torch.device) -> GivenFrames:
        """The same on a device."""
        return GivenFrames(self.clean.to(device), self.frames.to(device))


@record(eq=False)
class NoisyRegion:
    """A part of the latent is kept; the model sees it with as much noise as the rest.

    Where the mask is between 0 and 1, both are mixed. The state between steps is the solver's alone.

    Attributes:
        clean: [B, C, T, h, w], normalised: what to keep.
        mask: [1 or B, 1 or C, T, h, w], float, 1 = made, 0 = kept.
        noise: [B, C, T, h, w], the run's starting noise.

    Source: comfyanonymous/ComfyUI comfy/samplers.py, KSamplerX0Inpaint, at commit 783545f.
    """

    clean: Tensor
    mask: Tensor
    noise: Tensor

    def impose(self, latent: Tensor) -> Tensor:
        """The latent itself: the model's answers lead to what is kept."""
        return latent

    def timesteps(self, timestep: Tensor) -> Tensor:
        """One timestep for all frames: `timestep` [B] itself."""
        return timestep

    def shown(self, latent: Tensor, sigma: float) -> Tensor:
        """`latent` [B, C, T, h, w] with what is kept, noised to `sigma`, in its place."""
        return torch.lerp(add_noise(self.clean, self.noise, sigma), latent, self.mask)

    def velocity(self, velocity: Tensor, latent: Tensor, shown: Tensor, sigma: float) -> Tensor:
        """The velocity of `latent` towards the model's guess where it is made, and towards `clean` elsewhere."""
        return _towards(torch.lerp(self.clean, shown - sigma * velocity, self.mask), latent, sigma)

    def finish(self, latent: Tensor, sigma: float) -> Tensor:
        """The result of a run that ends at `sigma`; without noise, what is kept is so to the bit."""
        return latent if sigma else torch.where(self.mask == 0, self.clean, latent)

    def with_arranged_noise(self, arrange: Callable[[Tensor], Tensor]) -> NoisyRegion:
        """The same with its noise in another order, see `Windows.noise`."""
        return replace(self, noise=arrange(self.noise))

    def frames_before(self, frames: int) -> int:
        """How many of so many latent frames are kept as a whole before the first that is not."""
        return _kept_before(self.mask)

    def window(self, cut: Cut) -> Given:
        """What is kept of some of the latent's frames."""
        mask = cut.of(self.mask)
        return NOTHING_GIVEN if bool(mask.eq(1).all()) else NoisyRegion(cut.of(self.clean), mask, cut.of(self.noise))

    def to(self, device: torch.device) -> NoisyRegion:
        """The same on a device."""
        return NoisyRegion(self.clean.to(device), self.mask.to(device), self.noise.to(device))


@record(eq=False)
class CleanRegion:
    """A part of the latent is kept, as `NoisyRegion`; the model sees it without noise, with a timestep by frame.

    So the 5B model of Wan 2.2 takes what is given; whole frames are `GivenFrames`.

    Attributes:
        clean: [B, C, T, h, w], normalised: what to keep.
        mask: [1 or B, 1 or C, T, h, w], float, 1 = made, 0 = kept.

    Source: comfyanonymous/ComfyUI comfy/model_base.py, WAN22, and comfy/samplers.py, KSamplerX0Inpaint, at commit
    783545f.
    """

    clean: Tensor
    mask: Tensor

    def impose(self, latent: Tensor) -> Tensor:
        """The latent itself: the model's answers lead to what is kept."""
        return latent

    def timesteps(self, timestep: Tensor) -> Tensor:
        """The timestep of each latent frame: [B] -> [B, T], the less of it is made the lower."""
        return timestep[:, None] * self.mask.mean(dim=(1, 3, 4))

    def shown(self, latent: Tensor, sigma: float) -> Tensor:
        """`latent` [B, C, T, h, w] with what is kept, clean, in its place."""
        return torch.lerp(self.clean, latent, self.mask)

    def velocity(self, velocity: Tensor, latent: Tensor, shown: Tensor, sigma: float) -> Tensor:
        """See `NoisyRegion.velocity`."""
        return _towards(torch.lerp(self.clean, shown - sigma * velocity, self.mask), latent, sigma)

    def finish(self, latent: Tensor, sigma: float) -> Tensor:
        """See `NoisyRegion.finish`."""
        return latent if sigma else torch.where(self.mask == 0, self.clean, latent)

    def with_arranged_noise(self, arrange: Callable[[Tensor], Tensor]) -> CleanRegion:
        """Itself: there is no noise in it."""
        return self

    def frames_before(self, frames: int) -> int:
        """How many of so many latent frames are kept as a whole before the first that is not."""
        return _kept_before(self.mask)

    def window(self, cut: Cut) -> Given:
        """What is kept of some of the latent's frames."""
        mask = cut.of(self.mask)
        return NOTHING_GIVEN if bool(mask.eq(1).all()) else CleanRegion(cut.of(self.clean), mask)

    def to(self, device: torch.device) -> CleanRegion:
        """The same on a device."""
        return CleanRegion(self.clean.to(device), self.mask.to(device))


@record(eq=False)
class HeldRegion:
    """A part of the latent is kept, as `NoisyRegion`; the model sees it without noise, with the timestep of the rest.

    So SCAIL-2 takes the last frames of a clip before, and is told in channels of its own which these are.

    Attributes:
        clean: [B, C, T, h, w], normalised: what to keep.
        mask: [1 or B, 1 or C, T, h, w], float, 1 = made, 0 = kept.

    Source: ComfyUI v0.33.0, comfy/model_base.py, WAN21_SCAIL2.scale_latent_inpaint, and comfy/samplers.py,
    KSamplerX0Inpaint.
    """

    clean: Tensor
    mask: Tensor

    def impose(self, latent: Tensor) -> Tensor:
        """The latent itself: the model's answers lead to what is kept."""
        return latent

    def timesteps(self, timestep: Tensor) -> Tensor:
        """One timestep for all frames: `timestep` [B] itself."""
        return timestep

    def shown(self, latent: Tensor, sigma: float) -> Tensor:
        """`latent` [B, C, T, h, w] with what is kept, clean, in its place."""
        return torch.lerp(self.clean, latent, self.mask)

    def velocity(self, velocity: Tensor, latent: Tensor, shown: Tensor, sigma: float) -> Tensor:
        """See `NoisyRegion.velocity`."""
        return _towards(torch.lerp(self.clean, shown - sigma * velocity, self.mask), latent, sigma)

    def finish(self, latent: Tensor, sigma: float) -> Tensor:
        """See `NoisyRegion.finish`."""
        return latent if sigma else torch.where(self.mask == 0, self.clean, latent)

    def with_arranged_noise(self, arrange: Callable[[Tensor], Tensor]) -> HeldRegion:
        """Itself: there is no noise in it."""
        return self

    def frames_before(self, frames: int) -> int:
        """How many of so many latent frames are kept as a whole before the first that is not."""
        return _kept_before(self.mask)

    def window(self, cut: Cut) -> Given:
        """What is kept of some of the latent's frames."""
        mask = cut.of(self.mask)
        return NOTHING_GIVEN if bool(mask.eq(1).all()) else HeldRegion(cut.of(self.clean), mask)

    def to(self, device: torch.device) -> HeldRegion:
        """The same on a device."""
        return HeldRegion(self.clean.to(device), self.mask.to(device))


@record(eq=False)
class ShownFrames:
    """The first latent frames are shown to the model without noise in every step, with the timestep of the rest.

    So InfiniteTalk takes the first picture of a video, or the last frames of the chunk before. Between steps these
    frames go their own way; what the model says of them is seen from what it was shown.

    Attributes:
        clean: [1 or B, C, n, h, w], normalised: the frames.
        is_kept: whether the result has them; else it has what the model made of them in the last step.

    Source: ComfyUI v0.33.0, comfy/ldm/wan/model_multitalk.py, MultiTalkApplyModelWrapper and
    InfiniteTalkOuterSampleWrapper.
    """

    clean: Tensor
    is_kept: bool

    def impose(self, latent: Tensor) -> Tensor:
        """The latent itself: the solver goes on from what was said."""
        return latent

    def timesteps(self, timestep: Tensor) -> Tensor:
        """One timestep for all frames: `timestep` [B] itself."""
        return timestep

    def shown(self, latent: Tensor, sigma: float) -> Tensor:
        """`latent` [B, C, T, h, w] with these frames, clean, in their places."""
        clean = self.clean.to(latent).expand(len(latent), -1, -1, -1, -1)
        return torch.cat([clean, latent[:, :, clean.shape[2] :]], dim=2)

    def velocity(self, velocity: Tensor, latent: Tensor, shown: Tensor, sigma: float) -> Tensor:
        """The velocity of `latent` towards the model's guess, which is that of `shown`."""
        count = self.clean.shape[2]
        first = _towards(shown[:, :, :count] - sigma * velocity[:, :, :count], latent[:, :, :count], sigma)
        return torch.cat([first, velocity[:, :, count:]], dim=2)

    def finish(self, latent: Tensor, sigma: float) -> Tensor:
        """The result of a run: with the frames, if they are kept."""
        return self.shown(latent, sigma) if self.is_kept else latent

    def with_arranged_noise(self, arrange: Callable[[Tensor], Tensor]) -> ShownFrames:
        """Itself: there is no noise in it."""
        return self

    def frames_before(self, frames: int) -> int:
        """How many of so many latent frames are kept as a whole before the first that is not."""
        return self.clean.shape[2] if self.is_kept else 0

    def window(self, cut: Cut) -> Given:
        """What is shown of some of the latent's frames."""
        left = cut.of_picture(self.clean)[:, :, cut.start : cut.stop]
        return ShownFrames(left, self.is_kept) if left.shape[2] else NOTHING_GIVEN

    def to(self, device: torch.device) -> ShownFrames:
        """The same on a device."""
        return ShownFrames(self.clean.to(device), self.is_kept)


def _kept_before(mask: Tensor) -> int:
    """How many latent frames a mask [B, C, T, h, w] keeps as a whole before the first that it does not."""
    return _leading(mask.eq(0).all(dim=4).all(dim=3).all(dim=1).all(dim=0))


def _leading(frames: Tensor) -> int:
    """How many of [T] are true before the first that is not; 0 where there are no values, as in a plan."""
    return int(frames.int().cumprod(0).sum()) if has_values(frames) else 0


def _towards(denoised: Tensor, latent: Tensor, sigma: float) -> Tensor:
    """The velocity by which `latent` at `sigma` comes to `denoised`."""
    return (latent - denoised) / sigma


Given = NothingGiven | GivenFrames | NoisyRegion | CleanRegion | HeldRegion | ShownFrames

NOTHING_GIVEN = NothingGiven()
