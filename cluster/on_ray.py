"""A Ray cluster as the place where a queue's server and its workers run: Ray finds machines for them and starts them
anew elsewhere when one is lost. What they say to each other does not go through Ray.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..common.errors import ClusterError, MissingPackageError
from .keeping import KeptCommand
from .placing import ALWAYS, KEEPER, NAMESPACE, PlaceKeeper, Places, remove_places

SERVER = "wan-director-server"
_PATIENCE_S, _KNOCK_S = 60.0, 5.0


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
        _knock(address)
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="error")
    except (ConnectionError, OSError, OverflowError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"There is no Ray cluster at {address} ({error}). Start one with `ray start --head`, and more machines "
            "with `ray start --address`."
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises `OSError` where nobody listens at HOST:PORT, which Ray itself says after five minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()


def gpus_of(ray: Any) -> int:
    """How many GPUs the cluster has now."""
    return int(ray.cluster_resources().get("GPU", 0))


def start(ray: Any, server: Sequence[str], places: Places) -> None:
    """Has a server and workers kept running in the cluster until `stop`, whatever machine is lost; those that run stay.

    Args:
        ray: connected.
        server: the server's command; it runs on this machine as long as that is there.
        places: of the workers.
    """
    strategies = importlib.import_module("ray.util.scheduling_strategies")
    here = strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {**ALWAYS, "num_cpus": 0, "scheduling_strategy": here}
    first = ray.remote(KeptCommand).options(name=SERVER, **options).remote(list(server))
    ray.get(first.process.remote(), timeout=_PATIENCE_S)
    keeper = ray.remote(PlaceKeeper).options(name=KEEPER, **options).remote(places)
    ray.get(keeper.is_there.remote(), timeout=_PATIENCE_S)


def stop(ray: Any) -> int:
    """Ends what `start` has started; how many commands that were."""
    names = _names(ray)
    for name in sorted(names, key=lambda name: name != KEEPER):  # the keeper first, which would start others anew
        with contextlib.suppress(ValueError):  # it has gone
            ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
    remove_places(ray)
    until_s = time.monotonic() + _PATIENCE_S
    while _names(ray) and time.monotonic() < until_s:
        time.sleep(0.1)
    return len([name for name in names if name != KEEPER])


def _names(ray: Any) -> list[str]:
    listed = ray.util.list_named_actors(all_namespaces=True)
    own = (each["name"] for each in listed if each["namespace"] == NAMESPACE)
    return sorted(name for name in own if name.startswith(NAMESPACE))
