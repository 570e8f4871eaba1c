"""A graph run on tensors without values: which stages it has, and which of its nodes cannot be planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...common.empty_tensors import EmptyTensors
from ...common.errors import UnknownValueError, WanDirectorError
from ...common.log import muted
from ...common.records import record
from ...engine.memory import Job
from ...engine.recipe import ModelRecipe
from ...engine.record import RecordingRuntime
from ..headless.checks import NodeClasses, named
from ..headless.graph import Graph, GraphNode, Link
from ..headless.walking import Walk, execute, is_no_round
from ..headless.widgets import InputSpec, inputs_of
from ..hosts.host import host, hosted_by
from .host import RecordingHost
from .input_files import OutlinedFiles
from .native import HANDING_ON, Foreign
from .unknown import MODEL_SOCKETS, NOTHING, Assumption, Blank, Blanks, Unknown, guessed

DeviceOf = Callable[[str, str], torch.device]


@record(eq=False, slots=False)
class Noted:
    """A stage: the node it belongs to, the loader of its model, and what there is to do."""

    node: GraphNode
    loader: GraphNode
    job: Job


@dataclass(eq=False)
class Recording:
    """What came of it.

    Attributes:
        stages: in the order of the run; the same work may be done several times.
        passed_over: nodes whose memory is not known.
        has_guessed: whether something was guessed.
        missing: the names of pictures and videos that are not here.
        doubted: refusals that may come of the shape of a file that was guessed.
    """

    stages: list[Noted] = field(default_factory=list)
    passed_over: list[GraphNode] = field(default_factory=list)
    has_guessed: bool = False
    missing: list[str] = field(default_factory=list)
    doubted: list[WanDirectorError] = field(default_factory=list)


def record_run(
    graph: Graph, node_classes: NodeClasses, guess: Assumption, device: DeviceOf, *, is_lenient: bool = False
) -> Recording:
    """Runs a graph on tensors without values.

    Args:
        node_classes: that are known, by name; others are passed over.
        guess: what is taken for what is not known.
        device: where a part of a video model would compute, see `Runtime.device`.
        is_lenient: whether a refusal may come of anything that was guessed: then it is doubted, or none.

    Raises:
        WanDirectorError: what a node refuses, with the node's name before the sentence.
    """
    return _Recorder(graph, node_classes, guess, device, is_lenient).recording()


class _Recorder:
    def __init__(
        self, graph: Graph, node_classes: NodeClasses, guess: Assumption, device: DeviceOf, is_lenient: bool
    ) -> None:
        self._graph = graph
        self._classes = {node.class_type: node_classes.get(node.class_type, Unknown) for node in graph.values()}
        self._guess = guess
        self._is_lenient = is_lenient
        actual = host().runtime
        self._runtime = RecordingRuntime(device, actual.preview_wish, actual.sharing.devices)
        self._files = OutlinedFiles(guess.size, is_lenient=is_lenient)
        self._loaders: dict[ModelRecipe, GraphNode] = {}
        self._made = Recording()

    def recording(self) -> Recording:
        feeding = {link.node for node in self._graph.values() for link in node.links}
        classes = {id: self._classes[node.class_type] for id, node in self._graph.items()}
        ends = {id for id, node_class in classes.items() if id not in feeding or node_class.OUTPUT_NODE}
        with hosted_by(RecordingHost(host(), self._runtime, self._files)), muted(), EmptyTensors():
            Walk(self._graph, self._classes, ends, self._run).go()
        self._made.has_guessed |= self._files.has_guessed
        self._made.missing += self._files.missing
        self._made.passed_over.sort(key=list(self._graph.values()).index)
        return self._made

    def _run(self, node: GraphNode, inputs: dict[str, Any]) -> Sequence[Any]:
        node_class, is_exact = self._classes[node.class_type], node.class_type in HANDING_ON
        blanks = Blanks(node, self._typed(node, inputs), is_exact)
        if node_class is Unknown:
            self._made.passed_over += [] if is_exact else [node]
            return blanks
        specs = {spec.name: spec for spec in inputs_of(node_class.INPUT_TYPES(), node.inputs)}
        values, is_guessed = self._values(inputs, specs)
        lacking = [name for name, spec in specs.items() if spec.required and name not in values]
        if lacking:
            is_at_fault = any(name not in inputs for name in lacking)
            self._made.passed_over += [node] if is_at_fault or _runs_a_model(node, specs) else []
            return blanks
        refusal = None
        try:
            output = execute(node, node_class, values, {})
        except UnknownValueError:
            output = None
        except WanDirectorError as error:
            output, refusal = None, self._certain(named(node, error), is_guessed)
        except Exception:  # a border: any node may trip over tensors without values
            output = None
        if refusal is not None:
            raise refusal from None
        self._note(node)
        if output is None or any(isinstance(value, Foreign) and value.is_used for value in values.values()):
            self._made.passed_over.append(node)
        if output is None or (self._files.has_guessed and is_no_round(output.args)):
            return blanks  # a loop goes round once where it is not known how often
        return output.args

    def _certain(self, error: WanDirectorError, is_guessed: bool) -> WanDirectorError | None:
        """A refusal, if it is one whatever was guessed; `is_guessed`: whether the node was given a guess."""
        if is_guessed or (self._is_lenient and self._made.has_guessed):
            return None
        if self._is_lenient and self._files.has_guessed:
            self._made.doubted.append(error)
            return None
        return error

    def _typed(self, node: GraphNode, inputs: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """The type and the value of each wire into a node."""
        typed = []
        for name, wire in node.inputs.items():
            if isinstance(wire, Link) and name in inputs:
                types = self._classes[self._graph[wire.node].class_type].RETURN_TYPES
                typed.append((types[wire.slot] if wire.slot < len(types) else "*", inputs[name]))
        return typed

    def _values(self, inputs: Mapping[str, Any], specs: Mapping[str, InputSpec]) -> tuple[dict[str, Any], bool]:
        """The inputs that are known or can be guessed, with defaults; and whether one is guessed."""
        values, has_guessed = {}, False
        for name, spec in specs.items():
            value, is_guessed = inputs.get(name, spec.options.get("default", NOTHING)), False
            if isinstance(value, Blank):
                value, is_guessed = guessed(value, spec, self._guess)
            if value is not NOTHING:
                values[name] = value
                has_guessed |= is_guessed
        self._made.has_guessed |= has_guessed
        return values, has_guessed

    def _note(self, node: GraphNode) -> None:
        """Notes what the runtime was asked for while a node ran."""
        for recipe in self._runtime.placed:
            self._loaders.setdefault(recipe, node)
        self._made.stages += [Noted(node, self._loaders.get(job.recipe, node), job) for job in self._runtime.jobs]
        self._runtime.placed.clear()
        self._runtime.jobs.clear()


def _runs_a_model(node: GraphNode, specs: Mapping[str, InputSpec]) -> bool:
    connected = [spec.type for name, spec in specs.items() if isinstance(node.inputs.get(name), Link)]
    return any(not MODEL_SOCKETS.isdisjoint(kind.split(",")) for kind in connected if isinstance(kind, str))
