"""Combined native conditionings: ranges, masks and strengths count as in ComfyUI, and nothing is dropped in silence."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.families import TINY
from wan_director.dit.inputs import DitInputs
from wan_director.nodes.conditioning import keys
from wan_director.sampling.noise import seeded_noise

from .conftest import call, encode, load, load_vae, picture
from .test_guidance_node import DEFAULTS as GUIDANCE

pytestmark = pytest.mark.usefixtures("inference")
STEPS, SHIFT, CFG = 5, 5.0, 3.0
SAMPLER = {
    "seed": 3,
    "steps": STEPS,
    "cfg": CFG,
    "shift": SHIFT,
    "solver": "euler",
    "schedule": "simple",
    "denoise": 1.0,
}
LATENT = {"samples": torch.zeros(1, 16, 3, 6, 8)}
TOLERANCE = 1e-5


def prompt(text: str, **values) -> list:
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")
    ((embedding, own),) = call("TextEncode", text_encoder=encoder, positive=text, negative="")[0]
    return [[embedding, {**own, **values}]]


def sample(positive, negative=None, latent=None, model="t2v.safetensors", **changes) -> torch.Tensor:
    inputs = {
        "model": load(model),
        "positive": positive,
        "negative": negative or prompt("bad"),
        "latent": latent or LATENT,
    }
    return call("Sampler", **inputs, **{**SAMPLER, **changes})["samples"]


def native_mix(entries: list, sigma: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """ComfyUI's calc_cond_batch, restated: the guess of one side, averaged over the entries that count at `sigma`."""
    module = load("t2v.safetensors").residence.module
    total, count = torch.zeros_like(state), torch.full_like(state, 1e-37)
    for embedding, values in entries:
        bounds = []
        for part in (values.get("start_percent", 0.0), values.get("end_percent", 1.0)):
            rest = 1.0 - part
            bounds.append(1.0 if part <= 0 else 0.0 if part >= 1 else SHIFT * rest / (1 + (SHIFT - 1) * rest))
        if sigma > bounds[0] or sigma < bounds[1]:
            continue
        weight = torch.ones_like(state) * values.get("strength", 1.0)
        if "mask" in values:
            mask = F.interpolate(values["mask"][None], size=state.shape[-2:], mode="bilinear")
            weight = weight * mask[:, :, None] * values.get("mask_strength", 1.0)
        inputs = {"latent": state, "timestep": sigma[None] * 1000, "text": embedding}
        total += (state - sigma * module(DitInputs(**inputs))) * weight
        count += weight
    return total / count


def native(positive: list, negative: list) -> torch.Tensor:
    """KSampler with euler and the schedule simple, restated."""
    parts = torch.tensor([1 - index / STEPS for index in range(STEPS)] + [0.0], dtype=torch.float64)
    sigmas = (SHIFT * parts / (1 + (SHIFT - 1) * parts)).float()
    state = seeded_noise(3, LATENT["samples"].shape[1:])
    for sigma, following in zip(sigmas, sigmas[1:]):
        with_prompt, without = (native_mix(side, sigma, state) for side in (positive, negative))
        guess = without + CFG * (with_prompt - without)
        state = state + (state - guess) / sigma * (following - sigma)
    return TINY.denormalize(state)


