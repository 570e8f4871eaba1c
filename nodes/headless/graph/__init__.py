"""Workflow files: read, in the canvas's format or the server's, into one form; and values set in them."""

from .node import Graph, GraphNode, Link
from .reading import parse_graph, read_graph
from .setting import set_value

__all__ = ["Graph", "GraphNode", "Link", "parse_graph", "read_graph", "set_value"]
