"""Native loader and KSampler beside our model: bridged under the same KSampler, and under our own sampler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench

import comfy.samplers  # isort: skip  (its folder is named in bench)
import comfy.sd  # isort: skip
import nodes  # isort: skip
import torch

SOLVERS = bench.module("nodes.headless.core_nodes.sampling")
KINDS = ("t2v", "i2v", "flf", "i2v-2.2", "5b", "vace")
SAMPLERS, SCHEDULERS = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
STEPS, CFG, SEED = 4, 3.0, 11
TOKENS = 24

Row = tuple[str, str, float]
"""What is compared, by which sampler and scheduler, and the error."""


def native(path: Path) -> Any:
    return comfy.sd.load_diffusion_model(str(path))


def sampled(model: Any, kind: str, sampler: str, scheduler: str, **case: Any) -> torch.Tensor:
    """What KSampler makes; `case`: values, latent, tokens, steps and denoise that are not the usual ones."""
    values, latent = case.get("values", bench.values_of(kind)), case.get("latent", bench.latent_of(kind))
    sides = [bench.conditioning(seed, values, case.get("tokens", TOKENS)) for seed in (1, 2)]
    run = (SEED, case.get("steps", STEPS), CFG, sampler, scheduler, *sides, latent, case.get("denoise", 1.0))
    return nodes.common_ksampler(model, *run)[0]["samples"]


def bridged_rows() -> Iterator[Row]:
    """Every sampler with every kind of model, and every scheduler."""
    for kind in KINDS:
        pair = bench.bridged(bench.ours(bench.model_file(kind))), native(bench.model_file(kind))
        steps = STEPS if kind == "t2v" else 3
        for sampler in SAMPLERS:
            results = [sampled(model, kind, sampler, "simple", steps=steps) for model in pair]
            yield f"bridged {kind}", sampler, bench.error(*results)
        for scheduler in SCHEDULERS if kind == "t2v" else ():
            results = [sampled(model, kind, "euler", scheduler) for model in pair]
            yield f"bridged {kind}", f"euler, {scheduler}", bench.error(*results)
        yield from odd_rows(kind, pair)


def odd_rows(kind: str, pair: tuple[Any, Any]) -> Iterator[Row]:
    """Batches, odd sizes, parts of a schedule, reference pictures, missing conditioning."""
    frames, height, width = bench.VIDEO
    cases: dict[str, dict[str, Any]] = {"no conditioning": {"values": {}}, "512 tokens": {"tokens": 512}}
    cases["denoise 0.6"] = {"denoise": 0.6, "latent": {**bench.latent_of(kind), "samples": _video(kind)}}
    if kind == "t2v":
        cases["batch of 2, odd size"] = {"latent": {"samples": torch.zeros(2, 16, frames, height - 1, width + 1)}}
        cases["pictures behind"] = {"values": {"time_dim_concat": bench.random(41, 1, 16, 2, height, width)}}
        mask = torch.ones(1, height * 8, width * 8)
        mask[:, : height * 4] = 0
        cases["noise mask"] = {"latent": {"samples": _video(kind), "noise_mask": mask}}
    if kind == "vace":
        cases["one control of batch 2"] = {
            "latent": {"samples": torch.zeros(2, 16, *bench.VIDEO)},
            "values": {"vace_frames": [bench.random(42, 2, 32, *bench.VIDEO)], "vace_strength": [0.7]},
        }
    for name, case in cases.items():
        yield f"bridged {kind}", name, bench.error(*(sampled(model, kind, "euler", "normal", **case) for model in pair))


def _video(kind: str) -> torch.Tensor:
    return bench.random(43, 1, bench.latent_of(kind)["samples"].shape[1], *bench.VIDEO)


def sampler_rows() -> Iterator[Row]:
    """Native KSampler over the native model beside Wan Sampler, with everything that both have."""
    for kind in KINDS:
        video, beside = bench.ours(bench.model_file(kind)), native(bench.model_file(kind))
        for sampler, scheduler in _shared(kind):
            # A Brownian motion is known at whole millionths of sigma: both are to round the same numbers.
            table = native_table(beside, scheduler) if sampler in BROWNIAN else None
            made = ours_sampled(video, kind, sampler, scheduler, table)
            expected = sampled(beside, kind, sampler, scheduler, tokens=512)
            kept = 1 if kind == "5b" else 0  # native's uni_pc leaves noise in the frame that is given
            row = f"Wan Sampler {kind}", f"{sampler}, {scheduler}"
            yield *row, bench.error(made[:, :, kept:], expected[:, :, kept:])


def _shared(kind: str) -> Iterator[tuple[str, str]]:
    """With text to video every sampler, and some of each sort with every scheduler; these alone with other kinds."""
    for sampler in SOLVERS.SOLVER_OF:
        if sampler not in SAMPLERS or (sampler in DRAWING and not SEEDS_PLUS_ONE):
            continue  # is not there yet, or draws other noise
        if kind == "t2v":
            yield from ((sampler, scheduler) for scheduler in (SCHEDULERS if sampler in OF_EACH_SORT else ("simple",)))
        elif sampler in OF_EACH_SORT:
            yield sampler, "simple"


OF_EACH_SORT = {"euler", "dpmpp_2m", "uni_pc", "lms", "er_sde", "dpmpp_2m_sde", "sa_solver"}
DRAWING = {
    "lcm", "euler_ancestral", "dpmpp_2s_ancestral", "res_multistep_ancestral", "er_sde", "dpm_2_ancestral", "ddpm",
    "seeds_2", "seeds_3", "exp_heun_2_x0_sde", "sa_solver", "sa_solver_pece",
}  # fmt: skip
"""Those whose noise is seeded with seed + 1 since v0.7.0."""
BROWNIAN = {name for name in SOLVERS.SOLVER_OF if name.startswith(("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"))}


def _seeds_plus_one() -> bool:
    """Whether this ComfyUI seeds the noise of steps with seed + 1, as ours does."""
    import inspect

    from comfy.k_diffusion import sampling

    return "seed += 1" in inspect.getsource(sampling.default_noise_sampler)


SEEDS_PLUS_ONE = _seeds_plus_one()


def native_table(model: Any, scheduler: str) -> torch.Tensor:
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, STEPS)


def ours_sampled(
    video: Any, kind: str, sampler: str, scheduler: str, sigmas: torch.Tensor | None = None
) -> torch.Tensor:
    settings = bench.module("engine.sampling.settings").SamplerSettings(
        SEED, STEPS, CFG, 8.0, SOLVERS.SOLVER_OF[sampler], SOLVERS.SCHEDULE_OF[scheduler], sigmas=sigmas
    )
    sides = [bench.conditioning(seed, bench.values_of(kind), 512) for seed in (1, 2)]
    made, _ = bench.module("nodes.sockets.sampling").sampled(video, tuple(sides), bench.latent_of(kind), settings)
    return made["samples"]


def expert_rows() -> Iterator[Row]:
    """Two experts: two KSampler (Advanced) over bridged models, over native ones, and one Wan Sampler over the pair."""
    files = [bench.model_file(kind) for kind in ("high", "low")]
    videos = [bench.ours(file) for file in files]
    natives, bridges = [native(file) for file in files], [bench.bridged(video) for video in videos]
    pair = bench.module("engine.models").with_low_noise(*videos, high_steps=2)
    for sampler in ("euler", "heun", "dpmpp_2m", "uni_pc", "er_sde", "res_multistep", "dpm_2", "deis", "sa_solver"):
        beside = _advanced(natives, sampler)
        yield "bridged experts", sampler, bench.error(_advanced(bridges, sampler), beside)
        if sampler == "euler":  # a solver with memory goes on across the change in ours, and begins anew in native
            yield "Wan Sampler experts", sampler, bench.error(ours_sampled(pair, "high", sampler, "simple"), beside)


def _advanced(models: list[Any], sampler: str) -> torch.Tensor:
    sides = [bench.conditioning(seed, {}, 512) for seed in (1, 2)]
    latent = bench.latent_of("t2v")
    run = nodes.KSamplerAdvanced().sample
    (first,) = run(models[0], "enable", SEED, STEPS, CFG, sampler, "simple", *sides, latent, 0, 2, "enable")
    (last,) = run(models[1], "disable", 0, STEPS, CFG, sampler, "simple", *sides, first, 2, 10000, "disable")
    return last["samples"]


with torch.inference_mode():
    rows = [*bridged_rows(), *sampler_rows(), *expert_rows()]
print(json.dumps({"rows": rows, "samplers": list(SAMPLERS), "schedulers": list(SCHEDULERS)}))
