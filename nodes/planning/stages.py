"""From a graph to the stages of its run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import get_args

import torch

from ...common.errors import GraphError, InvalidInputError, WanDirectorError
from ...common.records import record
from ...common.shapes import VideoShape
from ...engine.memory import Job, JobKind
from ...model_loading.footprint import ModelBytes
from ...model_loading.kinds import MODEL_KINDS
from ...model_loading.outline import outline
from ...model_loading.precision import Precision
from ..headless.checks import NodeClasses, named
from ..headless.graph import Graph, GraphNode, Link
from ..headless.widgets import inputs_of
from ..hosts.host import host
from ..sockets.latents import check_video_size
from .native import HANDING_ON, known_classes
from .recording import Noted, Recording, record_run
from .unknown import ASSUMPTIONS, Assumption

_ORDER: tuple[JobKind, ...] = get_args(JobKind)
_CARD = torch.device("cuda")
"""Plans are for a device that is not a CPU; which one it is does not matter to the number format."""


@record(slots=False)
class PlannableStage:
    """One stage of a graph's run.

    Attributes:
        node: that it belongs to.
        loader: of its model.
        job: what there is to do, that takes most.
        jobs: all that the node has the model do, one after the other: for the mask of an edit and for the edit, for the
            clips of a film.
        unknown_prompts: the node that may give more prompts than are counted, which is not known before it runs.
    """

    node: GraphNode
    loader: GraphNode
    job: Job
    jobs: tuple[Job, ...]
    unknown_prompts: GraphNode | None = None

    @property
    def kind(self) -> JobKind:
        """Which stage."""
        return self.job.kind

    @property
    def clips(self) -> int:
        """Of a film, for each of which it is done; 0 where it is part of none."""
        return sum(job.times for job in self.jobs)

    @property
    def file(self) -> str:
        """The name of the model's file, as the loader shows it."""
        path = self.job.recipe.path
        kind = MODEL_KINDS[self.job.recipe.kind]
        folders = [folder for folder in host().model_folders(kind.folder_name) if path.is_relative_to(folder)]
        return path.relative_to(folders[0]).as_posix() if folders else path.name

    @property
    def is_here(self) -> bool:
        """Whether the file is."""
        return os.path.exists(self.job.recipe.path)

    @property
    def key(self) -> tuple[JobKind, str]:
        """Two stages with the same one are the same work."""
        return self.kind, self.file

    @property
    def size_bytes(self) -> tuple[int, int]:
        """What it takes of the device with everything on it, and of RAM."""
        task = self.job.task
        return task.fixed_bytes + sum(task.block_bytes) + task.ways[0].working_bytes, task.host_bytes

    def in_fp8(self) -> Job | None:
        """The job with the weights cast to fp8; None where they are that small already or cannot be cast."""
        if self.kind not in ("sample", "text", "train"):
            return None
        recipe, weights = self.job.recipe, self.job.weights
        own = _weights(self.job, recipe.precision)
        cast = _weights(self.job, "fp8_scaled")
        cast = cast._replace(fixed=cast.fixed + weights.fixed - own.fixed)
        return replace(self.job, weights=cast) if cast.total < 0.95 * weights.total else None


@record(slots=False)
class GraphStages:
    """All stages of a graph's run; `passed_over`: nodes whose memory is not known here."""

    stages: tuple[PlannableStage, ...]
    passed_over: tuple[GraphNode, ...]


def find_stages(graph: Graph, size: VideoShape | None = None, node_classes: NodeClasses | None = None) -> GraphStages:
    """The stages in the order of their kinds; the same work at several nodes counts once, as its largest.

    Args:
        size: overrides what the graph says.
        node_classes: that can be planned, by name; those of the pack and of ComfyUI's where not given.

    Raises:
        WanDirectorError: what a run refuses; or nothing in it takes a model, or a size is not known before it runs.
    """
    classes = known_classes() if node_classes is None else node_classes
    first, second = (guess if size is None else guess._replace(size=size) for guess in ASSUMPTIONS)
    made = _recorded(graph, classes, first)
    stages = _largest(made, size)
    if not stages:
        raise GraphError(
            "There is nothing to plan in this workflow: it has no node that encodes, samples or decodes. Give one that "
            "makes a video."
        )
    if made.has_guessed:
        others = _others(graph, classes, second, size)
        makes_video = any(stage.job.kind != "encode" and stage.job.video is not None for stage in stages)
        for stage in stages:
            _check_size(stage, others.get(stage.key), makes_video, made.missing)
        stages = [_compared(stage, others.get(stage.key), graph, classes) for stage in stages]
    return GraphStages(tuple(stages), tuple(made.passed_over))


