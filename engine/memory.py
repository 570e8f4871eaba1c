"""What the user wants of memory, and what follows from it on the device at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

import torch

from ..common.checking import choice_of
from ..common.errors import InvalidInputError, OutOfMemory
from ..common.log import logger
from ..common.memory.free_ram import free_ram_bytes
from ..common.records import record
from ..common.shapes import VideoShape, latent_frames
from ..dit.sharing import Sharing
from ..memory.budget import GB, KINDS, LEAVE_FREE_BYTES, Budget, example_card, gigabytes
from ..memory.pinned import default_pinned_bytes
from ..memory.plan import Choice, Task, keep_plain, plan, smallest, swap_exactly
from ..memory.policy import BlockSwap, MemoryPolicy, Resident
from ..model_loading.footprint import ModelBytes
from ..model_loading.spec import ModelSpec
from ..parallel.step import SharedStep
from .recipe import LoraRecipe, ModelRecipe

Placement = Literal["auto", "cpu"]
PLACEMENTS: tuple[Placement, ...] = ("auto", "cpu")


class Devices(Protocol):
    """Who knows how much memory devices have: a `runtime.Runtime`."""

    def available_bytes(self, device: torch.device) -> int | None:
        """Memory of a device that can be had; None where that cannot be asked."""
        ...


@record
class MemorySettings:
    """The widgets of the memory node, on the socket WAN_DIRECTOR_MEMORY.

    Attributes:
        budget: device memory to use.
        blocks_to_swap: of the video model; None for as few as fit into the budget.
        pinned_bytes: cap on the host memory for swapped blocks; None for the usual one.
        text_encoder, vae: where they compute: as their loaders say, or on the CPU.
        strips: that the VAE cuts large frames into; 0 for as few as fit into the budget.
        feed_forward_run: tokens at a time in the feed-forward layers; 0 for the usual number.
        gpus: that make a run together, this one among them.
    """

    budget: Budget = Budget()
    blocks_to_swap: int | None = None
    pinned_bytes: int | None = None
    text_encoder: Placement = "auto"
    vae: Placement = "auto"
    strips: int = 0
    feed_forward_run: int = 0
    gpus: int = 1

    def devices(self, sharing: Sharing) -> int:
        """How many share a run: as many as there are already, if more than one, else as many as are wanted."""
        return self.gpus if sharing.devices == 1 else sharing.devices

    def limit(self, device: torch.device, runtime: Devices) -> int | None:
        """Bytes of a device that may be used; None for no limit."""
        is_fixed = self.budget.kind == "use at most"
        free = runtime.available_bytes(device) if device.type != "cpu" else None
        if free is None:
            return self.budget.size_bytes if is_fixed else None
        return self.budget.limit(free)

    def choose(
        self, task: Task, device: torch.device, what_fits: Callable[[int], Iterable[str]], runtime: Devices
    ) -> Choice:
        """How a task is to run.

        Args:
            what_fits: things that would fit into so many bytes, for the refusal.

        Raises:
            OutOfMemory: nothing fits into the memory that the user gives.
        """
        limit = self.limit(device, runtime)
        choice = self._fitting(task, device, what_fits, limit)
        if device.type == "cpu":
            free = free_ram_bytes()
            limit = None if free is None else self.budget.limit(free + task.anonymous_bytes)
        return choice if limit is None else keep_plain(choice, limit)

    def _fitting(
        self, task: Task, device: torch.device, what_fits: Callable[[int], Iterable[str]], limit: int | None
    ) -> Choice:
        """How a task runs best within a limit, see `choose`."""
        pinned = default_pinned_bytes(device) if self.pinned_bytes is None else self.pinned_bytes
        card = example_card(limit or 0)
        if self.blocks_to_swap is not None and task.block_bytes and task.name == "sample":
            return swap_exactly(task, self.blocks_to_swap, card, pinned_bytes=pinned)
        if limit is None:
            return swap_exactly(task, 0, card, pinned_bytes=pinned)
        choice = plan(task, limit, card, pinned_bytes=pinned)
        if choice is not None:
            return choice
        least = smallest(task, card, pinned_bytes=pinned)
        if self.budget.kind == "use at most":
            raise OutOfMemory(refusal(least, limit, what_fits(limit)))
        logger.warning(
            "To %s takes about %s, and %s may be used: it is tried all the same.",
            task.name,
            gigabytes(least.device_bytes),
            gigabytes(limit),
        )
        return least

    def of_one(self, processes: int, device: torch.device) -> MemorySettings:
        """The settings of one of several processes on this machine, whose pinned memory is a part of that of all."""
        if processes == 1:
            return self
        cap = default_pinned_bytes(device) if self.pinned_bytes is None else self.pinned_bytes
        return replace(self, pinned_bytes=cap // processes)

    def policy(self, choice: Choice) -> MemoryPolicy:
        """For the blocks of a model that runs as chosen."""
        pinned = 0 if choice.task.runs_once else self.pinned_bytes
        return BlockSwap(choice.swapped, pinned) if choice.swapped else Resident(choice.plain, choice.plain_bytes)


AUTOMATIC = MemorySettings()
"""What holds without a memory node: all but 1 GB of the device, as few swapped blocks as fit."""


JobKind = Literal["text", "clip", "sound", "encode", "train", "sample", "decode"]


class RunWork(NamedTuple):
    """What all steps that a model makes in a run come to.

    `passes`: of the model in them. `windows`: parts in which a step sees the video, at most: windows in time, tiles, or
    both; 1 for all of it, and for a causal model, which sees chunk after chunk. `seen`: the largest of these.
    """

    passes: int
    windows: int
    seen: VideoShape

    def parts_of(self, video: VideoShape) -> str:
        """The parts of this video in words; nothing where it is seen as a whole."""
        if self.windows == 1:
            return _chunks(latent_frames(video.frames), latent_frames(self.seen.frames))
        frames = f"of at most {self.seen.frames} frames"
        if self.seen[1:] == video[1:]:
            return f"{self.windows:,} windows {frames} at a time"
        return f"{self.windows:,} tiles {frames} of {self.seen.width} x {self.seen.height} at a time"


def _chunks(frames: int, seen: int) -> str:
    """The chunks of a causal model in words, of so many latent frames; nothing where it is one."""
    if seen >= frames:
        return ""
    return f"{-(-frames // seen):,} chunks of {seen} latent frame{'s' * (seen > 1)}, one after the other"


@record(eq=False)
class Job:
    """A model, and what a stage of a run wants of it.

    Attributes:
        kind: of stage.
        recipe: of the model.
        spec: what its file holds.
        weights: what it takes, with its LoRAs.
        memory: how much of the device it may take.
        make_task: what there is to do with such weights for a video of such a size.
        video: that is made or looked at; None where the stage does not depend on it.
        passes: of the model in a step, one for each prompt.
        is_on_cpu: whether it leaves the device to others.
        loras: that are on the model.
        count_work: what all steps of a run come to for such a video; None where there are none.
        times: for how many clips of a film it is done; 0 where it is for none.
        shared: how several devices share a step; None where one does all.
    """

    kind: JobKind
    recipe: ModelRecipe
    spec: ModelSpec[Any]
    weights: ModelBytes
    memory: MemorySettings
    make_task: Callable[[ModelBytes, VideoShape], Task]
    video: VideoShape | None = None
    passes: int = 1
    is_on_cpu: bool = False
    loras: tuple[LoraRecipe, ...] = ()
    count_work: Callable[[VideoShape], RunWork] | None = None
    times: int = 0
    shared: SharedStep | None = None

    @property
    def task(self) -> Task:
        """What there is to do."""
        return self.task_of(self.video or _NO_VIDEO)

    def task_of(self, video: VideoShape) -> Task:
        """What there would be to do for another video."""
        return self.make_task(self.weights, video)

    @property
    def run_work(self) -> RunWork | None:
        """What all steps of the run come to, where it has any."""
        return None if self.count_work is None else self.count_work(self.video or _NO_VIDEO)


_NO_VIDEO = VideoShape(0, 0, 0)


@record
class MemoryWidgets:
    """The values of the memory node's widgets, under their names and with their defaults."""

    mode: str = "auto"
    budget: str = "leave free"
    gigabytes: float = LEAVE_FREE_BYTES / GB
    blocks_to_swap: int = 0
    pinned_ram: float = 0.0
    text_encoder: str = "auto"
    vae: str = "auto"
    vae_strips: int = 0
    feed_forward_tokens: int = 0
    gpus: int = 1

    def settings(self) -> MemorySettings:
        """What they mean.

        Raises:
            InvalidInputError: a choice that there is not.
        """
        return MemorySettings(
            budget=Budget(choice_of(self.budget, KINDS, "budget"), round(self.gigabytes * GB)),
            blocks_to_swap=self.blocks_to_swap if self.mode == "manual" else None,
            pinned_bytes=round(self.pinned_ram * GB) or None,
            text_encoder=choice_of(self.text_encoder, PLACEMENTS, "text_encoder"),
            vae=choice_of(self.vae, PLACEMENTS, "vae"),
            strips=self.vae_strips,
            feed_forward_run=self.feed_forward_tokens,
            gpus=self.gpus,
        )


