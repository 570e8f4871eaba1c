"""Prompts of any sizes in batches: each video is the one its prompt gives alone, in the order of the lines."""

from __future__ import annotations

import re

import pytest
import torch
import wan_director
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from wan_director.common.errors import InvalidInputError
from wan_director.memory.budget import GB
from wan_director.nodes.batches.lines import read_lines
from wan_director.nodes.batches.order import BatchOrder, in_order
from wan_director.nodes.conditioning.keys import UNWRITTEN
from wan_director.nodes.conditioning.official_negative import OFFICIAL_NEGATIVE
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.planning.plan import machine, plan_graph

from ..conftest import call, load, load_vae
from ..planning.graphs import batched

CLASSES = {**CORE_NODES, **wan_director.NODE_CLASS_MAPPINGS}
LINES = "64x48x5 | a red ball\na blue square\n# not this\n64x48 | a ball (that jumps:1.2)\n\na tree"
SETTINGS = {"seed": 3, "steps": 2, "cfg": 4.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


def encoder():
    return call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")


def batch(prompts: str = LINES, **inputs):
    usual = {"negative": "bad", "width": 48, "height": 48, "frames": 5, "batch_size": 2}
    return call("BatchPrompts", text_encoder=encoder(), vae=load_vae("vae.safetensors"), prompts=prompts,
                **usual | inputs)  # fmt: skip


@pytest.fixture(autouse=True)
def hosted(tiny_host):
    return tiny_host


def test_each_video_is_that_of_its_prompt_alone_in_the_order_of_the_lines():
    """To the rounding of a product of another number of rows; the noise is that of the line's number."""
    positive, negative, latents, order = batch(batch_size=3)
    assert [len(each["samples"]) for each in latents] == [2, 2] and order.batches == ((0, 2), (1, 3))
    model = load("t2v.safetensors")
    made = [
        call("Sampler", model=model, positive=each, negative=negative, latent=latent, **SETTINGS)
        for each, latent in zip(positive, latents)
    ]
    found, prompts = call("Unbatch", latents=made, order=[order])
    assert prompts == ["a red ball", "a blue square", "a ball (that jumps:1.2)", "a tree"]
    for number, (prompt, width) in enumerate(zip(prompts, (64, 48, 64, 48))):
        vae = load_vae("vae.safetensors")
        blank = call("EmptyLatent", vae=vae, width=width, height=48, frames=5, batch_size=1)
        sides = call("TextEncode", text_encoder=encoder(), positive=prompt, negative="bad")
        alone = call("Sampler", model=model, positive=sides[0], negative=sides[1],
                     latent={**blank, "batch_index": [number]}, **SETTINGS)["samples"]  # fmt: skip
        assert found[number]["samples"].shape == alone.shape
        assert (found[number]["samples"] - alone).abs().max() <= 1e-5 * alone.abs().max()
        assert found[number]["batch_index"] == [number]


def test_larger_videos_come_fewer_at_a_time_and_smaller_ones_more():
    lines = "\n".join(["96x96x5 | a"] * 3 + ["b"] * 5 + ["48x48x1 | c"] * 9)
    _, _, latents, order = batch(lines, batch_size=4)
    sizes = [tuple(each["samples"].shape[i] for i in (0, 2, 3)) for each in latents]
    assert sizes == [(1, 2, 12), (1, 2, 12), (1, 2, 12), (4, 2, 6), (1, 2, 6), (8, 1, 6), (1, 1, 6)]
    assert sorted(number for members in order.batches for number in members) == list(range(17))


def test_a_text_that_nobody_wrote_is_only_marked_where_all_are():
    for prompts, is_marked in ((f"{OFFICIAL_NEGATIVE}\nb", False), (f"{OFFICIAL_NEGATIVE}\n{OFFICIAL_NEGATIVE}", True)):
        ((text, values),) = batch(prompts)[0][0]
        assert len(text) == 2 and (UNWRITTEN in values) == is_marked


def test_a_graph_runs_headless_and_saves_a_file_for_each_line(hosted):
    shown = run_graph(parse_graph(batched(), CLASSES), CLASSES)
    files = [each["images"][0]["filename"] for each in shown]
    assert files == ["WanDirector_00001_.gif", "WanDirector_00002_.gif", "WanDirector_00003_.gif"]
    places = [hosted.output / each["images"][0]["subfolder"] / name for each, name in zip(shown, files)]
    sizes = [(picture.size, picture.n_frames) for picture in map(Image.open, places)]
    assert sizes == [((96, 64), 9), ((64, 96), 5), ((96, 64), 9)]


REFUSED = {
    "nothing": ("# a\n\n", "There is no prompt"),
    "size": ("a\n70x48x5 | a", "Line 2 of the prompts: The width must be a multiple of 16 pixels, got 70"),
    "frames": ("64x48x6 | a", "Line 1 of the prompts: A clip has 1 + 4k frames, got 6"),
    "picture": ("cat.png | a", "names 'cat.png', and a batch takes prompts and sizes alone"),
    "value": ("Wan Sampler.seed=7 | a", "names 'Wan Sampler.seed=7'"),
    "no prompt": ("64x48x5 |", "Line 1 of the prompts has no prompt"),
    "like a size": ("64x48x5x | a", "begins with '64x48x5x', which is no size"),
    "a word": ("cat.pgn | a", "begins with 'cat.pgn', which is no size"),
    "two sizes": ("64x48 | 48x48 | a", "has two sizes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_line_that_cannot_be_is_refused_by_its_number(case):
    text, words = REFUSED[case]
    with pytest.raises(InvalidInputError) as refused:
        batch(text)
    assert words in str(refused.value)


USUAL_REFUSED = {
    "width": ("64x48 | a\nb", {"width": 70}, "The width must be a multiple of 16 pixels, got 70"),
    "frames": ("64x48 | a", {"frames": 6}, "A clip has 1 + 4k frames, got 6"),
}


@pytest.mark.parametrize("case", USUAL_REFUSED)
def test_what_no_line_says_is_refused_without_a_line(case):
    text, changed, words = USUAL_REFUSED[case]
    with pytest.raises(InvalidInputError, match=f"^{re.escape(words)}"):
        batch(text, **changed)
    prompt = batched()
    prompt["batches"]["inputs"] |= {**changed, "prompts": text}
    with pytest.raises(InvalidInputError, match=re.escape(f"(node batches): {words}")):
        plan_graph(parse_graph(prompt, CLASSES), machine(8 * GB), node_classes=CLASSES)
    assert batch("64x48x5 | a", **changed)[2][0]["samples"].shape == (1, 16, 2, 6, 8)


def test_latents_of_other_batches_are_refused():
    order = BatchOrder(("a", "b"), ((0, 1),))
    with pytest.raises(InvalidInputError, match="made batches of 2 videos, and latents of 1, 1 came back"):
        in_order([{"samples": torch.zeros(1, 16, 1, 4, 4)}] * 2, order)
    with pytest.raises(InvalidInputError, match="order must be the order of Wan Batch Prompts"):
        call("Unbatch", latents=[], order=[None])


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.randoms())
def test_what_is_batched_comes_back_whatever_the_order(counts, random):
    numbers = list(range(sum(counts)))
    random.shuffle(numbers)
    batches, rest = [], numbers
    for count in counts:
        batches, rest = [*batches, tuple(rest[:count])], rest[count:]
    latents = [
        {"samples": torch.tensor(members).float()[:, None, None, None, None], "noise_mask": torch.ones(1, 1)}
        for members in batches
    ]
    order = BatchOrder(tuple("p" for _ in numbers), tuple(batches))
    assert [int(each["samples"]) for each in in_order(latents, order)] == sorted(numbers)


def test_lines_hold_sizes_pictures_and_values_in_any_order_and_prompts_with_bars():
    (line,) = read_lines("a.png, b.JPG | 832X480 | Wan Sampler.seed=7 | 3.steps = 4 | a | b")
    assert line.pictures == ("a.png", "b.JPG") and line.size == (832, 480) and line.frames is None
    assert line.values == ("Wan Sampler.seed=7", "3.steps = 4") and line.prompt == "a | b"
    assert read_lines("| cat | dog")[0].prompt == "cat | dog"
    assert read_lines("a cat {runs|sits} | fast")[0].prompt == "a cat {runs|sits} | fast"
    assert read_lines("{red|blue} ball")[0].prompt == "{red|blue} ball"
