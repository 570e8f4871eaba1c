"""The arithmetic of memory against what the meta device counts, and against the modules' own weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from wan_director.benchmarks.peak_memory import peak_bytes
from wan_director.dit import presets
from wan_director.dit.branches.animate.face import FaceBranch, FaceInput
from wan_director.dit.branches.animate.pose import AnimatePoseBranch, AnimatePoseInput
from wan_director.dit.branches.audio.dance import DanceBranch, DanceInput
from wan_director.dit.branches.audio.humo import HumoBranch, HumoInput
from wan_director.dit.branches.audio.past import PastBranch, PastInput
from wan_director.dit.branches.audio.pose import SpeechPoseBranch, SpeechPoseInput
from wan_director.dit.branches.audio.speech import SpeechBranch, SpeechInput
from wan_director.dit.branches.audio.still import StillBranch, StillInput
from wan_director.dit.branches.audio.talk import TalkBranch, TalkInput
from wan_director.dit.branches.camera import CameraBranch, CameraInput
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.branches.pose import PoseBranch, PoseInput
from wan_director.dit.branches.reference import ReferenceBranch, ReferenceInput
from wan_director.dit.branches.scail import ScailBranch, ScailReference
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.conditioning.characters.scail import ScailPose
from wan_director.dit.conditioning.in_context import ContextClip
from wan_director.dit.context import TextTravel
from wan_director.dit.execution import Execution, Lean, lean_ways
from wan_director.dit.footprint import (
    BLOCKWISE,
    FP8,
    PLAIN,
    block_weights,
    other_weights,
    pass_bytes,
    pass_shape,
    past_bytes,
)
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.past import Past
from wan_director.dit.precise import in_float32
from wan_director.text_encoder.footprint import block_elements, encode_bytes, other_elements
from wan_director.text_encoder.umt5 import UMT5_XXL, UMT5Encoder
from wan_director.weights import layers
from wan_director.weights.fp8 import FP8 as FP8_CODEC
from wan_director.weights.gguf import CODECS
from wan_director.weights.stored import StoredWeight

PRESETS = {
    **presets.PRESETS,
    "infinitetalk-14B": presets.PRESETS["i2v-14B"].with_branches(presets.INFINITETALK_14B.branches),
}
"""With a model that a part from a file of its own is put onto."""
PARTS = {
    FP8: lambda rows, columns: (
        FP8_CODEC,
        {"weight": torch.empty(rows, columns, dtype=torch.float8_e4m3fn), "scale": torch.empty(rows, 1)},
    ),
    BLOCKWISE: lambda rows, columns: (
        CODECS["Q4_K"],
        {"weight": torch.empty(rows, columns // 256 * 144, dtype=torch.uint8)},
    ),
}


GIVEN = {
    VaceBranch: lambda branch, latent: VaceInput(torch.empty(1, branch.channels, *latent), 1.0),
    ClipBranch: lambda branch, latent: ClipInput(torch.empty(1, branch.image_tokens, branch.dim)),
    AnimatePoseBranch: lambda branch, latent: AnimatePoseInput(
        torch.empty(1, branch.channels, latent[0] - 1, *latent[1:])
    ),
    FaceBranch: lambda branch, latent: FaceInput(
        torch.empty(1, 3, 4 * latent[0] - 7, branch.motion.side, branch.motion.side), latent[0]
    ),
    ReferenceBranch: lambda branch, latent: ReferenceInput(torch.empty(1, branch.channels, 1, *latent[1:])),
    ScailBranch: lambda branch, latent: ScailReference(
        torch.empty(1, 16, 1, *latent[1:]), torch.empty(1, branch.mask_channels, 1, *latent[1:])
    ),
    PoseBranch: lambda branch, latent: PoseInput(
        latent[0], torch.empty(1, 16, latent[0] - 1, *latent[1:]), torch.empty(1, 512, 4096), torch.empty(1, 257, 1280)
    ),
    CameraBranch: lambda branch, latent: CameraInput(
        torch.empty(1, branch.channels, latent[0], 8 * latent[1], 8 * latent[2])
    ),
    SpeechPoseBranch: lambda branch, latent: SpeechPoseInput(torch.empty(1, branch.channels, *latent)),
    SpeechBranch: lambda branch, latent: SpeechInput(
        torch.empty(1, branch.layers, branch.width, 4 * latent[0]), 0, latent[0]
    ),
    StillBranch: lambda branch, latent: StillInput(torch.empty(1, 16, 1, *latent[1:]), latent[0]),
    HumoBranch: lambda branch, latent: HumoInput(
        torch.empty(1, latent[0], 8, 5, branch.width), torch.empty(1, 16, 1, *latent[1:])
    ),
    TalkBranch: lambda branch, latent: TalkInput(
        torch.empty(1, 2, latent[0], 8, 12, branch.width), torch.empty(2, *latent[1:], dtype=torch.bool)
    ),
    DanceBranch: lambda branch, latent: DanceInput(
        torch.empty(1, 300, 35), 7.5, latent[0], 0, latent[0], 1.0, torch.empty(1, 257, branch.clip_dim)
    ),
    PastBranch: lambda branch, latent: PastInput(torch.empty(1, branch.channels, 19, *latent[1:])),
}
SMALLER = {
    VaceBranch: VaceBranch(1),
    SpeechBranch: SpeechBranch(1),
    DanceBranch: DanceBranch(1),
    FaceBranch: FaceBranch(1),
}
"""Of the branches with blocks of their own, that of one block."""


def store(model: WanDiT, unpacking) -> None:
    """Gives every matrix of the blocks its stored form."""
    for layer in nn.ModuleList(model.streamed_blocks).modules():
        if isinstance(layer, layers.Linear):
            shape = tuple(layer.weight.shape)
            codec, parts = PARTS[unpacking](*shape)
            layer.store(StoredWeight(codec, parts, shape))


def steering(preset: str) -> dict[type, int]:
    return {type(branch): 1 for branch in PRESETS[preset].branches}


def counted(
    preset: str,
    unpacking,
    latent: tuple[int, int, int],
    *,
    together: int = 1,
    run: int = 0,
    residual: bool = False,
    lean: Lean | None = None,
) -> int:
    """Peak of a pass through a model with one block, and of a branch one, which is that of the whole model."""
    branches = tuple(SMALLER.get(type(branch), branch) for branch in PRESETS[preset].branches)
    config = replace(PRESETS[preset], layers=1, branches=branches)
    with torch.device("meta"):
        operations = nn if unpacking is PLAIN else layers
        model = WanDiT(config, operations, fp32_residual=residual).to(torch.bfloat16)
        if unpacking is not PLAIN:
            store(model, unpacking)
        channels = config.out_channels
        inputs = DitInputs(
            torch.empty(1, channels, *latent),
            torch.empty(1),
            torch.empty(1, 512, config.text_dim),
            torch.empty(1, config.image_channels, *latent) if config.image_channels else None,
            tuple(GIVEN[type(branch)](branch, latent) for branch in branches),
        )
    execution = Execution(feed_forward_run=run, may_overwrite=True, lean=lean)
    return peak_bytes(lambda: model.forward_together([inputs] * together, execution))


@pytest.mark.parametrize(
    ("preset", "unpacking", "latent"),
    [
        ("t2v-14B", PLAIN, (21, 60, 104)),
        ("t2v-14B", FP8, (5, 40, 60)),
        ("t2v-14B", BLOCKWISE, (2, 40, 60)),
        ("t2v-14B", FP8, (1, 60, 104)),
        ("i2v-14B", PLAIN, (9, 60, 104)),
        ("i2v-14B", FP8, (9, 60, 104)),
        ("flf2v-14B", PLAIN, (1, 60, 104)),
        ("animate2-14B", PLAIN, (22, 60, 104)),
        ("animate2-14B", FP8, (10, 60, 104)),
        ("animate2-14B", BLOCKWISE, (3, 60, 104)),
        ("vace-14B", PLAIN, (9, 60, 104)),
        ("t2v-1.3B", PLAIN, (21, 60, 104)),
        ("t2v-1.3B", PLAIN, (5, 60, 104)),
        ("t2v-1.3B", FP8, (3, 40, 60)),
        ("ti2v-5B", PLAIN, (31, 44, 80)),
        ("lucy-edit-5B", PLAIN, (21, 30, 52)),
        ("fun-inp-5B", PLAIN, (31, 44, 44)),
        ("fun-control-A14B", FP8, (9, 60, 104)),
        ("fun-control-A14B", PLAIN, (2, 60, 104)),
        ("fun-control-5B", PLAIN, (31, 44, 44)),
        ("fun-control-1.1-1.3B", PLAIN, (5, 60, 104)),
        ("fun-camera-1.3B", PLAIN, (21, 60, 104)),
        ("fun-camera-A14B", FP8, (9, 60, 104)),
        ("fun-camera-A14B", PLAIN, (1, 60, 104)),
        ("animate-14B", PLAIN, (21, 60, 104)),
        ("animate-14B", FP8, (9, 60, 104)),
        ("animate-14B", PLAIN, (2, 30, 40)),
        ("scail2-1.3B", PLAIN, (5, 60, 104)),
        ("scail2-14B", FP8, (9, 60, 104)),
        ("s2v-14B", PLAIN, (20, 60, 104)),
        ("s2v-14B", FP8, (20, 80, 80)),
        ("s2v-14B", PLAIN, (1, 60, 104)),
        ("humo-17B", PLAIN, (25, 80, 80)),
        ("humo-17B", FP8, (9, 60, 104)),
        ("humo-1.7B", PLAIN, (1, 60, 104)),
        ("infinitetalk-14B", PLAIN, (21, 60, 104)),
        ("infinitetalk-14B", FP8, (9, 60, 104)),
        ("infinitetalk-14B", PLAIN, (2, 60, 104)),
        ("dancer-14B", PLAIN, (38, 60, 104)),
        ("dancer-14B", FP8, (9, 60, 104)),
        ("dancer-14B", PLAIN, (1, 60, 104)),
    ],
)
def test_a_pass_holds_what_the_arithmetic_says(preset, unpacking, latent):
    predicted = pass_bytes(PRESETS[preset], pass_shape((1, *latent), steering(preset)), unpacking=unpacking)
    assert predicted == pytest.approx(counted(preset, unpacking, latent), rel=0.1)


@pytest.mark.parametrize("way", [1, 2], ids=["lean", "leanest"])
@pytest.mark.parametrize(
    ("preset", "unpacking", "latent", "residual"),
    [
        ("t2v-14B", PLAIN, (21, 60, 104), False),
        ("t2v-14B", PLAIN, (21, 60, 104), True),
        ("t2v-14B", FP8, (21, 60, 104), False),
        ("t2v-14B", FP8, (1, 60, 104), True),
        ("i2v-14B", PLAIN, (21, 90, 160), False),
        ("flf2v-14B", PLAIN, (1, 60, 104), False),
        ("animate2-14B", PLAIN, (22, 60, 104), False),
        ("animate2-14B", FP8, (10, 60, 104), False),
        ("animate2-14B", PLAIN, (22, 60, 104), True),
        ("vace-14B", PLAIN, (21, 60, 104), False),
        ("vace-14B", FP8, (9, 60, 104), False),
        ("t2v-1.3B", PLAIN, (21, 60, 104), False),
        ("ti2v-5B", PLAIN, (31, 44, 80), False),
        ("fun-control-A14B", FP8, (9, 60, 104), False),
        ("animate-14B", PLAIN, (21, 60, 104), False),
        ("animate-14B", FP8, (9, 60, 104), False),
        ("s2v-14B", PLAIN, (20, 60, 104), False),
        ("s2v-14B", FP8, (20, 80, 80), False),
        ("s2v-14B", PLAIN, (20, 60, 104), True),
        ("humo-17B", PLAIN, (25, 80, 80), False),
        ("humo-17B", FP8, (9, 60, 104), False),
        ("infinitetalk-14B", PLAIN, (21, 60, 104), False),
        ("infinitetalk-14B", FP8, (9, 60, 104), False),
        ("dancer-14B", PLAIN, (38, 60, 104), False),
        ("dancer-14B", FP8, (9, 60, 104), False),
    ],
)
def test_a_lean_pass_holds_what_the_arithmetic_says(preset, unpacking, latent, residual, way):
    lean, given = lean_ways(PRESETS[preset].heads)[way], pass_shape((1, *latent), steering(preset))
    predicted = pass_bytes(PRESETS[preset], given, unpacking=unpacking, lean=lean, fp32_residual=residual)
    assert predicted == pytest.approx(counted(preset, unpacking, latent, residual=residual, lean=lean), rel=0.01)


@pytest.mark.parametrize(("way", "most"), [(1, 1.08), (2, 1.08)])
def test_a_lean_pass_with_small_blocks_of_bytes_is_not_underestimated(way, most):
    """Their rows are unpacked by themselves where the format allows it, which the arithmetic does not rely on."""
    lean, latent = lean_ways(40)[way], (21, 60, 104)
    predicted = pass_bytes(PRESETS["t2v-14B"], pass_shape((1, *latent)), unpacking=BLOCKWISE, lean=lean)
    assert 1 <= predicted / counted("t2v-14B", BLOCKWISE, latent, lean=lean) <= most


@pytest.mark.parametrize("latent", [(5, 60, 104), (1, 60, 104)])
def test_clips_beside_the_video_are_counted(latent):
    """A source of the video's size, and a picture of another."""
    config = replace(PRESETS["t2v-1.3B"], layers=1)
    sizes = (latent, (1, 106, 60))
    with torch.device("meta"):
        model = WanDiT(config).to(torch.bfloat16)
        clips = tuple(ContextClip(torch.empty(1, 16, *size), number + 1) for number, size in enumerate(sizes))
        inputs = DitInputs(torch.empty(1, 16, *latent), torch.empty(1), torch.empty(1, 512, 4096), in_context=clips)
    beside = sum(frames * height * width // 4 for frames, height, width in sizes)
    predicted = pass_bytes(PRESETS["t2v-1.3B"], pass_shape((1, *latent), beside=beside))
    counted_bytes = peak_bytes(lambda: model(inputs, Execution(may_overwrite=True)))
    assert predicted == pytest.approx(counted_bytes, rel=0.1)


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("way", [0, 1, 2], ids=["usual", "lean", "leanest"])
def test_poses_beside_the_video_and_references_before_it_are_counted(references, way):
    preset, latent = PRESETS["scail2-14B"], (21, 112, 64)
    half, branch = (latent[0], *(side // 2 for side in latent[1:])), preset.branches[1]
    with torch.device("meta"):
        model = WanDiT(replace(preset, layers=1)).to(torch.bfloat16)
        pose = ScailPose(torch.empty(1, 16, *half), torch.empty(1, 28, *half))
        steering = (
            ClipInput(torch.empty(1, 257, 1280)),
            *(GIVEN[ScailBranch](branch, latent) for _ in range(references)),
        )
        inputs = DitInputs(
            torch.empty(1, 16, *latent), torch.empty(1), torch.empty(1, 512, 4096), None, steering, in_context=(pose,)
        )
    lean, given = lean_ways(preset.heads)[way], {ClipBranch: 1, ScailBranch: references}
    shape = pass_shape((1, *latent), given, beside=pose.size.tokens(latent, latent[0]))
    predicted = pass_bytes(preset, shape, lean=lean)
    counted_bytes = peak_bytes(lambda: model(inputs, Execution(may_overwrite=True, lean=lean)))
    assert predicted == pytest.approx(counted_bytes, rel=0.01)


def test_texts_in_time_take_their_own_bytes_and_no_buffer_more():
    """Eight prompts that all count in every frame: a block holds no more than self-attention does."""
    config, latent, count = replace(PRESETS["t2v-14B"], layers=1), (21, 60, 104), 8
    shares = torch.full((count, latent[0]), 1 / count)
    with torch.device("meta"):
        model = WanDiT(config).to(torch.bfloat16)
        texts = tuple(torch.empty(1, 512, config.text_dim) for _ in range(count))
        plain = DitInputs(torch.empty(1, config.out_channels, *latent), torch.empty(1), texts[0])
    execution = Execution(may_overwrite=True)
    alone, travelling = (
        peak_bytes(lambda inputs=inputs: model(inputs, execution))
        for inputs in (plain, replace(plain, travel=TextTravel(texts, shares)))
    )
    of_tokens = 2 * latent[0] * latent[1] * latent[2] // 4  # the shares of a text, for each token
    embedded, looked_at = (2 * number * config.text_tokens * config.dim for number in (count, 2))
    assert alone + embedded <= travelling <= alone + embedded + looked_at + 4 * shares.numel() + of_tokens


@pytest.mark.parametrize("preset", ["t2v-1.3B", "ti2v-5B", "t2v-14B"])
def test_the_time_layers_in_float32_hold_less_than_the_text_layers(preset):
    """So they add nothing to a pass, however small the video is."""
    with torch.device("meta"):
        model = WanDiT(replace(PRESETS[preset], layers=1)).to(torch.bfloat16)
        time, text = torch.empty(1, model.config.dim), torch.empty(1, 512, 4096)
    for_text = peak_bytes(lambda: model.text_embedding(text.to(torch.bfloat16)))
    assert peak_bytes(lambda: in_float32(model.time_projection, time)) < for_text


@pytest.mark.parametrize(
    ("preset", "unpacking", "latent", "together"),
    [
        ("t2v-14B", PLAIN, (9, 60, 104), 1),
        ("i2v-14B", FP8, (9, 60, 104), 1),
        ("vace-14B", PLAIN, (9, 60, 104), 1),
        ("t2v-1.3B", PLAIN, (5, 60, 104), 2),
        ("animate2-14B", PLAIN, (10, 60, 104), 2),
        ("ti2v-5B", PLAIN, (31, 44, 80), 1),
    ],
)
def test_a_float32_residual_stream_is_counted(preset, unpacking, latent, together):
    shape = pass_shape((1, *latent), steering(preset), together)
    predicted = pass_bytes(PRESETS[preset], shape, unpacking=unpacking, fp32_residual=True)
    assert predicted == pytest.approx(counted(preset, unpacking, latent, together=together, residual=True), rel=0.1)
    assert predicted > pass_bytes(PRESETS[preset], shape, unpacking=unpacking)


def test_passes_that_go_together_hold_a_buffer_more_each():
    predicted = pass_bytes(PRESETS["t2v-1.3B"], pass_shape((1, 3, 60, 104), together=2))
    assert predicted == pytest.approx(counted("t2v-1.3B", PLAIN, (3, 60, 104), together=2), rel=0.1)


def test_shorter_runs_of_feed_forward_take_less():
    config, latent = PRESETS["t2v-1.3B"], (5, 60, 104)
    predicted = pass_bytes(config, pass_shape((1, *latent)), run=1024)
    assert predicted == pytest.approx(counted("t2v-1.3B", PLAIN, latent, run=1024), rel=0.1)
    assert predicted < 0.65 * pass_bytes(config, pass_shape((1, *latent)))


@pytest.mark.parametrize("preset", PRESETS)
def test_weights_are_counted_exactly(preset):
    with torch.device("meta"):
        model = WanDiT(PRESETS[preset])
    blocks = [sum(parameter.numel() for parameter in block.parameters()) for block in model.streamed_blocks]
    matrices = [
        sum(layer.weight.numel() for name, layer in block.named_modules() if isinstance(layer, nn.Linear))
        for block in model.blocks[:1]
    ]
    assert [weights.elements for weights in block_weights(PRESETS[preset])] == blocks
    assert block_weights(PRESETS[preset])[0].matrix == matrices[0]
    assert sum(blocks) + other_weights(PRESETS[preset]) == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize("tokens", [32, 128, 512])
def test_encoding_a_prompt_holds_what_the_arithmetic_says(tokens):
    with torch.device("meta"):
        model = UMT5Encoder(replace(UMT5_XXL, layers=1, vocab=1000)).bfloat16()
        ids = torch.empty(1, tokens, dtype=torch.int64)
    assert encode_bytes(UMT5_XXL, tokens=tokens) == pytest.approx(peak_bytes(lambda: model(ids)), rel=0.1)


def test_weights_of_the_text_encoder_are_counted_exactly():
    with torch.device("meta"):
        model = UMT5Encoder(UMT5_XXL)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert UMT5_XXL.layers * block_elements(UMT5_XXL) + other_elements(UMT5_XXL) == counted


@pytest.mark.parametrize("way", [0, 1, 2], ids=["fast", "lean", "leanest"])
@pytest.mark.parametrize(("frames", "most"), [(1, 21), (3, 9)])
def test_a_chunk_of_a_causal_model_holds_its_pass_and_what_is_remembered(frames, most, way):
    config, latent = replace(PRESETS["t2v-1.3B"], layers=1), (frames, 60, 104)
    lean = lean_ways(config.heads)[way]
    with torch.device("meta"):
        model = WanDiT(config).to(torch.bfloat16)
        inputs = DitInputs(torch.empty(1, 16, *latent), torch.empty(1), torch.empty(1, 512, 4096))
    past = Past(config.layers, config.heads, most)

    def chunks() -> None:
        for _ in range(most // frames + 1):
            past.begin(frames)
            model(replace(inputs, past=past), Execution(may_overwrite=True, lean=lean))
            past.keep()

    predicted = pass_bytes(config, pass_shape((1, *latent)), lean=lean) + past_bytes(config, 1, most, 1560)
    assert predicted == pytest.approx(peak_bytes(chunks), rel=0.01)
