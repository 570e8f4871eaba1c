"""`wan-director plan`: what each stage of a graph takes, drawn as bars, before anything is loaded or downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ...common.errors import GraphError, OutOfMemory
from ...common.printable import printable_name
from ...common.records import record
from ...common.shapes import VideoShape, check_frames
from ...engine.memory import refusal
from ...engine.tasks import smaller_videos
from ...memory.budget import GB, Card, example_card, gigabytes
from ...memory.pinned import RAM_SHARE, default_pinned_bytes
from ...memory.plan import Choice, keep_plain, plan, smallest, smallest_bytes, swap_exactly
from ...model_loading.kinds import DIT
from ..headless.checks import NodeClasses
from ..headless.graph import Graph, GraphNode
from ..headless.graph.api_format import api_inputs
from ..hosts.host import host
from .details import details
from .stages import GraphStages, PlannableStage, find_stages

_NAMED = 5
"""Nodes that a line names at most."""
WIDTH = 40
"""Characters of a bar."""


class Machine(NamedTuple):
    """What a plan is for: bytes of the card, of RAM (None: not looked at), and of RAM that may be pinned.

    Without a GPU, the memory of the processor is the card's. With several cards, all of a kind, it is that of each.
    """

    vram: int
    ram: int | None
    pinned: int
    has_gpu: bool = True
    cards: int = 1

    @property
    def card(self) -> Card:
        """The card whose speed is assumed."""
        return example_card(self.vram)


def machine(vram: int, ram: int | None = None, cards: int = 1) -> Machine:
    """A machine with this much memory; RAM that is not given is that for all that may be swapped."""
    return Machine(vram, ram, int(RAM_SHARE * ram) // cards if ram is not None else 1 << 50, cards=cards)


@record(slots=False)
class PlannedStage:
    """One stage and how it is going to run; `limit`, `pinned`: bytes of the device, and of pinned RAM, it may take."""

    stage: PlannableStage
    choice: Choice
    limit: int
    pinned: int

    @property
    def is_on_cpu(self) -> bool:
        """Whether it takes nothing of the device."""
        return self.stage.job.is_on_cpu

    @property
    def fits(self) -> bool:
        """Whether it stays within the limit."""
        return self.is_on_cpu or self.choice.device_bytes <= self.limit


@record(slots=False)
class Plan:
    """All stages of a run on a machine; `passed_over`: nodes of it whose memory is not known here."""

    stages: tuple[PlannedStage, ...]
    machine: Machine
    passed_over: tuple[GraphNode, ...] = ()

    @property
    def scale_bytes(self) -> int:
        """What the whole length of a bar stands for: the card, or the largest need if that is more."""
        needs = [planned.choice.device_bytes for planned in self.stages if not planned.is_on_cpu]
        return max([self.machine.vram, *needs])

    @property
    def host_bytes(self) -> int:
        """RAM that is not given back under pressure; of several cards each has a process of its own."""
        return self.machine.cards * self._host_bytes

    @property
    def _host_bytes(self) -> int:
        choices = [planned.choice for planned in self._sampling]
        kept = [choice.task.anonymous_bytes if self._take_turns else choice.host_bytes for choice in choices]
        sampling = [sum(kept) - own + choice.host_bytes for choice, own in zip(choices, kept)]
        return max((*sampling, *(planned.choice.host_bytes for planned in self.stages)), default=0)

    @property
    def pinned_bytes(self) -> int:
        """The pinned part of it."""
        return self.machine.cards * self._pinned_bytes

    @property
    def _pinned_bytes(self) -> int:
        sampling = 0 if self._take_turns else sum(each.choice.footprint.pinned_bytes for each in self._sampling)
        return max(sampling, *(planned.choice.footprint.pinned_bytes for planned in self.stages))

    @property
    def _sampling(self) -> list[PlannedStage]:
        return [planned for planned in self.stages if planned.stage.kind == "sample"]

    @property
    def _take_turns(self) -> bool:
        """Whether each model that samples must let go of its pinned memory before the next one, see `Slabs.claim`."""
        pinned = sum(each.choice.footprint.pinned_bytes for each in self._sampling)
        return any(pinned > each.pinned for each in self._sampling)

    @property
    def text(self) -> str:
        """The plan as lines with bars."""
        lines = [
            self._heading,
            "# weights   = beside them   . left   | limit",
            "",
        ]
        for planned in self.stages:
            more = details(planned.stage, planned.choice, planned.fits, has_speed=self.machine.has_gpu)
            lines += [_bar_line(planned, self.scale_bytes), *(f"    {line}" for line in more)]
        if self.passed_over:
            lines += ["", _passed_over_line(self.passed_over)]
        lines += ["", _ram_line(self)]
        return "\n".join(lines)

    @property
    def _heading(self) -> str:
        memory, card = gigabytes(self.machine.vram), self.machine.card
        if not self.machine.has_gpu:
            return f"Memory of this machine: {memory}. It has no GPU that can be used, so no speed is estimated."
        of = "the card" if self.machine.cards == 1 else f"each of {self.machine.cards} cards"
        return (
            f"Memory of {of}: {memory}. Speed is estimated for {card.name}: {card.flops / 1e12:.0f} TFLOP/s, "
            f"{card.bus_bytes / GB:.0f} GB/s from RAM."
        )

    def check(self) -> None:
        """Refuses what does not fit.

        Raises:
            OutOfMemory: a stage does not fit, in no way; the message says in a line for each such stage what would.
        """
        refusals = [_refusal(planned) for planned in self.stages if not planned.fits]
        if refusals:
            raise OutOfMemory("\n".join(dict.fromkeys(refusals)))
        ram, needed = self.machine.ram, self.host_bytes
        if ram is not None and needed > ram:
            worst = max(self.stages, key=lambda planned: planned.choice.host_bytes)
            raise OutOfMemory(
                f"{worst.stage.node.label}: {gigabytes(needed)} of RAM are needed, of {gigabytes(ram)}. Use a file "
                "that is stored in fp8 or GGUF, decode with Wan Decode To Video, or make a shorter video."
            )


def make_plan(found: GraphStages, on: Machine) -> Plan:
    """The cheapest way to run each stage of a graph on a machine; where none fits, the one that takes least."""
    return Plan(tuple(_plan_stage(stage, on) for stage in found.stages), on, found.passed_over)


def plan_prompt(prompt: Mapping[str, Any]) -> Plan | None:
    """The plan for a graph in the server's form on the device at hand; None when there is no device to plan for.

    Raises:
        WanDirectorError: the graph or a file in it cannot be read.
    """
    device = host().runtime.device(DIT.name)
    available = host().runtime.available_bytes(device)
    if available is None:
        return None
    graph = {
        id: GraphNode(id, str(node.get("class_type")), str(node.get("class_type")), api_inputs(node.get("inputs", {})))
        for id, node in prompt.items()
    }
    on = machine(available)._replace(pinned=default_pinned_bytes(device), has_gpu=device.type != "cpu")
    return make_plan(find_stages(graph), on)


def parse_size(text: str) -> VideoShape:
    """'832x480x81' as a video of 81 frames, 480 high and 832 wide.

    Raises:
        GraphError: it is no such size.
        InvalidInputError: there are no videos with so many frames.
    """
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and 0 < int(part) < 10**6 for part in parts):
        raise GraphError(f"'{text}' is no size. Write WIDTHxHEIGHTxFRAMES, for example 832x480x81.")
    width, height, frames = map(int, parts)
    check_frames(frames)
    return VideoShape(frames, height, width)


def plan_graph(
    graph: Graph, on: Machine, size: VideoShape | None = None, node_classes: NodeClasses | None = None
) -> Plan:
    """The plan for a graph on a machine; arguments and errors as of `find_stages`."""
    return make_plan(find_stages(graph, size, node_classes), on)


def _refusal(planned: PlannedStage) -> str:
    fitting = what_fits(planned.stage, planned.limit)
    return f"{planned.stage.node.label}: {refusal(planned.choice, planned.limit, fitting)}"


def what_fits(stage: PlannableStage, limit: int) -> Iterator[str]:
    """What else of a stage would fit into so many bytes."""
    job = stage.job
    task, settings = job.task, job.memory
    if settings.blocks_to_swap is not None and stage.kind == "sample" and smallest_bytes(task) <= limit:
        choice = plan(task, limit, example_card(limit), pinned_bytes=1 << 50)
        yield f"{choice.swapped} blocks_to_swap in Wan Memory, or its mode auto"
    if job.video is not None:
        multiple = job.spec.family.size_multiple
        yield from smaller_videos(job.video, multiple, lambda video: smallest_bytes(job.task_of(video)) <= limit)
    cast = stage.in_fp8()
    if cast is not None and smallest_bytes(cast.task) <= limit:
        yield f"precision fp8_scaled in {stage.loader.title}"
    if stage.kind == "text":
        yield f"device cpu in {stage.loader.title}"


def _plan_stage(stage: PlannableStage, on: Machine) -> PlannedStage:
    task, settings, card = stage.job.task, stage.job.memory, on.card
    limit = settings.budget.limit(on.vram)
    pinned = on.pinned if settings.pinned_bytes is None else settings.pinned_bytes
    if settings.blocks_to_swap is not None and stage.kind in ("sample", "train"):
        choice = swap_exactly(task, settings.blocks_to_swap, card, pinned_bytes=pinned)
    else:
        choice = plan(task, limit, card, pinned_bytes=pinned) or smallest(task, card, pinned_bytes=pinned)
    return PlannedStage(stage, keep_plain(choice, limit), limit, pinned)


def _bar_line(planned: PlannedStage, scale_bytes: int) -> str:
    name, choice = planned.choice.task.name, planned.choice
    if planned.is_on_cpu:
        return f"{name:20}[{'':{WIDTH}}]"
    scale = WIDTH / scale_bytes
    weights, taken = round(choice.weight_bytes * scale), round(choice.device_bytes * scale)
    bar = "#" * weights + "=" * (taken - weights) + "." * (WIDTH - taken)
    mark = min(WIDTH - 1, round(planned.limit * scale))
    bar = bar[:mark] + "|" + bar[mark + 1 :]
    beside = gigabytes(choice.way.working_bytes)
    return f"{name:20}[{bar}] {gigabytes(choice.device_bytes)}: weights {gigabytes(choice.weight_bytes)} + {beside}"


def _passed_over_line(nodes: tuple[GraphNode, ...]) -> str:
    named = ", ".join(f"{printable_name(node.label)}: {printable_name(node.class_type)}" for node in nodes[:_NAMED])
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return f"Not planned, because what they take is not known here: {named}{more}."


def _ram_line(made: Plan) -> str:
    pinned, needed = made.pinned_bytes, made.host_bytes
    repeated = (planned for planned in made.stages if not planned.choice.task.runs_once)
    from_file = max((planned.choice.footprint.file_bytes for planned in repeated), default=0)
    of = "" if made.machine.ram is None else f" of {gigabytes(made.machine.ram)}"
    line = f"RAM: {gigabytes(needed)}{of} at most, of which {gigabytes(pinned)} pinned for swapped blocks"
    return line + (f"; {gigabytes(from_file)} more are read from the file in each step." if from_file else ".")
