"""The same work for many things: one after another, in several processes, or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

from ...common.errors import InvalidInputError, MissingPackageError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Spreading(Protocol):
    """Gives what `work` gives for each item, in their order, each as soon as it is known."""

    def __call__(self, work: Callable[[Item], Answer], items: Sequence[Item]) -> Iterable[Answer]: ...


@contextmanager
def spread_over(jobs: int = 1, cluster: str = "") -> Generator[Spreading, None, None]:
    """What spreads work; its processes end with it. Work can be pickled, as its items and answers.

    Args:
        jobs: processes; 1 is this one.
        cluster: the address of a Ray cluster, whose machines see the folders under the same paths.

    Raises:
        InvalidInputError: less than one process, or no cluster at the address.
        MissingPackageError: Ray is not installed.
    """
    if jobs < 1:
        raise InvalidInputError(f"Work is done by 1 process or more, got {jobs}. Use 1, or at most {os.cpu_count()}.")
    if cluster:
        yield partial(_on_cluster, _cluster(cluster))
    elif jobs == 1:
        yield _here
    else:
        # Spawned: a forked process would have this one's threads' locks, but not its threads.
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            yield partial(_in_processes, pool)


def _here(work: Callable[[Item], Answer], items: Sequence[Item]) -> Iterable[Answer]:
    return map(work, items)


def _in_processes(pool: ProcessPoolExecutor, work: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
    waiting = [pool.submit(work, item) for item in items]
    try:
        for each in waiting:
            yield each.result()
    finally:
        for each in waiting:
            each.cancel()


def _on_cluster(ray: Any, work: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
    remote, sent = ray.remote(_done), ray.put(work)
    waiting = [remote.remote(sent, item) for item in items]
    for each in waiting:
        yield ray.get(each)


def _done(work: Callable[[Item], Answer], item: Item) -> Answer:
    return work(item)


def _cluster(address: str) -> Any:
    """Ray, connected to a cluster."""
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
    return ray
