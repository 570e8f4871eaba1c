"""Processes of torch.distributed on this machine, over gloo, for tests: each works through the same cases.

`python -m wan_director.tests.parallel.ranks RANK RANKS FOLDER`: the answers go to `FOLDER/RANK.pt`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from wan_director.parallel.exchange import DistributedGroup

from . import cases

PATIENCE = timedelta(seconds=300)


def answers(ranks: int, folder: Path) -> list[dict[str, torch.Tensor]]:
    """What every one of so many processes answers to all cases."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "wan_director.tests.parallel.ranks", str(rank), str(ranks), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    for process in started:
        _, said = process.communicate(timeout=2 * PATIENCE.total_seconds())
        assert process.returncode == 0, said[-3000:]
    return [torch.load(folder / f"{rank}.pt") for rank in range(ranks)]


def main(rank: int, ranks: int, folder: Path) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=PATIENCE)
    group = DistributedGroup()
    torch.save({name: case(group) for name, case in cases.all_cases(ranks).items()}, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
