"""Running a graph of nodes without ComfyUI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...common.errors import OutOfMemory, WanDirectorError
from ...common.log import logger
from ...common.memory.out_of_memory import is_out_of_memory
from ..hosts.host import host
from ..planning.rehearsal import rehearse
from .checks import NodeClasses, check_graph, named
from .graph import Graph, GraphNode
from .graph.api_format import as_prompt
from .lists import Executed
from .walking import Walk, execute


def run_graph(graph: Graph, node_classes: NodeClasses, workflow: dict | None = None) -> list[dict[str, Any]]:
    """Runs a graph and gives what its output nodes show: one dictionary for each run, as ComfyUI's `ui` results.

    Each node runs once, or once for each value of a list that comes in; those behind a lazy input only when it is
    asked for. Results are dropped as soon as nobody needs them any more, and with them the models. Where there are
    models, all runs on empty tensors first: what does not belong together is refused before anything takes long. Saved
    files carry the graph, and `workflow`, the same in the canvas's format, if there is one.

    Raises:
        WanDirectorError: what a node refuses, with the node's name before the sentence.
    """
    checked = check_graph(graph, node_classes)
    rehearse(checked, node_classes)
    carried = {"prompt": as_prompt(checked), "extra_pnginfo": {"workflow": workflow} if workflow else None}
    shown: list[dict[str, Any]] = []

    def run(node: GraphNode, inputs: dict[str, Any]) -> Sequence[Any]:
        host().runtime.check_interrupt()
        logger.debug("%s runs.", node.label)
        made = _run_node(node, node_classes[node.class_type], inputs, carried)
        shown.extend(made.shown)
        return made.args

    ends = {node.id for node in checked.values() if node_classes[node.class_type].OUTPUT_NODE}
    Walk(checked, node_classes, ends, run).go()
    return shown


def _run_node(node: GraphNode, node_class: type, inputs: dict[str, Any], carried: dict[str, Any]) -> Executed:
    try:
        return execute(node, node_class, inputs, carried)
    except WanDirectorError as error:
        refusal = named(node, error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        refusal = OutOfMemory(
            f"{node.label} needs more memory than is free. Make a smaller or shorter video, choose precision bf16, or "
            "close other programs."
        )
    raise refusal from None  # outside the handlers, whose traceback would keep the node's tensors alive
