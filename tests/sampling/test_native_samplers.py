"""The samplers and tables that carry native names, against what ComfyUI's own code gives from noise to result.

`fixtures/native_samplers.json` was made by `fixtures/make_native_samplers.py` with ComfyUI v0.33.0; v0.3.64 gives the
same. Where `COMFYUI_PATH` is set, that ComfyUI makes it anew.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.dit.inputs import Conditioning
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.noise import add_noise, step_noise
from wan_director.sampling.schedule import from_sigmas, make_schedule
from wan_director.sampling.solvers import FROM_BELOW_ONE, SOLVERS
from wan_director.sampling.step import NoiseLevel

from .conftest import WholeModel, sampled, walk

FIXTURES = Path(__file__).parent / "fixtures"
MAKER = FIXTURES / "make_native_samplers.py"
RECORDS = json.loads((FIXTURES / "native_samplers.json").read_text(encoding="utf-8"))
OURS = {
    "dpmpp_2m": "dpmpp_2m_native",
    "dpmpp_sde": "dpmpp_sde_native",
    "dpmpp_2m_sde": "dpmpp_2m_sde_native",
    "karras": "karras_native",
}
"""Our names where the native ones mean something else here."""

spec = importlib.util.spec_from_file_location("make_native_samplers", MAKER)
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)


def record_id(record):
    return "-".join(map(str, (record["sampler"], *record["table"])))


def of_sampler(*names):
    records = [record for record in RECORDS if record["sampler"] in names]
    return pytest.mark.parametrize("record", records, ids=record_id)


def settings_of(record, *, exact: bool = False) -> SamplerSettings:
    schedule, steps, shift, denoise = record["table"]
    names = (OURS.get(name, name) for name in (record["sampler"], schedule))
    # A Brownian motion is known at whole millionths of sigma, and native's float32 may be the next one.
    sigmas = torch.tensor(record["sigmas"]) if record["sampler"] in native.BROWNIAN and exact else None
    return SamplerSettings(native.SEED, steps, 1.0, shift, *names, denoise, sigmas)


def model(inputs):
    return native.velocity(inputs.latent, float(inputs.timestep[0]) / 1000)


def our_result(record, *, exact: bool = True) -> torch.Tensor:
    """Of the whole loop, float32."""
    side = Conditioning(torch.zeros(1, 1, 1))
    settings = settings_of(record, exact=exact)
    schedule, clip = settings.noise_schedule(), native.clip_and_noise()[0]
    denoiser = Denoiser(WholeModel(model), side, side)
    return [*sampled(denoiser, settings.solver, schedule, clip, seed=settings.seed)][-1].latent


def our_exact_result(name, sigmas, shift: float = 5.0) -> torch.Tensor:
    """Of the solver alone, float64."""
    schedule = from_sigmas(sigmas, shift)
    schedule = schedule.from_below_one(shift) if name in FROM_BELOW_ONE else schedule
    clip, noise = (part.double() for part in native.clip_and_noise())
    latent, noise = add_noise(clip, noise, float(sigmas[0])), step_noise(native.SEED)
    return [*walk(name, noise, lambda x, at: native.velocity(x, at.sigma), latent, schedule.levels)][-1]


def relative_error(ours: torch.Tensor, expected: torch.Tensor) -> float:
    return float((ours - expected).abs().max() / expected.abs().max())


@of_sampler(*native.SAMPLERS)
def test_the_table_is_that_of_ksampler(record):
    """For uni_pc without the last sigma above 0."""
    sigmas = settings_of(record).noise_schedule().sigmas
    if settings_of(record).solver in FROM_BELOW_ONE:  # native moves the first one later
        shift = record["table"][2]
        highest = shift * 0.9999 / (1 + (shift - 1) * 0.9999)
        assert float(sigmas[0]) == pytest.approx(min(record["sigmas"][0], highest), rel=2e-6)
        sigmas[0] = record["sigmas"][0]
    torch.testing.assert_close(sigmas.float(), torch.tensor(record["sigmas"]), rtol=2e-6, atol=0)


@of_sampler(*native.SAMPLERS)
def test_the_formula_is_that_of_native_nodes(record):
    """In float64 on both sides, but for native's integral of er_sde, which is in float32 whatever its tensors are.

    For dpmpp_2m_sde with the same noise, which native draws from a Brownian tree.
    """
    expected = torch.tensor(record["float64"], dtype=torch.float64).view(native.SHAPE)
    name = OURS.get(record["sampler"], record["sampler"])
    shift = record["table"][2]
    limit = 1e-7 if name == "er_sde" else 1e-9
    assert relative_error(our_exact_result(name, torch.tensor(record["sigmas"]), shift), expected) <= limit


@of_sampler(*native.SAMPLERS)
def test_the_result_is_that_of_native_nodes(record):
    """From the noise of the seed to the result of the whole loop, in float32.

    Within 1e-6, and what native's own float32 is away from its float64.
    """
    expected = torch.tensor(record["float32"]).view(native.SHAPE)
    exact = torch.tensor(record["float64"], dtype=torch.float64).view(native.SHAPE)
    # In float32 native's uni_pc has a sigma of 0.001 wrong by up to 6 %.
    limit = 4e-5 if record["sampler"].startswith("uni_pc") else 1e-6 + relative_error(expected.double(), exact)
    assert relative_error(our_result(record), expected) <= limit


def test_the_older_name_of_dpmpp_2m_sde_and_of_karras_still_works():
    assert SOLVERS["dpmpp_sde"] is SOLVERS["dpmpp_2m_sde"]
    old, true = (make_schedule(name, 20, 5.0) for name in ("karras", "karras_ratio"))
    assert torch.equal(old.sigmas, true.sigmas)


@of_sampler(*native.BROWNIAN)
def test_a_table_of_ours_gives_nearly_the_noise_of_native_s(record):
    """Some sigmas of native's float32 round to the next millionth: its Brownian motion moves on by 1e-3 there."""
    expected = torch.tensor(record["float32"]).view(native.SHAPE)
    assert relative_error(our_result(record, exact=False), expected) <= 1e-2


