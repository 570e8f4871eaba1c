"""Two or more training processes that share gradients over gloo; one thread each is fastest on busy CPUs."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor


def run_in_parallel(work: Callable[..., None], processes: int, *arguments) -> None:
    """Calls `work(rank, *arguments)` in `processes` processes that form one group."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_start, args=(work, processes, f"{folder}/meet", arguments), nprocs=processes, join=True)


def _start(rank: int, work: Callable[..., None], processes: int, meeting_point: str, arguments: tuple) -> None:
    log_to_console()
    single_thread()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=processes)
    work(rank, *arguments)
    dist.barrier()
    dist.destroy_process_group()


def single_thread() -> None:
    """One thread for this process: with others running, several threads of one process wait for each other."""
    torch.set_num_threads(1)


def log_to_console() -> None:
    """Shows the progress lines, with the time."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def average_gradients(weights: Iterable[Tensor], limit: float = 1.0) -> float:
    """Averages `.grad` over the processes and clips the joint norm to `limit`; returns the norm before."""
    weights = list(weights)
    for weight in weights:
        if weight.grad is None:  # not used in this step
            weight.grad = torch.zeros_like(weight)
    flat = torch.cat([weight.grad.reshape(-1) for weight in weights])
    if dist.is_initialized():
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
    norm = float(flat.norm())
    flat *= min(1.0, limit / (norm + 1e-6))
    for weight, piece in zip(weights, flat.split([weight.numel() for weight in weights])):
        weight.grad.copy_(piece.view_as(weight))
    return norm
