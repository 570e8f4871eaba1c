"""What sharing a pass among processes costs: process time of all of them beside that of one alone.

    python -m wan_director.benchmarks.sharing [PRESET] [TOKENS] [REPEATS] [RANKS ...]

Blocks of PRESET in float32 on the CPU, one thread a process, over gloo; each way in turn, medians. Efficiency: the
time of one process alone by that of all together, at the same time. Bytes are those of one block and process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import Embedded, WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.parallel.exchange import DistributedGroup, Group, OneRank
from wan_director.parallel.layout import bytes_sent, split
from wan_director.parallel.passes import run_shared

from .report import describe_machine, describe_versions, load_average, today

LAYERS = 2
ROWS, COLUMNS = 30, 52
"""Tokens of a frame of 832 x 480, along its sides."""


class Seat(NamedTuple):
    """One process of several, and where they find each other."""

    rank: int
    ranks: int
    folder: str


def model_of(preset: str) -> WanDiT:
    torch.manual_seed(0)
    return WanDiT(replace(PRESETS[preset], layers=LAYERS)).eval().requires_grad_(False)


def inputs_of(model: WanDiT, tokens: int, seed: int) -> DitInputs:
    """Of a video of about so many tokens."""
    generator = torch.Generator().manual_seed(seed)
    frames = max(1, tokens // (ROWS * COLUMNS))
    latent = torch.randn(1, 16, frames, 2 * ROWS, 2 * COLUMNS, generator=generator)
    text = torch.randn(1, model.config.text_tokens, model.config.text_dim, generator=generator)
    return DitInputs(latent, torch.tensor([500.0]), text)


@torch.no_grad()
def measured(seat: Seat, preset: str, tokens: int, repeats: int) -> dict[str, float]:
    """Process seconds of this rank: alone (the first only), and of its part, for one pass and for two."""
    model, group = model_of(preset), DistributedGroup()
    seconds: dict[str, float] = {}
    for number in (1, 2):
        given = [inputs_of(model, tokens, seed) for seed in range(number)]

        def run(among: Group, given: Sequence[DitInputs] = given) -> list[Tensor]:
            embedded: list[Embedded] = [model.embed(each) for each in given]
            return run_shared(model.trunk, embedded, Execution(may_overwrite=True), among)

        alone: list[float] = []
        shared: list[float] = []
        for _ in range(repeats + 1):  # the first is to warm up
            if seat.rank == 0:
                alone.append(_process_seconds(lambda run=run: run(OneRank())))
            dist.barrier()
            shared.append(_process_seconds(lambda run=run: run(group)))
            dist.barrier()
        seconds[f"alone {number}"] = median(alone[1:]) if alone else 0.0
        seconds[f"shared {number}"] = median(shared[1:])
    return seconds


def _process_seconds(run: Callable[[], object]) -> float:
    before = time.process_time()
    run()
    return time.process_time() - before


def work(seat: Seat, preset: str, tokens: int, repeats: int) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(Path(seat.folder, "store")), seat.ranks)
    dist.init_process_group("gloo", store=store, rank=seat.rank, world_size=seat.ranks)
    torch.save(measured(seat, preset, tokens, repeats), Path(seat.folder, f"{seat.rank}.pt"))
    dist.destroy_process_group()


def of_all(ranks: int, *words: str) -> list[dict[str, float]]:
    """What so many processes measure."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "wan_director.benchmarks.sharing", "--rank"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen([*command, str(rank), str(ranks), folder, *words], env=environment)
            for rank in range(ranks)
        ]
        codes = [process.wait() for process in started]
        assert not any(codes), f"exit codes {codes}"
        return [torch.load(Path(folder, f"{rank}.pt")) for rank in range(ranks)]


def main(preset: str = "t2v-1.3B", tokens: str = "7800", repeats: str = "3", *counts: str) -> None:
    """Prints the table."""
    before, config = load_average(), PRESETS[preset]
    length = max(1, int(tokens) // (ROWS * COLUMNS)) * ROWS * COLUMNS
    print(f"{today()}, {describe_machine()}, {describe_versions()}\n\n{LAYERS} blocks of {preset}, {length:,} tokens\n")
    print("| processes | passes | alone | each | efficiency | sent by each in a block |\n|---|---|---|---|---|---|")
    for ranks in map(int, counts or ("2",)):
        found = of_all(ranks, preset, tokens, repeats)
        for number in (1, 2):
            alone, each = found[0][f"alone {number}"], [seconds[f"shared {number}"] for seconds in found]
            team = ranks if number == 1 or ranks % 2 else ranks // 2
            sent = bytes_sent(
                split(length, team), split(config.heads, team), 0, width=config.dim, blocks=1, itemsize=4
            ).attention  # fmt: skip
            cells = f"{alone:.1f} s | {max(each):.1f} s | {alone / sum(each):.3f} | {sent / 1e6:.1f} MB"
            print(f"| {ranks} | {number} | {cells} |")
    print(f"\nLoad {before:.1f} before, {load_average():.1f} after.")


if __name__ == "__main__":
    given = sys.argv[1:]
    if given[:1] == ["--rank"]:
        work(Seat(int(given[1]), int(given[2]), given[3]), given[4], int(given[5]), int(given[6]))
    else:
        main(*given)