@pytest.mark.parametrize(("ours", "theirs"), [("dpmpp_2m", "dpmpp_2m_native"), ("unipc", "uni_pc_bh2")])
def test_official_and_native_forms_differ_but_approach_each_other(ours, theirs):
    """Why both are offered: at few steps another video, at many the same."""

    def distance(steps):
        sigmas = torch.linspace(0.95, 0.05, steps + 1)
        return relative_error(*(our_exact_result(name, sigmas) for name in (ours, theirs)))

    assert distance(6) > 2e-3
    assert distance(96) < distance(6) / 20


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
def test_native_unipc_ends_at_a_thousandth_of_the_noise(name):
    clip, noise = torch.full((1, 1, 1, 1, 4), 2.0), torch.tensor([-1.0, 0.0, 1.0, 3.0])
    level, end = NoiseLevel(0, 1, 0.5, 500.0), NoiseLevel(1, 1, 0.0, 0.0)
    start = 0.5 * clip + 0.5 * noise
    (latent,) = walk(name, step_noise(0), lambda x, at: (x - clip) / at.sigma, start, (level, end))
    torch.testing.assert_close(latent, clip + 0.001 / 0.999 * noise)


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_native_unipc_takes_any_number_of_steps(name, steps):
    """Native itself returns the noise of a run of one step."""
    record = {"sampler": name, "table": ["simple", steps, 5.0, 1.0]}
    assert our_result(record).abs().max() < 5


def test_a_schedule_without_its_penultimate_sigma_has_room_for_one_more():
    whole = make_schedule("simple", 9, 5.0).sigmas
    ours = make_schedule("simple", 8, 5.0, without_penultimate=True)
    assert torch.equal(ours.sigmas, torch.cat([whole[:-2], whole[-1:]])) and ours.steps == 8
    assert make_schedule("simple", 999, 5.0, without_penultimate=True).steps == 999
    with pytest.raises(InvalidInputError, match="a schedule of 1001 steps, and one has at most 1000. Use at most 999"):
        make_schedule("simple", 1000, 5.0, without_penultimate=True)


@pytest.mark.comfyui
@pytest.mark.skipif("COMFYUI_PATH" not in os.environ, reason="needs a ComfyUI: set COMFYUI_PATH to its folder")
def test_this_comfyui_gives_what_was_recorded(tmp_path):
    comfyui = Path(os.environ["COMFYUI_PATH"])
    places = (comfyui / folder / "bin" / "python" for folder in ("venv", ".venv"))
    python = os.environ.get("COMFYUI_PYTHON") or next((str(each) for each in places if each.exists()), sys.executable)
    output = tmp_path / "made.json"
    subprocess.run([python, str(MAKER), str(comfyui), str(output)], check=True, capture_output=True, timeout=300)
    for made, recorded in zip(json.loads(output.read_text(encoding="utf-8")), RECORDS, strict=True):
        assert (made["sampler"], made["table"]) == (recorded["sampler"], recorded["table"])
        for part in ("sigmas", "float32", "float64"):
            assert relative_error(torch.tensor(made[part]), torch.tensor(recorded[part])) <= 1e-6