LEFT = torch.zeros(1, 48, 64)
LEFT[..., :32] = 1
RED, BLUE, BAD = "a red ball", "a blue box moves", "bad"
CASES = {
    "ranges": lambda: (
        prompt(RED, start_percent=0.0, end_percent=0.5) + prompt(BLUE, start_percent=0.5, end_percent=1.0), prompt(BAD)
    ),
    "ranges_that_overlap": lambda: (prompt(RED, start_percent=0.0, end_percent=0.7) + prompt(BLUE), prompt(BAD)),
    "strengths": lambda: (prompt(RED, strength=0.3) + prompt(BLUE, strength=2.0), prompt(BAD)),
    "masks": lambda: (
        prompt(RED, mask=LEFT, mask_strength=0.8, set_area_to_bounds=False) + prompt(BLUE, mask=1 - LEFT), prompt(BAD)
    ),
    "mask_over_a_whole": lambda: (prompt(RED, mask=LEFT, mask_strength=1.0) + prompt(BLUE), prompt(BAD)),
    "both_sides": lambda: (
        prompt(RED) + prompt(BLUE), prompt(BAD, end_percent=0.5) + prompt("blurry", start_percent=0.4)
    ),
    "concat": lambda: ([[torch.cat([prompt(RED)[0][0], prompt(BLUE)[0][0]], dim=1), {}]], prompt(BAD)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_combinations_count_as_in_comfyui(name):
    positive, negative = CASES[name]()
    ours = sample(positive, negative)
    torch.testing.assert_close(ours, native(positive, negative), rtol=0, atol=TOLERANCE * 10)
    assert not torch.allclose(ours, sample(prompt(RED)), atol=1e-3)


def test_values_that_change_nothing_are_absent_to_the_bit():
    plain = sample(prompt(RED))
    whole = {"start_percent": 0.0, "end_percent": 1.0, "strength": 0.5, "mask": torch.ones(1, 48, 64), "guidance": None}
    assert torch.equal(sample(prompt(RED, **whole)), plain)
    assert torch.equal(sample(prompt(RED, pooled_output=torch.zeros(1, 8))), plain)


def test_a_mask_for_each_frame_of_the_video_counts():
    first = torch.zeros(9, 48, 64)
    first[:1] = 1
    ours = sample(prompt(RED, mask=first) + prompt(BLUE, mask=1 - first))
    assert not torch.allclose(ours, sample(prompt(BLUE)), atol=1e-3) and ours.isfinite().all()
    of_latent = torch.zeros(3, 6, 8)
    of_latent[0] = 1
    assert torch.equal(ours, sample(prompt(RED, mask=of_latent) + prompt(BLUE, mask=1 - of_latent)))
    with pytest.raises(InvalidInputError, match="has 7 frames, but the video has 9"):
        sample(prompt(RED, mask=first[:7]))


def test_a_range_that_leaves_a_step_out_is_refused_before_anything_runs():
    gap = prompt(RED, end_percent=0.3) + prompt(BLUE, start_percent=0.5)
    with pytest.raises(
        InvalidInputError, match=r"No positive prompt counts in step 3 of 5 \(sigma 0.8824\).*ranges meet"
    ):
        sample(gap)
    with pytest.raises(InvalidInputError, match="No negative prompt counts in step 1 of 5"):
        sample(prompt(RED), prompt(BAD, start_percent=0.5))
    assert sample(prompt(RED), prompt(BAD, start_percent=0.5), cfg=1.0).isfinite().all()  # nobody asks for it


@pytest.mark.parametrize("values", [{"mask": LEFT}, {"strength": 0.0}, {"mask": LEFT, "mask_strength": 0.0}])
def test_a_part_of_the_picture_without_a_prompt_is_refused(values):
    with pytest.raises(InvalidInputError, match="positive prompts of step 1 of 5 leave a part of the picture"):
        sample(prompt(RED, **values))


@pytest.mark.parametrize("key", [*(key for key in keys.REFUSED if key != "time_dim_concat"), "another_packs_key"])
def test_a_value_that_has_no_effect_is_refused_by_its_name(key):
    with pytest.raises(
        InvalidInputError, match=rf"^The negative conditioning carries .*\('{key}', from .+\), and .*\. .+\.$"
    ):
        sample(prompt(RED), prompt(BAD, **{key: torch.zeros(1)}))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("area", "an area of the picture.*Conditioning .Set Area.*Use Conditioning .Set Mask."),
        ("hooks", "hooks .*Use Wan LoRA"),
        ("control", "a ControlNet .*Use Wan VACE"),
        ("camera_conditions", "WanCameraImageToVideo"),
        ("audio_embed", "WanSoundImageToVideo"),
        ("face_video_pixels", "WanAnimateToVideo"),
        ("reference_latents", "Wan22FunControlToVideo"),
        ("another_packs_key", "does not know.*another pack's node.*Remove that node"),
    ],
)
def test_the_refusal_names_the_node(key, words):
    with pytest.raises(InvalidInputError, match=words):
        sample(prompt(RED, **{key: torch.zeros(1)}))


def test_fun_control_says_what_it_is():
    made = {"concat_latent_image": torch.zeros(1, 32, 3, 6, 8)}
    words = r"a control video and a start image for a Fun Control model \(32 channels.*t2v.safetensors .* is none"
    with pytest.raises(PairingError, match=words):
        sample(prompt(RED, **made))


