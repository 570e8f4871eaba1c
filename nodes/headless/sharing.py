"""What a run of the command line runs on: one device, or with `--gpus` several of this machine."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from ...common.errors import InvalidInputError
from ...dit.sharing import ONE_DEVICE, PlannedDevices, Sharing
from ...engine.films.kept import NO_FILMS_KEPT
from ...engine.local import LocalRuntime
from ...engine.resuming.kept import NO_RUNS_KEPT, RunsInFolder
from ...engine.resuming.shared import RunsOfAnother
from ..hosts.kept_runs import cache_folder, kept_films, kept_runs


@contextlib.contextmanager
def runtime_of(options: argparse.Namespace) -> Iterator[LocalRuntime]:
    """The runtime of this process; inside, those that share its runs are there.

    Raises:
        InvalidInputError: there are not so many devices.
        SharingError: another one has ended.
    """
    with _shared(options) as (device, sharing):
        yield _runtime(device, sharing, is_quiet=options.quiet, resumes=options.resume)


def planned_runtime(options: argparse.Namespace) -> LocalRuntime:
    """The runtime of a plan, for the devices that would share the run.

    Raises:
        InvalidInputError: it is for none.
    """
    if options.gpus < 1:
        raise InvalidInputError(f"A plan is for one card or more, got --gpus {options.gpus}. Write it like --gpus 4.")
    return LocalRuntime(sharing=PlannedDevices(options.gpus))


def serve_runs(device: str) -> None:
    """Makes runs with the process that has started this one, on a device, until that ends."""
    from ...engine.sharing.member import serve  # what it brings in no other command needs

    serve(device)


def _runtime(device: str, sharing: Sharing, *, is_quiet: bool, resumes: bool) -> LocalRuntime:
    """What a run of the command line runs on.

    Args:
        device: see `LocalRuntime`.
        sharing: see there. The first device keeps runs for all, and films are not kept.
        is_quiet: whether nothing is said of how far the work is.
        resumes: whether runs that were broken off are gone on with; one that has ended stays until the workflow has.

    Raises:
        InvalidInputError: see `kept_runs`.
    """
    runs = kept_runs(cache_folder(), keeps_ended=True) if resumes else NO_RUNS_KEPT
    if isinstance(runs, RunsInFolder) and not sharing.is_first:
        runs = RunsOfAnother(runs.folder)
    films = kept_films(cache_folder()) if resumes and sharing.devices == 1 else NO_FILMS_KEPT
    return LocalRuntime(device, show_progress=not is_quiet, kept_runs=runs, kept_films=films, sharing=sharing)


@contextlib.contextmanager
def _shared(options: argparse.Namespace) -> Iterator[tuple[str, Sharing]]:
    if options.gpus is None:
        yield options.device, ONE_DEVICE
        return
    from ...parallel.crew import count_devices, device_of, given_seat, joined, sharing

    seat = given_seat()
    if seat is not None:
        device = device_of(seat.rank, options.device)
        with joined(seat, device) as shared:
            yield device, shared
        return
    count = count_devices(options.gpus, options.device)
    device = device_of(0, options.device) if count > 1 else options.device
    with sharing(options.words, count, device) as shared:
        yield device, shared
