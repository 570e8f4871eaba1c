"""From a graph to the stages of its run, without loading or running anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import reduce
from operator import add
from typing import Any, Literal, get_args

from ...common.errors import GraphError, InvalidInputError
from ...common.families import Family
from ...common.printable import printable_name
from ...common.shapes import VideoShape
from ...engine.memory import AUTOMATIC, MemorySettings, MemoryWidgets
from ...engine.tasks import clip_task, decoding_task, encoding_task, latent_shape, sampling_task, text_task
from ...memory.plan import Task
from ...sampling.ask import Side
from ...sampling.guidance import CFG, most_asks
from ...sampling.schedule import make_schedule
from ..hosts.host import host
from ..sockets import check_video_size
from .core_nodes import LIGHT_CORE_NODES
from .graph import Graph, GraphNode, Link
from .pairs import DECODERS, LOADERS
from .plan_clips import clip_shape
from .plan_files import Facts, model_facts
from .plan_prompts import COMBINING, prompts_at

SIZED = frozenset({"WanDirectorEmptyLatent", "WanDirectorImageToVideo", "WanDirectorVace"})
OURS_WITHOUT_MODEL = frozenset({
    "WanDirectorLora", "WanDirectorExperts", "WanDirectorKeyframe", "WanDirectorMemory", "WanDirectorLoadVideo",
    "WanDirectorSaveVideo",
})  # fmt: skip
_LIGHT = OURS_WITHOUT_MODEL | LIGHT_CORE_NODES | COMBINING.keys() | {
    "LoadAudio", "ImageCrop", "ImagePadForOutpaint", "RepeatLatentBatch", "TrimVideoLatent", "LatentBatch",
    "SaveWEBM", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveAudio", "SaveLatent", "PreviewAudio",
    "Note", "MarkdownNote", "Reroute", "PrimitiveNode",
}  # fmt: skip
"""Nodes without a model: what they take of a card is not worth planning."""
_MODELS = {
    "text": (("text_encoder", "clip"), "WanDirectorLoadTextEncoder"),
    "clip": (("clip_vision",), "WanDirectorLoadClipVision"),
    "encode": (("vae",), "WanDirectorLoadVAE"),
    "sample": (("model",), "WanDirectorLoadModel"),
    "decode": (("vae",), "WanDirectorLoadVAE"),
}
"""Kind of stage -> the inputs its model may come over, and the loader it must come from."""
_LEVELS = make_schedule("simple", 20, 5.0).levels[:-1]
"""Where the steps of a run may begin: its own are not known before it, and guidance may ask more in some of them."""

Kind = Literal["text", "clip", "encode", "sample", "decode"]
_ORDER: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Stage:
    """One stage of a graph's run: a node and the model it runs.

    `video` is None where the stage does not depend on it; `is_on_cpu` ones take nothing of the device. `passes` of the
    model in a step, `controls` videos, `references` before the video and `batch` are of sampling; `keeps_frames` of
    decoding: whether all of them are in RAM at once. `unknown_prompts`: the node that may give more prompts than
    `passes` count, which is not known before it runs.
    """

    kind: Kind
    node: GraphNode
    loader: GraphNode
    facts: Facts
    settings: MemorySettings
    video: VideoShape | None = None
    is_on_cpu: bool = False
    passes: int = 1
    controls: int = 0
    references: int = 0
    batch: int = 1
    keeps_frames: bool = True
    unknown_prompts: GraphNode | None = None

    def task(self, video: VideoShape | None = None, facts: Facts | None = None) -> Task:
        """What there is to do, for another video or with other weights where given."""
        facts, video = facts or self.facts, video or self.video
        weights, config = facts.weights, facts.config
        if self.kind == "text":
            return text_task(weights, config)
        if self.kind == "clip":
            return clip_task(weights)
        if self.kind == "encode":
            return encoding_task(weights, config, video)
        if self.kind == "decode":
            return decoding_task(weights, config, video, keeps_frames=self.keeps_frames)
        latent = latent_shape(facts.family, video, self.references)
        run = self.settings.feed_forward_run
        steering = {type(branch): self.controls for branch in config.branches}
        return sampling_task(weights, config, self.batch, latent, passes=self.passes, steering=steering, run=run)

    def in_fp8(self) -> Facts | None:
        """The facts with the weights cast to fp8; None where they are that small already or cannot be cast."""
        if self.kind not in ("sample", "text"):
            return None
        facts = facts_of(self.loader, "fp8_scaled")
        return facts if facts.weights.total < 0.95 * self.facts.weights.total else None


class GraphReader:
    """Finds what a graph will do; nodes that are not known here are passed over, and named.

    Args:
        graph: nodes by id.
        size: overrides what the graph says.
    """

    def __init__(self, graph: Graph, size: VideoShape | None = None) -> None:
        self._graph = graph
        self._size = size

    def stages(self) -> list[Stage]:
        """The stages in the order they run; the same work at several nodes counts once, as its largest.

        Raises:
            GraphError: nothing in it takes a model, or a size is not known before it runs.
            MissingFileError, CheckpointError: see `plan_files.model_facts`.
        """
        found = [stage for node in self._graph.values() for stage in self._stages_of(node)]
        if not found:
            raise GraphError(
                "There is nothing to plan in this workflow: it has no node that encodes, samples or decodes. Give one "
                "that makes a video."
            )
        largest: dict[tuple[str, str], Stage] = {}
        for stage in sorted(found, key=lambda stage: _ORDER.index(stage.kind)):
            key = (stage.kind, stage.facts.name)
            if key not in largest or _size_of(stage) > _size_of(largest[key]):
                largest[key] = stage
        return list(largest.values())

    def passed_over(self) -> list[GraphNode]:
        """The nodes whose memory is not known here: of other packs, or with a model of a loader that is not ours."""
        return [node for node in self._graph.values() if not self._is_accounted_for(node)]

    def _is_accounted_for(self, node: GraphNode) -> bool:
        if node.class_type in _LIGHT | LOADERS.keys() or (node.class_type in SIZED and not self._has_pictures(node)):
            return True
        return any(True for _ in self._stages_of(node))

    def _stages_of(self, node: GraphNode) -> Iterator[Stage]:
        name = node.class_type
        if name in ("WanDirectorTextEncode", "CLIPTextEncode"):
            yield from self._stage("text", node)
        elif name == "WanDirectorClipVisionEncode":
            yield from self._stage("clip", node)
        elif name == "WanDirectorSampler":
            yield from self._sampling(node)
        elif name in DECODERS:
            source = node.inputs.get("latent", node.inputs.get("samples"))
            yield from self._stage("decode", node, source, keeps_frames=name != "WanDirectorDecodeToVideo")
        elif name == "WanDirectorEncode" or (name in SIZED and self._has_pictures(node)):
            yield from self._stage("encode", node, Link(node.id, 0))

    def _stage(
        self, kind: Kind, node: GraphNode, sized: Any = None, model: Any = None, **details: Any
    ) -> Iterator[Stage]:
        """The stage of a node; none when its model is of a loader that is not ours. `model`: the wire it comes over."""
        links, loader = _MODELS[kind]
        wires = [node.inputs.get(link) for link in links] if model is None else [model]
        source = next((found for wire in wires if (found := self._origin(wire))), None)
        if source is None or source.class_type != loader:
            return
        settings = self._settings(node)
        placement = {"text": settings.text_encoder, "encode": settings.vae, "decode": settings.vae}
        on_cpu = "cpu" in (source.inputs.get("device"), placement.get(kind))
        video = None if sized is None else self._video(sized, node)
        facts = facts_of(source)
        if video is not None:
            check_video(video, facts.family, node)
        yield Stage(kind, node, source, facts, settings, video, on_cpu, **details)

    def _sampling(self, node: GraphNode) -> Iterator[Stage]:
        steering = self._upstream(node.inputs.get("positive"))
        controls = [each for each in steering if each.class_type == "WanDirectorVace"]
        sized = self._origin(node.inputs.get("latent"), SIZED)
        batch = _number(sized, "batch_size", 1) if sized else 1
        references = sum(isinstance(each.inputs.get("reference_image"), Link) for each in controls)
        sides = {side: prompts_at(self._graph, node.inputs.get(side)) for side in get_args(Side)}
        for model, cfg, loras in self._experts(node):
            asked = reduce(add, (sides[ask.side] for ask in most_asks(CFG(cfg), _LEVELS)))
            for stage in self._stage("sample", node, node.inputs.get("latent"), model):
                weights = stage.facts.weights
                weights = weights._replace(fixed=weights.fixed + _lora_bytes(loras))
                yield replace(
                    stage, facts=stage.facts._replace(weights=weights), controls=len(controls), references=references,
                    passes=asked.number, batch=int(batch), unknown_prompts=asked.unknown,
                )  # fmt: skip

    def _experts(self, node: GraphNode) -> Iterator[tuple[Any, Any, list[GraphNode]]]:
        """The wire of each model that a sampler runs, its cfg, and the LoRAs on its way."""
        wire, cfg = node.inputs.get("model"), _number(node, "cfg", 5.0)
        pair = self._origin(wire, {"WanDirectorExperts"})
        if pair is None:
            yield wire, cfg, self._loras(wire)
            return
        high, low = pair.inputs.get("high_noise"), pair.inputs.get("low_noise")
        for own, other, own_cfg in ((high, low, cfg), (low, high, _number(pair, "low_noise_cfg", 0.0) or cfg)):
            of_other = {each.id for each in self._upstream(other)} - {each.id for each in self._upstream(own)}
            yield own, own_cfg, [each for each in self._loras(wire) if each.id not in of_other]

    def _loras(self, wire: Any) -> list[GraphNode]:
        return [each for each in self._upstream(wire) if each.class_type == "WanDirectorLora"]

    def _video(self, source: Any, node: GraphNode) -> VideoShape:
        """The size of the video behind a wire of latents."""
        if self._size is not None:
            return self._size
        for each in self._upstream(source):
            if each.class_type in SIZED:
                names = ("frames", "height", "width")
                if not any(isinstance(each.inputs.get(name), Link) or name not in each.inputs for name in names):
                    return VideoShape(*(int(_number(each, name)) for name in names))
            if each.class_type == "WanDirectorEncode":
                size = clip_shape(self._graph, each.inputs.get("images"))
                if size is not None:
                    return size
        raise GraphError(
            f"The size of the video at {node.label} is not known before the workflow runs. Give it with --size, for "
            "example --size 832x480x81 (width, height, frames)."
        )

    def _has_pictures(self, node: GraphNode) -> bool:
        return node.class_type == "WanDirectorVace" or any(
            isinstance(node.inputs.get(name), Link) for name in ("start_image", "end_image", "keyframes")
        )

    def _settings(self, node: GraphNode) -> MemorySettings:
        source = self._origin(node.inputs.get("memory"), {"WanDirectorMemory"})
        if source is None:
            return AUTOMATIC
        known = {field.name: type(field.default) for field in fields(MemoryWidgets)}
        unknown = next((name for name in source.inputs if name not in known), None)
        if unknown is not None:
            raise GraphError(f"{source.label} has no input '{unknown}'. It has: {', '.join(known)}.")
        given = [name for name, value in source.inputs.items() if not isinstance(value, Link)]
        values = {name: (_text if known[name] is str else _number)(source, name) for name in given}
        return MemoryWidgets(**values).settings()

    def _origin(self, source: Any, wanted: Any = None) -> GraphNode | None:
        """The first node upstream along a wire that is a loader, or one of the wanted classes."""
        wanted = wanted or LOADERS
        return next((node for node in self._upstream(source) if node.class_type in wanted), None)

    def _upstream(self, source: Any) -> Iterator[GraphNode]:
        """The nodes that a wire comes from, the nearest first."""
        waiting, seen = [source], set()
        while waiting:
            link = waiting.pop(0)
            if not isinstance(link, Link) or link.node in seen or link.node not in self._graph:
                continue
            seen.add(link.node)
            node = self._graph[link.node]
            yield node
            waiting += list(node.inputs.values())


def facts_of(loader: GraphNode, precision: str | None = None) -> Facts:
    """The facts of what a loader loads; with another precision than it says, where given."""
    kind, widget = LOADERS[loader.class_type]
    name = loader.inputs.get(widget)
    if not isinstance(name, str):
        raise GraphError(f"{loader.label} does not say which file it loads. Choose one in it.")
    module = loader.inputs.get("vace_module", "none")
    own = str(loader.inputs.get("precision", "auto"))
    facts = model_facts(kind, name, precision or own, None if module == "none" else module)
    has_fp32_residual = loader.inputs.get("residual") == "fp32"
    return facts._replace(weights=facts.weights._replace(fp32_residual=has_fp32_residual))


def check_video(video: VideoShape, family: Family, node: GraphNode) -> None:
    """Refuses a size that a run refuses, too.

    Raises:
        InvalidInputError: the models of this family cannot make it.
    """
    try:
        check_video_size(video.width, video.height, video.frames, family)
    except InvalidInputError as error:
        raise InvalidInputError(f"{node.label}: ", *error.parts) from None


def _number(node: GraphNode, name: str, default: float = 0.0) -> float:
    """A number of a node; the default where it is left out, or comes over a wire.

    Raises:
        GraphError: it is none.
    """
    value = node.inputs.get(name, default)
    if isinstance(value, Link):
        return default
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise GraphError(f"{name} of {node.label} must be a number, got {printable_name(repr(value))[:80]}.")
    return int(number) if number == int(number) else number


def _text(node: GraphNode, name: str) -> str:
    value = node.inputs[name]
    if not isinstance(value, str):
        raise GraphError(f"{name} of {node.label} must be a word, got {printable_name(repr(value))[:80]}.")
    return value


def _lora_bytes(loras: Iterable[GraphNode]) -> int:
    names = [each.inputs.get("lora_name") for each in loras]
    paths = [host().find_model("loras", name) for name in names if isinstance(name, str)]
    return sum(path.stat().st_size for path in paths if path is not None)


def _size_of(stage: Stage) -> int:
    task = stage.task()
    return task.fixed_bytes + sum(task.block_bytes) + task.ways[0].working_bytes
