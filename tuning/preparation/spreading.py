"""The same work for many things: one after another, in several processes, or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from typing import Any, TypeVar

from ...common.errors import InvalidInputError, MissingPackageError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def spread(work: Callable[[Item], Answer], items: Sequence[Item], jobs: int = 1, cluster: str = "") -> Iterator[Answer]:
    """What `work` gives for each item, in their order, each as soon as it is known.

    Args:
        work: can be pickled, as its items and answers.
        jobs: processes; 1 is this one.
        cluster: the address of a Ray cluster, whose machines see the folders under the same paths.

    Raises:
        InvalidInputError: less than one process, or no cluster at the address.
        MissingPackageError: Ray is not installed.
    """
    if jobs < 1:
        raise InvalidInputError(f"Work is done by 1 process or more, got {jobs}. Use 1, or at most {os.cpu_count()}.")
    if cluster:
        return _on_cluster(work, items, cluster)
    return map(work, items) if min(jobs, len(items)) < 2 else _in_processes(work, items, min(jobs, len(items)))


def _in_processes(work: Callable[[Item], Answer], items: Sequence[Item], jobs: int) -> Iterator[Answer]:
    # Spawned: a forked process would have this one's threads' locks, but not its threads.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(work, item) for item in items]
        try:
            for each in waiting:
                yield each.result()
        finally:
            for each in waiting:
                each.cancel()


def _on_cluster(work: Callable[[Item], Answer], items: Sequence[Item], address: str) -> Iterator[Answer]:
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise MissingPackageError(
            f"A cluster is reached with Ray, which cannot be imported ({error}). Install it with `pip install ray`, or "
            "leave --ray out."
        ) from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InvalidInputError(
                f"There is no Ray cluster at '{address}' ({reason}). Start one with `ray start --head`, or correct the "
                "address."
            ) from None
    remote = ray.remote(work)
    waiting = [remote.remote(item) for item in items]
    for each in waiting:
        yield ray.get(each)
