"""What a step of sampling has to do, as the planner of memory asks it: from a model's weights and a video's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod

from ...common.shapes import LatentShape
from ...dit.branches.branch import PassShape
from ...dit.config import PATCH, DiTConfig
from ...dit.execution import lean_ways
from ...dit.footprint import (
    NO_STEERING,
    Share,
    block_weights,
    pass_bytes,
    pass_shape,
    past_bytes,
    shared_pass_bytes,
    with_tokens_before,
)
from ...memory.budget import FLOPS_PER_BYTE
from ...memory.plan import Task, Way
from ...model_loading.footprint import ModelBytes
from ...parallel.layout import teams
from ..poses.room import pose_room
from .sights import Size, Steps

_SLOWDOWN = (0.0, 0.03, 0.08)
"""The part of time that each of `lean_ways` takes more than the first: norms that are made again, and a matrix more."""

_STATE_LATENTS = 8
"""Latents in float32 that a run holds: the state, the noise, what the solver remembers, and two predictions."""


def sampling_task(
    weights: ModelBytes,
    config: DiTConfig,
    batch: int,
    latent: LatentShape,
    *,
    passes: int,
    steering: Mapping[type, int] = NO_STEERING,
    run: int,
    steps: Steps = Steps(),  # noqa: B008  (a frozen value)
) -> Task:
    """One step of sampling.

    Args:
        passes: questions of a step, see `guidance.most_asks`; each is a pass of the model in every window.
        steering: by kind of branch, how many things steer it.
        run: tokens at a time in the feed-forward layers, 0 for the usual number.
        steps: what the model sees at once, and what is kept.
    """
    size = Size(*latent[1:])
    passes = max(passes, 1)  # steps that ask nothing still have the model's weights in place

    def plain_shape(seen: Size) -> PassShape:
        return pass_shape((batch, seen.frames, seen.height, seen.width), steering, beside=steps.beside(seen, size))

    def shape_of(seen: Size) -> PassShape:
        return with_tokens_before(config, plain_shape(seen))

    windows, largest = steps.busiest(size), steps.largest(size)
    shape = plain_shape(largest)
    lengths = [shape_of(window).length for window in windows]
    _, before = remembered(steps, size)
    flops = batch * sum(config.block_flops(length, before) for length in lengths) / len(windows) * len(weights.blocks)
    itemsize = weights.token_itemsize
    on_device = latent._replace(frames=steps.policies.order.frames_at_once(latent.frames))
    kept = _kept_bytes(config, batch, on_device, passes, steering)
    kept += remembered_bytes(steps, config, (batch, *latent), weights.itemsize)
    kept += 4 * config.out_channels * steps.beside(size, size) * prod(PATCH)  # of one video: all passes share them
    kept += max(
        sum(
            steps.policies.cache.kept_bytes(
                passes, shape_of(each).tokens * config.dim * itemsize, 4 * batch * config.out_channels * prod(each)
            )
            for each in seen
        )
        for seen in steps.seen(size)
    )
    poses = pose_room(steps, config, size, itemsize)
    kept += poses.device_bytes
    # Where copies would take longer than computing, the passes can go together, for a buffer more.
    numbers = {1, passes} if sum(weights.blocks) * FLOPS_PER_BYTE > flops else {1}
    of_pass = partial(pass_bytes, config)
    if steps.devices > 1:  # which take all of them
        team = teams(steps.devices, passes)[0]
        numbers = {passes}
        of_pass = partial(shared_pass_bytes, config, share=Share(len(team.ranks), len(team.passes)))
    made_by = partial(
        of_pass,
        itemsize=weights.itemsize,
        unpacking=weights.unpacking,
        run=run,
        fp32_residual=weights.fp32_residual,
    )
    ways = tuple(
        Way(number, kept + made_by(shape=shape._replace(together=number), lean=lean), slowdown, leanness)
        for leanness, (lean, slowdown) in enumerate(zip(lean_ways(config.heads), _SLOWDOWN))
        for number in sorted(numbers)
    )
    runs, flops = passes * len(windows), flops / steps.devices
    return Task("sample", weights.fixed, weights.blocks, ways, flops, runs, weights.anonymous, poses.host_bytes)


def remembered_bytes(steps: Steps, config: DiTConfig, latent: Sequence[int], itemsize: int) -> int:
    """What a causal model remembers of a latent of the shape [B, C, T, h, w], at most."""
    tokens, _ = remembered(steps, Size(*latent[2:]))
    return steps.questions * past_bytes(config, latent[0], 1, tokens, itemsize=itemsize)


def remembered(steps: Steps, size: Size) -> tuple[int, int]:
    """Tokens of such a video that a causal model remembers, with those of a pass, and looks back at on average."""
    order = steps.policies.order
    of_frame = pass_shape((1, 1, size.height, size.width)).tokens
    most = order.frames_kept(size.frames)
    seen = min(most, (size.frames + order.frames_at_once(size.frames)) / 2)
    before = max(0.0, seen - order.frames_at_once(size.frames)) if most else 0.0
    return most * of_frame, round(before * of_frame)


def with_plain_matrices(task: Task, weights: ModelBytes, config: DiTConfig) -> Task:
    """The task of a model whose matrices, where they are stored quantised, may be kept as plain numbers.

    All numbers of a block are counted: the projections of a branch's own blocks are quantised in some files.
    """
    if not weights.unpacking.is_made:
        return task
    numbers = (block.matrix + block.other for block in block_weights(config))
    return replace(task, plain_bytes=tuple(count * weights.itemsize for count in numbers))


def with_work_between(task: Task, latent: LatentShape, batch: int, working_bytes: int) -> Task:
    """The task with something done between two steps, beside the state, where the passes take nothing."""
    if not working_bytes:
        return task
    needed = 4 * _STATE_LATENTS * batch * prod(latent) + working_bytes
    ways = tuple(way._replace(working_bytes=max(way.working_bytes, needed)) for way in task.ways)
    return replace(task, ways=ways)


def _kept_bytes(config: DiTConfig, batch: int, latent: LatentShape, passes: int, steering: Mapping[type, int]) -> int:
    """Latents, and what steers the model."""
    _, frames, height, width = latent
    pixels = batch * frames * height * width
    channels = _STATE_LATENTS * config.out_channels + passes * config.image_channels
    of_branches = sum(branch.input_bytes(pixels, passes, steering.get(type(branch), 0)) for branch in config.branches)
    return 4 * (pixels * channels + passes * config.text_tokens * config.text_dim) + of_branches
