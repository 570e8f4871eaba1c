"""Wan Prompt Travel: prompts in their times for every kind of model, what it equals, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.dit.inputs import DitInputs
from wan_director.engine.memory import AUTOMATIC, MemorySettings
from wan_director.engine.sampling.job import sampling_job
from wan_director.nodes.conditioning.entries import prompts_of
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.travel.lines import read_lines
from wan_director.nodes.travel.node import METHODS
from wan_director.sampling.travel import Moment

from .conftest import FORMS, HIGH, LOW, call, in_form, load, load_vae, picture, save_experts
from .test_guidance_node import guided

pytestmark = pytest.mark.usefixtures("inference")
SAMPLER = {"seed": 7, "cfg": 3.0, "steps": 3, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
FRAMES = 5  # of the latent; 17 of the video
LATENT = {"samples": torch.zeros(1, 16, FRAMES, 6, 8)}
RED, BLUE = "a red ball", "a blue box moves"
LINES = f"0: {RED}\n8: {BLUE}"


def encoder(name: str = "text"):
    return call("LoadTextEncoder", text_encoder_name=f"{name}.safetensors", precision="auto", device="auto")


def travel(lines: str = LINES, text: str = "text", **changed) -> list:
    inputs = {"global_prompt": "", "transition": 0, "method": "attention", **changed}
    return call("PromptTravel", text_encoder=encoder(text), prompts=lines, **inputs)


def plain(prompt: str, text: str = "text") -> list:
    return call("TextEncode", text_encoder=encoder(text), positive=prompt, negative="")[0]


def sampled(positive, negative=None, latent=LATENT, model="t2v.safetensors", **changed) -> torch.Tensor:
    model = load(model) if isinstance(model, str) else model
    sides = {"positive": positive, "negative": negative or plain("bad")}
    return call("Sampler", model=model, latent=latent, **sides, **SAMPLER | changed)["samples"]


def core(name: str, **inputs):
    return CORE_NODES[name].execute(**inputs).args[0]


@pytest.mark.parametrize("method", METHODS)
def test_one_prompt_is_that_of_text_encode_to_the_bit(method):
    assert torch.equal(sampled(travel(f"0: {RED}", method=method)), sampled(plain(RED)))
    assert torch.equal(sampled(travel("0: ball", global_prompt="a red", method=method)), sampled(plain(RED)))


def test_passes_are_the_masks_of_frames_that_native_nodes_make():
    """The same prompts with a mask for each frame of the video, as Conditioning (Set Mask) writes it."""
    late = torch.zeros(17, 48, 64)
    late[8:] = 1
    masked = [[plain(text)[0][0], {"mask": mask}] for text, mask in ((RED, 1 - late), (BLUE, late))]
    assert torch.allclose(sampled(travel(method="passes")), sampled(masked), rtol=0, atol=1e-5)


def test_attention_is_one_pass_in_which_each_frame_sees_its_text():
    model, (red, blue) = load("t2v.safetensors"), (plain(text)[0][0] for text in (RED, BLUE))
    ((part,),) = [prompts_of(model, travel(), LATENT, "positive", 5.0).parts]
    assert part.weight.shape == (1, 1, 1, 1, 1)
    assert torch.equal(part.conditioning.travel.shares, torch.tensor([[1, 1, 0.75, 0, 0], [0, 0, 0.25, 1, 1]]))
    state, time = torch.randn(1, 16, FRAMES, 6, 8), torch.tensor([700.0])
    module = model.residence.module
    ours = module(part.conditioning.inputs(state, time))
    for text in (red, blue):
        assert not torch.allclose(ours, module(DitInputs(state, time, text)), atol=1e-4)


def test_methods_differ_and_a_transition_counts():
    results = [sampled(travel(method=method, transition=size)) for method in METHODS for size in (0, 12)]
    results += [sampled(plain(text)) for text in (RED, BLUE)]
    for number, result in enumerate(results):
        assert result.isfinite().all()
        assert all(not torch.equal(result, other) for other in results[:number])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["t2v", "i2v", "5b", "vace", "experts", "fp8", "batch", "negative"])
def test_it_works_for_every_kind_of_model(method, kind, models):
    one, two = (given(kind, models, lines, method) for lines in (f"0: {RED}", LINES))
    assert two.isfinite().all() and not torch.equal(one, two)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", ["plain", *FORMS])
def test_quantised_and_adapted_models_travel_swapped_too(models, form, method):
    model, there = in_form(form, models), travel(method=method, transition=8)
    result = sampled(there, model=model)
    assert torch.equal(sampled(there, model=model, memory=MemorySettings(blocks_to_swap=2)), result)
    one = travel(f"0: {RED}\n8: {RED}", method=method, transition=8)
    assert torch.allclose(sampled(one, model=model), sampled(plain(RED), model=model), rtol=0, atol=1e-5)
    assert (sampled(plain(RED), model=model) - result).abs().max() > 1e-3


def given(kind: str, models, lines: str, method: str) -> torch.Tensor:
    text = "wan21_text" if kind == "5b" else "text"
    positive, negative = travel(lines, text, method=method), plain("bad", text)
    size = {"width": 64, "height": 48, "frames": 17, "batch_size": 1}
    if kind in ("i2v", "5b"):
        large = {**size, "height": 64} if kind == "5b" else size
        model, vae = ("ti2v", "wan22_vae") if kind == "5b" else ("i2v", "vae")
        sides = {"positive": positive, "negative": negative, "start_image": picture(1, large["height"]), "fit": "crop"}
        positive, negative, latent = call("ImageToVideo", **sides, vae=load_vae(f"{vae}.safetensors"), **large)
        return sampled(positive, negative, latent, f"{model}.safetensors")
    if kind == "vace":
        inputs = {"vae": load_vae("vae.safetensors"), "strength": 1.0, "control_video": picture(17)}
        reference = {"reference_image": picture(1)}
        positive, negative, latent, _ = call(
            "Vace", positive=positive, negative=negative, **inputs, **reference, **size
        )
        return sampled(positive, negative, latent, "vace.safetensors")
    if kind == "experts":
        save_experts(models)
        pair = call("Experts", high_noise=load(HIGH), low_noise=load(LOW), low_noise_cfg=0.0, high_noise_steps=1)
        return sampled(positive, model=pair)
    if kind == "fp8":
        model = call("LoadModel", model_name="t2v.safetensors", precision="fp8_scaled", attention="auto")
        return sampled(positive, model=model)
    if kind == "batch":
        return sampled(positive, latent={"samples": torch.zeros(2, 16, FRAMES, 6, 8)})
    if kind == "negative":
        return sampled(plain(RED), positive)
    return sampled(positive)


def test_it_goes_through_native_nodes_that_change_prompts():
    """Ranges, words behind, mixed and zeroed; each travel is averaged beside another prompt."""
    early = core("ConditioningSetTimestepRange", conditioning=travel(), start=0.0, end=0.5)
    late = core("ConditioningSetTimestepRange", conditioning=plain("late"), start=0.5, end=1.0)
    changed = [
        core("ConditioningCombine", conditioning_1=early, conditioning_2=late),
        core("ConditioningCombine", conditioning_1=plain("x"), conditioning_2=travel()),
        core("ConditioningConcat", conditioning_to=travel(), conditioning_from=plain("words")),
        core(
            "ConditioningAverage", conditioning_to=travel(), conditioning_from=plain("w"), conditioning_to_strength=0.5
        ),
        core("ConditioningZeroOut", conditioning=travel()),
    ]
    results = [sampled(each) for each in (travel(), *changed)]
    for number, result in enumerate(results):
        assert result.isfinite().all()
        assert all(not torch.equal(result, other) for other in results[:number])
    assert torch.allclose(results[-1], sampled(core("ConditioningZeroOut", conditioning=plain(RED))), atol=1e-5)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "There is no prompt. Write a time and a prompt in each line"),
        ("a red ball", "Line 1 of the prompts has no time: 'a red ball'. Write the frame, second"),
        ("0: a\n24 b", "Line 2 of the prompts has no time: '24 b'"),
        (
            "0: a\n2.5: b",
            "Line 2 of the prompts begins at '2.5', .* a whole frame. Did you mean 2.5s\\? Write s for",
        ),
        ("0: a\n\n24:", "Line 3 of the prompts has a time and no prompt"),
        ("\n".join(f"{n}: a" for n in range(101)), "There are 101 prompts, and at most 100"),
    ],
)
def test_lines_that_say_no_time_or_prompt_are_refused(lines, words):
    with pytest.raises(InvalidInputError, match=words):
        travel(lines)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (f"4: {RED}\n8: {BLUE}", "first prompt begins at frame 4"),
        (f"0: {RED}\n17: {BLUE}", "prompt at frame 17 begins after the end of the video, which has 17 frames"),
        (f"0: {RED}\n9s: {BLUE}", r"at 9 s \(frame 72\) begins after the end"),  # the tiny model has 8 frames a second
        (f"0: {RED}\n8: {BLUE}\n9: x", "frame 8 leads in none of the 5 latent frames"),
    ],
)
def test_times_that_do_not_fit_the_video_are_refused_before_sampling(lines, words):
    with pytest.raises(InvalidInputError, match=words):
        sampled(travel(lines))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lines": None}, "prompts must be a text, got nothing"),
        ({"global_prompt": 5}, "global_prompt must be a text, got a number"),
        ({"transition": "x"}, "transition must be a number, got a text"),
        ({"transition": float("nan")}, "0 frames or more, got nan"),
        ({"transition": -1}, "0 frames or more, got -1"),
        ({"method": "x"}, "method is one of attention, passes, got 'x'"),
    ],
)
def test_values_of_other_kinds_are_refused_in_a_sentence(changes, words):
    with pytest.raises(InvalidInputError, match=words):
        travel(**changes)


def test_a_travel_in_pieces_is_refused():
    with pytest.raises(InvalidInputError, match="a part of a prompt travel: it has 2 prompts, and not all"):
        sampled(travel()[:1])
    red, blue = travel()
    masked = [[red[0], {**red[1], "strength": 0.5}], blue]
    with pytest.raises(InvalidInputError, match="differ in more than their text .* Choose the method passes"):
        sampled(masked)
    apart = travel(method="passes")
    assert sampled([[apart[0][0], {**apart[0][1], "strength": 0.5}], apart[1]]).isfinite().all()


def test_a_native_sampler_says_that_it_does_not_follow():
    masked = core(
        "ConditioningSetMask", conditioning=travel(), mask=torch.ones(48, 64), strength=1.0, set_cond_area="default"
    )
    for entry in (*travel(), *masked):
        with pytest.raises(InvalidInputError, match="prompt travel, and only Wan Sampler follows it. Use Wan Sampler"):
            _ = entry[1]["control"].extra_hooks  # what ComfyUI's samplers ask of a ControlNet first
        # ComfyUI 0.33.0 asks this of everything that a node gives, to know which models are in use.
        assert entry[1]["control"].patcher is None and entry[1]["control"].get_models() == []
        with pytest.raises(InvalidInputError, match="only Wan Sampler follows"):
            entry[1]["control"].inference_memory_requirements(torch.float32)
    assert sampled(masked).isfinite().all() and torch.equal(sampled(copy.deepcopy(travel())), sampled(travel()))


def test_a_mask_behind_a_travel_counts():
    half = torch.zeros(48, 64)
    half[:, :32] = 1.0
    results = []
    for method in METHODS:
        masked = core(
            "ConditioningSetMask", conditioning=travel(method=method), mask=half, strength=1.0, set_cond_area="default"
        )
        whole = core("ConditioningCombine", conditioning_1=masked, conditioning_2=plain("a grey field"))
        results += [
            sampled(whole),
            sampled(
                core("ConditioningCombine", conditioning_1=travel(method=method), conditioning_2=plain("a grey field"))
            ),
        ]
    for number, result in enumerate(results):
        assert result.isfinite().all() and all(not torch.equal(result, other) for other in results[:number])


def test_attention_guidance_leads_away_from_one_text():
    model = guided(load("t2v.safetensors"), nag_scale=11.0)
    with pytest.raises(InvalidInputError, match="negative prompt is 2 texts that take turns in time"):
        sampled(plain(RED), travel(), model=model, cfg=1.0)
    assert sampled(travel(), plain("bad"), model=model, cfg=1.0).isfinite().all()


def test_lines_are_read_in_all_their_forms():
    text = '# a story\n0: one\n1.5s : two\n 50 %: three: the end\n"24": "four",\n'
    starts = [(line.start, line.prompt) for line in read_lines(text)]
    assert starts == [
        (Moment(0), "one"), (Moment(1.5, "second"), "two"), (Moment(50, "percent"), "three: the end"),
        (Moment(24), "four"),
    ]  # fmt: skip


def test_a_plan_counts_the_texts_of_a_travel():
    """As they are in float32 and embedded in the model's dtype, and the keys and values of one at a time."""
    model = load("t2v.safetensors")
    config = model.spec.config
    one, many = (
        sampling_job(model, [part.conditioning for part in prompts.parts], LATENT["samples"], AUTOMATIC)
        for prompts in (prompts_of(model, each, LATENT, "positive", 5.0) for each in (plain(RED), travel()))
    )
    embedded = config.dim * many.weights.itemsize
    expected = config.text_tokens * (2 * (4 * config.text_dim + embedded) + 2 * embedded)
    assert many.weights.fixed - one.weights.fixed == expected
