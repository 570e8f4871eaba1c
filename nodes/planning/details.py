"""What a plan says about a stage beside its bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...common.printable import printable_name
from ...common.shapes import VideoShape
from ...engine.loras import file_bytes
from ...engine.memory import Job
from ...engine.progress import duration_in_words
from ...engine.recipe import LoraRecipe
from ...memory.budget import gigabytes
from ...memory.plan import Choice
from ...model_loading.publishing.known_files import NON_COMMERCIAL, known_file
from .stages import PlannableStage

_ALIKE = 0.05
"""The part that a weight reckoned from shapes may be away from its file's size: scales, and what keeps 16 bits."""


def details(stage: PlannableStage, choice: Choice, fits: bool, *, has_speed: bool = True) -> Iterator[str]:
    """What there is to say about a stage beside its bar, of how it is going to run, and of whether that fits.

    Args:
        has_speed: whether the speed of the device is known.
    """
    is_on_cpu = stage.job.is_on_cpu
    own = stage.job.weights.total - sum(file_bytes(lora.path) for lora in stage.job.loras)
    yield f"{stage.file} ({_weight(stage, own)})" + _size(stage.job.video)
    known = known_file(stage.job.recipe.path.name)
    if known is not None and known.is_non_commercial:
        yield NON_COMMERCIAL
    yield from map(_lora, stage.job.loras)
    yield from _work(stage, choice, has_speed)
    yield from _shared(stage, choice, has_speed)
    if is_on_cpu:
        yield "on the CPU: takes nothing of the card"
    elif not fits:
        yield "does not fit, this is the least it takes"
    if is_on_cpu:
        return
    yield from _prompts(stage)
    if choice.swapped:
        yield f"{choice.swapped} of {len(choice.task.block_bytes)} blocks are swapped in from RAM{_cost(choice)}"
    if choice.way.leanness:
        how = "blocks are run again part by part" if stage.kind == "train" else "a block keeps little while it runs"
        yield f"{how}, {choice.way.slowdown:.0%} slower"
    if choice.way.host_bytes:
        yield f"inputs of blocks wait in RAM for the way back: {gigabytes(choice.way.host_bytes)}"
    if choice.plain:
        kept = f"{choice.plain} of {len(choice.task.block_bytes)} blocks are made plain once and kept"
        yield f"quantised matrices of {kept}: {gigabytes(choice.plain_bytes)} of what is left"
    if choice.way.number > 1 and not choice.task.block_bytes:
        yield f"in {choice.way.number} strips, {choice.way.slowdown:.0%} slower"


def _work(stage: PlannableStage, choice: Choice, has_speed: bool) -> Iterator[str]:
    """About work that is done in windows, or for each clip of a film."""
    work = stage.job.run_work
    heads: list[str] = []
    parts = "" if work is None or stage.job.video is None else work.parts_of(stage.job.video)
    if parts:
        heads.append(f"in {parts}")
    if stage.clips:
        heads.append(f"for {'1 clip' if stage.clips == 1 else f'each of {stage.clips:,} clips'} of the film")
    yield from heads[:-1]
    if heads:
        yield heads[-1] + ("" if work is None else _passes(stage.jobs, choice, has_speed))


def _shared(stage: PlannableStage, choice: Choice, has_speed: bool) -> Iterator[str]:
    """About a step that several devices share."""
    shared = stage.job.shared
    if shared is None:
        return
    passes = "1 pass" if shared.passes == 1 else f"{shared.passes} passes"
    whole = f"{passes} of a step each" if shared.team == 1 else f"{passes} of a step for every {shared.team} of them"
    yield f"shared by {shared.devices} devices, {whole}: each sends {gigabytes(shared.sent_bytes)} in a step"
    if has_speed:
        task = choice.task
        part = shared.efficiency(task.flops * task.passes * shared.devices, choice.card.flops, choice.card.bus_bytes)
        yield f"{part * shared.devices:.1f} times as fast as one device, {part:.0%} of what {shared.devices} could be"


def _passes(jobs: Sequence[Job], choice: Choice, has_speed: bool) -> str:
    """How many passes the work of these jobs takes, and how long."""
    passes = [0 if job.run_work is None else job.run_work.passes * max(job.times, 1) for job in jobs]
    words = f": {sum(passes):,} passes of the model in all"
    if not has_speed:
        return words
    flops = sum(job.task.flops * each for job, each in zip(jobs, passes))
    return f"{words}, about {duration_in_words(flops / choice.card.flops * (1 + choice.slowdown))}"


def _weight(stage: PlannableStage, own: int) -> str:
    """What a model takes; where its file is still to come, what that takes, and its own weight where it is another."""
    if stage.is_here:
        return gigabytes(own)
    known = known_file(stage.job.recipe.path.name)
    size = own if known is None or not known.size_bytes else known.size_bytes
    if abs(own / size - 1) < _ALIKE:
        return f"{gigabytes(size)}, not downloaded yet"
    return f"{gigabytes(own)}; its file of {gigabytes(size)} is not downloaded yet"


def _lora(lora: LoraRecipe) -> str:
    size, is_here = file_bytes(lora.path), lora.path.is_file()
    known = [gigabytes(size)] if size else []
    return f"with {printable_name(lora.path.name)} ({', '.join(known + ([] if is_here else ['not downloaded yet']))})"


def _prompts(stage: PlannableStage) -> Iterator[str]:
    """About prompts that were combined, each of which is one more pass in a step."""
    unknown = stage.unknown_prompts
    if unknown is not None:
        named = f"{printable_name(unknown.label)}: {printable_name(unknown.class_type)}"
        passes = "1 pass" if stage.job.passes == 1 else f"{stage.job.passes} passes"
        yield f"{passes} of the model a step, or more: how many prompts come from {named} is not known here"
    elif stage.job.passes > 2:
        yield f"{stage.job.passes} passes of the model a step, one for each prompt"


def _cost(choice: Choice) -> str:
    if not choice.copied_bytes:
        return ""
    if choice.task.runs_once:
        return f": {gigabytes(choice.copied_bytes)} per prompt, about {choice.copied_s:.1f} s"
    slower = f"about {choice.slowdown:.0%} slower" if choice.slowdown >= 0.005 else "hidden behind it"
    return (
        f": {gigabytes(choice.copied_bytes)} per step, copied in {choice.copy_ratio:.1%} of the time of computing, "
        f"{slower}"
    )


def _size(video: VideoShape | None) -> str:
    if video is None:
        return ""
    return f", {video.frames} frame{'s' if video.frames > 1 else ''} of {video.width} x {video.height}"
