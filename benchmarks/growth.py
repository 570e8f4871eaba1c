"""Runs one workflow again and again in one process and shows that its memory does not grow.

`python -m wan_director.benchmarks.growth [GRAPH.json] [--runs 10]` takes a workflow of the bundled model by default;
every run has another seed, so that nothing is answered from a cache. Linux only (it reads /proc).
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from wan_director import NODE_CLASS_MAPPINGS
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import read_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host

from .load_14b import anonymous_bytes

GRAPH = Path(__file__).resolve().parent.parent / "workflows" / "api" / "tiny_low_memory.json"
WARM_UP = 3
"""Runs after which the allocator has seen every size."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code: 0, or 1 when memory grew by more than 1 MB a run after the warm-up."""
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.growth", description=__doc__)
    parser.add_argument("graph", type=Path, nargs="?", default=GRAPH)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    readings = []
    with tempfile.TemporaryDirectory() as folder:
        use_host(HeadlessHost(output=Path(folder)))
        for run in range(options.runs):
            run_once(options.graph, seed=run)
            readings.append(anonymous_bytes())
            print(f"run {run + 1:2}: anonymous memory {readings[-1] / 1e6:.1f} MB", flush=True)
    if len(readings) <= WARM_UP:
        return 0
    growth = (readings[-1] - readings[WARM_UP - 1]) / (len(readings) - WARM_UP)
    print(f"growth after the first {WARM_UP}: {growth / 1e3:+.0f} kB a run")
    return int(growth > 1e6)


def run_once(path: Path, seed: int) -> None:
    """Runs a workflow with this seed in all its samplers."""
    classes = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
    graph, workflow = read_graph(path, classes)
    nodes = {
        id: replace(node, inputs={**node.inputs, "seed": seed}) if "seed" in node.inputs else node
        for id, node in graph.items()
    }
    run_graph(nodes, classes, workflow)
    gc.collect()


if __name__ == "__main__":
    sys.exit(main())