def _recorded(graph: Graph, classes: NodeClasses, guess: Assumption) -> Recording:
    return record_run(graph, classes, guess, lambda _kind, choice: torch.device("cpu") if choice == "cpu" else _CARD)


def _others(
    graph: Graph, classes: NodeClasses, guess: Assumption, size: VideoShape | None
) -> dict[tuple[JobKind, str], PlannableStage]:
    """The stages under another guess; none where it cannot be."""
    try:
        return {stage.key: stage for stage in _largest(_recorded(graph, classes, guess), size)}
    except WanDirectorError:
        return {}


def _largest(made: Recording, size: VideoShape | None) -> list[PlannableStage]:
    largest: dict[tuple[JobKind, str], PlannableStage] = {}
    for noted in sorted(made.stages, key=lambda noted: _ORDER.index(noted.job.kind)):
        job = _resized(noted, size)
        stage = PlannableStage(noted.node, noted.loader, job, (job,))
        other = largest.get(stage.key)
        largest[stage.key] = stage if other is None else _larger(other, stage)
    return list(largest.values())


def _larger(one: PlannableStage, other: PlannableStage) -> PlannableStage:
    """Of the same work the one that takes more; of one node it counts what there is to do in both."""
    larger = max(one, other, key=lambda each: each.size_bytes)
    return replace(larger, jobs=(*one.jobs, *other.jobs)) if one.node.id == other.node.id else larger


def _resized(noted: Noted, size: VideoShape | None) -> Job:
    """The job for a video of another size, where it depends on that.

    Raises:
        InvalidInputError: the models of its family cannot make it.
    """
    if size is None or noted.job.video is None:
        return noted.job
    try:
        check_video_size(size.width, size.height, size.frames, noted.job.spec.family)
    except InvalidInputError as error:
        raise named(noted.node, error) from None
    return replace(noted.job, video=size)


def _check_size(stage: PlannableStage, other: PlannableStage | None, makes_video: bool, missing: list[str]) -> None:
    """Refuses a stage whose video has a size that was guessed, by another guess.

    Pictures to encode may have one where a video is made: that has a size of its own, or is refused itself.

    Args:
        missing: the names of files that are not here.

    Raises:
        GraphError: it does.
    """
    video, others = stage.job.video, None if other is None else other.job.video
    if video is None or video == others or (makes_video and stage.kind == "encode" and others is not None):
        return
    frames = video.frames if others is not None and others.frames == video.frames else 81
    since = f"{missing[0]} is there" if missing else "the workflow runs"
    choice = ", or choose a picture or video that is there" if missing else ""
    raise GraphError(
        f"The size of the video at {stage.node.label} is not known before {since}. Give it with --size, for example "
        f"--size 832x480x{frames} (width, height, frames){choice}."
    )


def _compared(
    stage: PlannableStage, other: PlannableStage | None, graph: Graph, classes: NodeClasses
) -> PlannableStage:
    """A stage that two guesses agree on, or the larger guess; with the node that they count other prompts of."""
    if other is not None and other.job.video != stage.job.video:
        return max(stage, other, key=lambda each: each.size_bytes)
    if other is None or other.job.passes == stage.job.passes:
        return stage
    return replace(stage, unknown_prompts=_unknown_source(stage.node, graph, classes))


def _unknown_source(node: GraphNode, graph: Graph, classes: NodeClasses) -> GraphNode | None:
    """The nearest node that is not known, on the ways up over the inputs in their order."""
    for start in _conditionings(node, classes):
        waiting, seen = [start], set()
        while waiting:
            link = waiting.pop(0)
            if link.node in seen:
                continue
            seen.add(link.node)
            each = graph[link.node]
            if each.class_type not in classes and each.class_type not in HANDING_ON:
                return each
            waiting += _conditionings(each, classes)
    return None


def _conditionings(node: GraphNode, classes: NodeClasses) -> Iterable[Link]:
    """The wires that prompts may come over."""
    if node.class_type not in classes:
        return node.links
    types = classes[node.class_type].INPUT_TYPES()
    specs = {spec.name: spec.type for spec in inputs_of(types, node.inputs)}
    return [wire for name, wire in node.inputs.items() if isinstance(wire, Link) and specs.get(name) == "CONDITIONING"]


def _weights(job: Job, precision: Precision) -> ModelBytes:
    recipe = job.recipe
    made = outline(recipe.path, MODEL_KINDS[recipe.kind], precision, _CARD, recipe.modules)
    return made.weights._replace(fp32_residual=recipe.fp32_residual)
