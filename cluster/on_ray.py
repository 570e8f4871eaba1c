"""A Ray cluster as the place where a queue's server and its workers run: Ray finds machines for them and starts them
anew elsewhere when one is lost. What they say to each other does not go through Ray.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..common.errors import ClusterError, MissingPackageError
from ..common.records import record
from .keeping import KeptCommand

NAMESPACE, SERVER = "wan-director", "wan-director-server"
_WORKER = "wan-director-worker-{}"
_PATIENCE_S = 60.0


@record
class Seats:
    """What each worker is given of one machine of the cluster.

    Attributes:
        count: of workers; those for which there is no room wait until a machine comes.
        gpus: of each, all in one machine.
        cpus: likewise.
    """

    count: int
    gpus: float
    cpus: float = 1.0


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, inside connected to a cluster.

    Raises:
        MissingPackageError: it is not installed.
        ClusterError: there is no cluster at the address.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise MissingPackageError(
            "ray is not installed. Install it on every machine of the cluster, as wan-director[ray]."
        ) from None
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="error")
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"There is no Ray cluster at {address} ({error}). Start one with `ray start --head`, and more machines "
            "with `ray start --address`."
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def gpus_of(ray: Any) -> int:
    """How many GPUs the cluster has now."""
    return int(ray.cluster_resources().get("GPU", 0))


def start(ray: Any, server: Sequence[str], workers: Sequence[Sequence[str]], seats: Seats) -> None:
    """Has commands kept running in the cluster until `stop`, whatever machine is lost. Those that run there stay.

    Args:
        ray: connected.
        server: the server's command; it runs on this machine as long as that is there.
        workers: that of each worker.
        seats: see there.
    """
    groups = importlib.import_module("ray.util.placement_group")
    strategies = importlib.import_module("ray.util.scheduling_strategies")
    kept = ray.remote(KeptCommand)
    always = {"lifetime": "detached", "max_restarts": -1, "get_if_exists": True, "namespace": NAMESPACE}
    here = strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    first = kept.options(name=SERVER, num_cpus=0, scheduling_strategy=here, **always).remote(list(server))
    ray.get(first.process.remote(), timeout=_PATIENCE_S)
    there = _names(ray)
    for number, words in enumerate(workers):
        name = _WORKER.format(number)
        if name in there:
            continue
        needs = {"CPU": seats.cpus, **({"GPU": seats.gpus} if seats.gpus else {})}
        # A video is never spread over machines: its parts are sent to and fro in every block.
        group = groups.placement_group([needs], strategy="STRICT_PACK", lifetime="detached", name=name)
        place = strategies.PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
        options = {**always, "num_cpus": seats.cpus, "num_gpus": seats.gpus, "scheduling_strategy": place}
        kept.options(name=name, **options).remote(list(words))


def stop(ray: Any) -> int:
    """Ends what `start` has started; how many commands that were."""
    groups = importlib.import_module("ray.util.placement_group")
    names = _names(ray)
    for name in names:
        with contextlib.suppress(ValueError):  # it has gone
            ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
        if name != SERVER:
            with contextlib.suppress(ValueError):
                groups.remove_placement_group(groups.get_placement_group(name))
    until_s = time.monotonic() + _PATIENCE_S
    while _names(ray) and time.monotonic() < until_s:
        time.sleep(0.1)
    return len(names)


def _names(ray: Any) -> list[str]:
    listed = ray.util.list_named_actors(all_namespaces=True)
    own = (each["name"] for each in listed if each["namespace"] == NAMESPACE)
    return sorted(name for name in own if name.startswith(NAMESPACE))
