"""What a run of the command line runs on: one device, or with `--gpus` several of this machine."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from ...dit.sharing import ONE_DEVICE, Sharing
from ...engine.local import LocalRuntime
from ..hosts.command_line import headless_runtime


@contextlib.contextmanager
def runtime_of(options: argparse.Namespace) -> Iterator[LocalRuntime]:
    """The runtime of this process; inside, those that share its runs are there.

    A shared run is not gone on with where it was broken off, and nothing of it is kept.

    Raises:
        InvalidInputError: there are not so many devices.
        SharingError: another one has ended.
    """
    with _shared(options) as (device, sharing):
        resumes = options.resume and sharing.devices == 1
        runtime = headless_runtime(device, is_quiet=options.quiet, resumes=resumes)
        runtime.sharing = sharing
        yield runtime


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
