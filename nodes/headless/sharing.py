"""What a run of the command line runs on: one device, or with `--gpus` several of this machine."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from ...dit.sharing import ONE_DEVICE, PlannedDevices, Sharing
from ...engine.local import LocalRuntime
from ..hosts.command_line import headless_runtime


@contextlib.contextmanager
def runtime_of(options: argparse.Namespace) -> Iterator[LocalRuntime]:
    """The runtime of this process; inside, those that share its runs are there.

    Raises:
        InvalidInputError: there are not so many devices.
        SharingError: another one has ended.
    """
    with _shared(options) as (device, sharing):
        yield headless_runtime(device, sharing, is_quiet=options.quiet, resumes=options.resume)


def planned_runtime(options: argparse.Namespace) -> LocalRuntime:
    """The runtime of a plan, for the devices that would share the run."""
    return LocalRuntime(sharing=PlannedDevices(options.gpus))


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
