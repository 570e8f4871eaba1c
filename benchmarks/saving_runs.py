"""What it costs that a run can be gone on with: bytes and milliseconds of a saved state, and of a run's key.

    python -m wan_director.benchmarks.saving_runs [FOLDER]

States of the published sizes, as after a step in the middle of a run, are written to FOLDER (default: the system's
folder for temporary files) and put to disk, and read again. The CPU's tensors stand for the GPU's, whose way over the
bus comes on top: 100 MB in 10 ms or less.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from wan_director.common.shapes import LatentShape
from wan_director.dit.inputs import Conditioning
from wan_director.engine.resuming import identity
from wan_director.engine.resuming.digest import digest
from wan_director.engine.resuming.folder import StateFolder
from wan_director.engine.resuming.kept import COST, EVERY_S
from wan_director.engine.sampling.walk import RUN_KINDS, RunState
from wan_director.sampling.loop import begin
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.state import SamplerState

SIZES = {
    "832 x 480, 81 frames": (LatentShape(16, 21, 60, 104), 0),
    "1280 x 720, 81 frames": (LatentShape(16, 21, 90, 160), 0),
    "TI2V-5B, 1280 x 704, 121 frames": (LatentShape(48, 31, 44, 80), 0),
    "832 x 480, 81 frames, with a cache of 14B": (LatentShape(16, 21, 60, 104), 2 * 32760 * 5120),
}
STEPS, MIDDLE, REPEATS = 8, 4, 5


def state_in_the_middle(solver: str, shape: LatentShape, cached: int) -> RunState:
    """What a run has to remember after some steps; `cached`: numbers in bf16 that a cache keeps."""
    schedule = make_schedule("simple", STEPS, 5.0)
    state = begin(SOLVERS[solver], schedule, torch.zeros(1, *shape), seed=1)
    for level, following in list(pairwise(schedule.levels))[:MIDDLE]:
        step = SOLVERS[solver].advance(state.solver, lambda latent, _at: 0.1 * latent, state.latent, level, following)
        state = SamplerState(following.index, STEPS, following.sigma, step.latent, step.denoised, step.record)
    cache = {"high/0-21/tokens": torch.ones(cached, dtype=torch.bfloat16)} if cached else {}
    return RunState(replace(state, cache=cache), {"high": 0})


def milliseconds(work: Callable[[], object]) -> float:
    """The median time of some repetitions."""
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)


def main(place: Path) -> None:
    print("| state | solver | MB | saved in ms | read in ms | saved at most every s |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=place) as folder:
        states = StateFolder(Path(folder))
        for name, (shape, cached) in SIZES.items():
            for solver in ("euler", "unipc", "uni_pc"):
                state = state_in_the_middle(solver, shape, cached)
                size = states.save("0" * 32, state, RUN_KINDS)
                saved = milliseconds(lambda: states.save("0" * 32, state, RUN_KINDS))  # noqa: B023
                read = milliseconds(lambda: states.load("0" * 32, RUN_KINDS, torch.device("cpu")))
                every = max(EVERY_S, saved / 1000 / COST)
                print(f"| {name} | {solver} | {size / 1e6:.1f} | {saved:.0f} | {read:.0f} | {every:.0f} |")
    shape = SIZES["1280 x 720, 81 frames"][0]
    sides = [Conditioning(torch.randn(1, 512, 4096)) for _ in range(2)]
    latents = [torch.randn(1, channels, *shape[1:]) for channels in (16, 16, 20)]
    of_inputs, of_code = milliseconds(lambda: digest((sides, latents))), milliseconds(identity._code.__wrapped__)
    print(f"\nThe key of 1280 x 720, 81 frames, from a picture: {of_inputs:.0f} ms")
    print(f"The key's part of the pack's code, once a process: {of_code:.0f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()))
