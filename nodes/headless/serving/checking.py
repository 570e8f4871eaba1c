"""What the queue's server checks of a graph before it takes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ....cluster.desk import Checked
from ....common.errors import GraphError
from ....common.log import muted
from ...hosts.command_line import MODEL_ENDINGS
from ...hosts.host import hosted_by
from ..checks import NodeClasses, check_graph
from ..graph import Graph, parse_graph
from ..graph.api_format import as_prompt
from .job_host import JobHost

MOST_NODES, DEEPEST = 500, 40
_MEMORY = "WanDirectorMemory"
_ASK_A_QUEUE = ("WanDirectorSubmit", "WanDirectorFetch")


def checker(classes: NodeClasses, folders: Mapping[str, list[Path]]) -> Callable[..., Checked]:
    """What checks graphs with the models of this machine, see `cluster.desk.CheckPrompt`.

    Args:
        classes: the nodes that a job may use.
        folders: of models, see `HeadlessHost`.
    """

    def check(prompt: Mapping[str, Any], files: Mapping[str, Path]) -> Checked:
        _check_size(prompt)
        with hosted_by(JobHost(folders=folders, given=files)), muted():
            graph = check_graph(parse_graph(prompt, classes, "The graph"), classes)
        _check_reach(graph)
        return Checked(as_prompt(graph), model_key(graph), gpus_of(graph))

    return check


def gpus_of(graph: Graph) -> int:
    """How many GPUs the graph's own settings let make a run together; 1 where none says more."""
    said = (node.inputs.get("gpus") for node in graph.values() if node.class_type == _MEMORY)
    return max((value for value in said if isinstance(value, int)), default=1)


def model_key(graph: Graph) -> str:
    """What is the same for graphs that load the same model files; nothing where a graph loads none."""
    values = {value for node in graph.values() for value in node.inputs.values() if isinstance(value, str)}
    names = sorted(value for value in values if Path(value).suffix.lower() in MODEL_ENDINGS)
    return hashlib.sha256("\n".join(names).encode("utf-8", "replace")).hexdigest()[:16] if names else ""


def _check_size(prompt: Mapping[str, Any]) -> None:
    if len(prompt) > MOST_NODES:
        raise GraphError(f"The graph has {len(prompt):,} nodes, and a job may have {MOST_NODES}. Split it.")
    level: list[Any] = [prompt]
    for _ in range(DEEPEST):
        level = [part for each in level if isinstance(each, dict | list) for part in _parts(each)]
        if not level:
            return
    raise GraphError(f"The graph has more than {DEEPEST} lists within each other: no workflow has. Send another one.")


def _parts(value: dict | list) -> list[Any]:
    return list(value.values() if isinstance(value, dict) else value)


def _check_reach(graph: Graph) -> None:
    """A job's graph may come from anybody with a token: it asks no server of the workers' network."""
    for node in graph.values():
        if node.class_type in _ASK_A_QUEUE:
            raise GraphError(f"{node.label} asks a queue, and a job of a queue may not. Leave it out of the graph.")
        if node.class_type == "WanDirectorEnhancePrompt" and node.inputs.get("address"):
            raise GraphError(
                f"{node.label} asks the server at an address, and a job of a queue may not. Choose a model of "
                "models/LLM, or write the prompt out before you submit."
            )