def refusal(least: Choice, limit: int, what_fits: Iterable[str]) -> str:
    """The sentence for a task that does not fit, not even in the way that takes least."""
    swapped = " with all blocks swapped" if least.swapped else ""
    swapped = f" in {least.way.number} strips" if least.way.number > 1 and not least.task.block_bytes else swapped
    fitting = "; ".join(what_fits)
    advice = f"What would fit: {fitting}" if fitting else "Nothing smaller would fit either: allow more memory"
    return (
        f"It does not fit into {gigabytes(limit)}: to {least.task.name} takes {gigabytes(least.device_bytes)} at "
        f"least{swapped} ({gigabytes(least.weight_bytes)} of weights, {gigabytes(least.way.working_bytes)} beside "
        f"them). {advice}."
    )


def tell(choice: Choice) -> None:
    """One line for the log about blocks that are swapped, or whose matrices are kept as plain numbers."""
    if choice.plain:
        logger.info(
            "The quantised matrices of %d of %d blocks are made plain once and kept: %s more, %s in all.",
            choice.plain,
            len(choice.task.block_bytes),
            gigabytes(choice.plain_bytes),
            gigabytes(choice.device_bytes),
        )
    if not choice.swapped:
        return
    logger.info(
        "%d of %d blocks are swapped in: %s on the device, %s per step over the bus.",
        choice.swapped,
        len(choice.task.block_bytes),
        gigabytes(choice.device_bytes),
        gigabytes(choice.copied_bytes),
    )


def check_for_cpu(dtype: torch.dtype, file: str) -> None:
    """Refuses to compute in fp16 on the CPU, where it is about a thousand times slower than in other formats.

    Raises:
        InvalidInputError: it is fp16.
    """
    if dtype == torch.float16:
        raise InvalidInputError(
            f"{file} is loaded in fp16, in which a CPU computes a thousand times slower than in bf16 or fp32. Load it "
            "with precision bf16, or leave it on the GPU."
        )