@pytest.mark.parametrize(
    ("positive", "words"),
    [
        ("a text", "got a text"),
        (None, "got nothing"),
        ([], "got an empty list"),
        ([torch.zeros(1)], "a list with a tensor of the shape"),
        ([["text", {}]], "text embedding of the positive conditioning must be a tensor, got a text"),
        ([[torch.zeros(4, 128), {}]], r"\[batch, tokens, width\], got \[4, 128\]"),
        ([[torch.full((1, 4, 128), float("nan")), {}]], "with NaN or infinity"),
        ([[torch.zeros(2, 4, 128), {}]], "has 2 text embeddings, but the latent has 1 videos"),
        ([[torch.zeros(1, 5000, 128), {}]], "has 5000 tokens, as of 9 prompts that were joined, and at most 8"),
    ],
)
def test_what_is_no_conditioning_is_refused_in_a_sentence(positive, words):
    with pytest.raises((InvalidInputError, PairingError), match=words):
        sample(positive)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"start_percent": 1.5}, "'start_percent' of the positive conditioning must be a number from 0 to 1, got 1.5"),
        ({"end_percent": "late"}, "'end_percent' .* got a text"),
        ({"strength": float("nan")}, "'strength' .* of at least 0, got nan"),
        ({"mask": torch.full((1, 6, 8), float("nan"))}, "mask of the positive conditioning must be a mask"),
        ({"mask": "left"}, "got a text"),
        ({"mask": LEFT, "set_area_to_bounds": True}, "Choose 'default' in Conditioning"),
        ({"clip_vision_output": 3}, "CLIP vision output of the positive conditioning must have finite features"),
        ({"concat_latent_image": torch.zeros(16, 3)}, "given frames of the positive conditioning must be a latent"),
        ({"vace_frames": 3}, "frames of control videos must be a list"),
        ({"vace_frames": torch.zeros(1, 32, 3, 6, 8)}, "frames of control videos must be a list"),
        ({"vace_frames": [torch.zeros(1)]}, "latent of 5 dimensions"),
    ],
)
def test_values_that_cannot_be_are_refused_in_a_sentence(values, words):
    with pytest.raises((InvalidInputError, PairingError), match=words):
        sample(prompt(RED, **values))


def test_control_videos_need_a_mask_and_a_strength_each():
    prompts = encode("text.safetensors")
    vae = load_vae("vae.safetensors")
    size = {"width": 64, "height": 48, "frames": 9, "batch_size": 1, "strength": 1.0}
    positive, negative, latent, _ = call(
        "Vace", positive=prompts[0], negative=prompts[1], vae=vae, **size, control_video=picture(9)
    )
    short = [[embedding, {**values, "vace_strength": [1.0, 1.0]}] for embedding, values in positive]
    with pytest.raises(PairingError, match="1 control videos with 1 masks and 2 strengths"):
        sample(short, negative, latent, "vace.safetensors")


@pytest.mark.parametrize("solver", ["dpmpp_2s_ancestral", "dpmpp_sde_native", "seeds_2", "seeds_3"])
def test_where_a_solver_asks_between_two_ranges_the_prompts_of_its_step_count(solver):
    """Steps begin at 1, 0.94, 0.83 and 0.63; between 0.80 and 0.65 neither counts, which no step begins at."""
    early = prompt(RED, start_percent=0.0, end_percent=0.556)
    late = prompt(BLUE, start_percent=0.729, end_percent=1.0)
    meeting = [*prompt(RED, start_percent=0.0, end_percent=0.72), *prompt(BLUE, start_percent=0.72, end_percent=1.0)]
    changes = {"steps": 4, "solver": solver}
    assert torch.equal(sample([*early, *late], **changes), sample(meeting, **changes))
    masked = [*prompt(RED, mask=LEFT, mask_strength=1e-9), *early, *late]
    assert sample(masked, **changes).isfinite().all()
    led = call("Guidance", model=load("t2v.safetensors"), **GUIDANCE | {"nag_scale": 5.0})
    overlapping = [*prompt(BAD, end_percent=0.729), *prompt(BLUE, start_percent=0.556)]
    inputs = {"model": led, "positive": prompt(RED), "negative": overlapping, "latent": LATENT}
    assert call("Sampler", **inputs, **{**SAMPLER, **changes, "cfg": 1.0})["samples"].isfinite().all()


def test_a_last_step_that_ends_beyond_the_ranges_is_made():
    sigmas = torch.tensor([1.0, 0.6, 0.05])
    assert sample(prompt(RED, end_percent=0.9), solver="heun", sigmas=sigmas).isfinite().all()
