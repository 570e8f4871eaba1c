"""What a training takes: the arithmetic beside what the meta device counts, the choice, and the words for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from wan_director.__main__ import main
from wan_director.benchmarks.peak_memory import PeakMemory
from wan_director.common.errors import InvalidInputError, OutOfMemory
from wan_director.common.families import WAN_2_1
from wan_director.common.shapes import VideoShape
from wan_director.dit.adapters import AppliedAdapter, adapted, trainable, trainable_parameters
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.execution import Execution
from wan_director.dit.footprint import BLOCKWISE, FP8, PLAIN, block_weights
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.memory import training
from wan_director.memory.budget import GB
from wan_director.memory.policy import BlockSwap
from wan_director.memory.slabs import Slabs
from wan_director.memory.training import BlockPlaces, streaming_both_ways
from wan_director.model_loading.footprint import ModelBytes, bytes_before_download
from wan_director.tuning.fitting.footprint import StepShape, learned_numbers
from wan_director.tuning.fitting.plan import Clips, PlannedStep, plan_for, seen_as
from wan_director.tuning.fitting.settings import TrainingMemory
from wan_director.tuning.fitting.table import ROWS, table
from wan_director.tuning.learner import OptimiserSettings
from wan_director.tuning.new_adapter import AdapterSettings, new_adapter
from wan_director.weights import layers

from ..memory.test_plan_bytes import store

META = torch.device("meta")
BLOCKS, VACE_BLOCKS = 3, 1
ANY_RAM = 1 << 50


class FusedBackward(torch.autograd.Function):
    """What a fused kernel keeps and gives: q, k, v, the result and a length per token; a float32 gradient of q."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:3], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        q, k, v, *_ = ctx.saved_tensors
        summed = torch.empty(q.shape, dtype=torch.float32, device=q.device)
        made = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        del summed  # it is there until the gradient of q is made of it
        return made


class OnDevice(PeakMemory):
    """Counts what is on the meta device alone: host memory is not."""

    def _count(self, tensor: Tensor) -> None:
        if tensor.is_meta:
            super()._count(tensor)


class MetaBackend:
    """Copies of nothing, done at once."""

    device = META

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def copy(self, target: Tensor, source: Tensor, after: object) -> MetaBackend:
        return self

    def wait(self, event: object) -> None:
        """Nothing is on its way."""

    def record(self) -> MetaBackend:
        return self


def planned(
    preset: str, video: VideoShape, adapter: AdapterSettings, unpacking=PLAIN, storage: str | None = None
) -> PlannedStep:
    config = PRESETS[preset] if storage else replace(PRESETS[preset], layers=BLOCKS)
    if config.branch(VaceBranch) is not None and not storage:
        config = replace(config, branches=(VaceBranch(VACE_BLOCKS),))
    blocks = len(block_weights(config))
    weights = bytes_before_download(config, storage) if storage else ModelBytes(0, (0,) * blocks, 2, unpacking, 0)
    clips = Clips(video)
    step = StepShape(config, seen_as(WAN_2_1, clips), weights, adapter)
    return PlannedStep(WAN_2_1, step, OptimiserSettings(), clips)


def counted(made: PlannedStep, in_ram: int, parts: bool, unpacking) -> int:
    """The most that one step of a model with few blocks holds beside its weights and what is learned."""
    config, shape = made.step.config, made.step.clips
    with META:
        module = WanDiT(config, layers).to(torch.bfloat16).requires_grad_(False)
        if unpacking is not PLAIN:
            store(module, unpacking)
        own = new_adapter("a", module, made.step.adapter, 0)
        latent = (shape.frames, 2 * shape.rows, 2 * shape.columns)
        image = torch.empty(1, config.image_channels, *latent) if config.image_channels else None
        control = (VaceInput(torch.empty(1, 96, *latent), 1.0),) if config.branch(VaceBranch) is not None else ()
        text = torch.empty(1, 512, config.text_dim)
        inputs = DitInputs(torch.empty(1, 16, *latent), torch.empty(1), text, image, control)
    own = trainable(own, META)
    tracker, places = OnDevice(), BlockPlaces(BlockSwap(0), in_ram)
    with (
        adapted(module, [AppliedAdapter(own)]),
        streaming_both_ways(module.streamed_blocks, places, META, Slabs()) as (stream, way_back),
        tracker,
    ):
        execution = Execution(
            attention=FusedBackward.apply,
            checkpoints=True,
            part_checkpoints=parts,
            stream=stream,
            way_back=way_back,
        )
        module(inputs, execution).float().square().mean().backward()
    gradients = [value.grad for value in trainable_parameters(own).values() if value.grad is not None]
    assert len(gradients) == len(trainable_parameters(own))
    return tracker.peak_bytes


SQUARE, PICTURE = VideoShape(81, 512, 512), VideoShape(1, 512, 512)


@pytest.mark.parametrize("parts", [False, True], ids=["blocks", "parts"])
@pytest.mark.parametrize(
    ("preset", "video", "adapter", "unpacking"),
    [
        ("t2v-14B", SQUARE, AdapterSettings(), PLAIN),
        ("t2v-14B", PICTURE, AdapterSettings(), BLOCKWISE),
        ("t2v-1.3B", VideoShape(81, 480, 832), AdapterSettings(), PLAIN),
        ("t2v-1.3B", SQUARE, AdapterSettings(norms=True, biases=True), PLAIN),
        ("t2v-14B", PICTURE, AdapterSettings(kind="dora"), FP8),
        ("vace-1.3B", SQUARE, AdapterSettings(), PLAIN),
        ("vace-14B", PICTURE, AdapterSettings(), BLOCKWISE),
    ],
)
def test_the_plan_is_what_is_counted(monkeypatch, preset, video, adapter, unpacking, parts):
    """Within a tenth: in all, and with the inputs of all blocks in RAM, where the device holds two of them."""
    monkeypatch.setattr(training, "make_backend", MetaBackend)
    made = planned(preset, video, adapter, unpacking)
    blocks = len(made.step.weights.blocks)
    for in_ram in (0, blocks):
        found = counted(made, in_ram, parts, unpacking)
        assert abs(made.beside(in_ram, parts) / found - 1) <= 0.1


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("preset", ["t2v-1.3B", "i2v-14B"])
def test_the_numbers_that_are_learned_are_those_of_the_adapter(preset, kind):
    config = replace(PRESETS[preset], layers=2)
    with META:
        module = WanDiT(config, layers)
        for settings in (
            AdapterSettings(kind=kind),
            AdapterSettings(5, kind=kind, targets="attention", norms=True),
            AdapterSettings(kind=kind, targets="feed_forward", biases=True),
        ):
            own = trainable(new_adapter("a", module, settings, 0))
            expected = sum(value.numel() for value in trainable_parameters(own).values())
            assert learned_numbers(config, settings) == expected


@pytest.mark.parametrize(
    ("preset", "storage", "video", "most_gb"),
    [
        ("t2v-14B", "bf16", SQUARE, 16),
        ("t2v-14B", "fp8", SQUARE, 16),
        ("t2v-1.3B", "bf16", VideoShape(81, 480, 832), 6),
    ],
)
def test_it_fits_where_it_is_promised(preset, storage, video, most_gb):
    """With room for a tenth more than is planned."""
    given = planned(preset, video, AdapterSettings(), storage=storage)
    made = plan_for(given, TrainingMemory(), most_gb * GB * 9 // 10, ANY_RAM)
    assert made.fits and made.device_bytes / 0.9 <= most_gb * GB
    assert sum(size for _, size in made.parts) == made.device_bytes


def test_less_memory_never_swaps_less():
    given = planned("t2v-14B", SQUARE, AdapterSettings(), storage="fp8")
    times = []
    for gigabytes in (6, 8, 12, 16, 24, 80):
        made = plan_for(given, TrainingMemory(), gigabytes * GB, ANY_RAM)
        assert made.fits == (made.device_bytes <= gigabytes * GB)
        times.append(made.choice.slowdown)
    assert times == sorted(times, reverse=True)
    roomy = plan_for(given, TrainingMemory(), 80 * GB, ANY_RAM)
    assert (roomy.choice.swapped, roomy.in_ram, roomy.part_checkpoints) == (0, 0, False)


def test_ram_that_is_short_takes_fewer_inputs_and_blocks_come_from_the_file():
    given = planned("t2v-14B", SQUARE, AdapterSettings(), storage="fp8")
    made = plan_for(given, TrainingMemory(), 8 * GB, 3 * GB)
    taken = made.choice.footprint.pinned_bytes + made.choice.way.host_bytes
    assert taken <= 3 * GB + 2 * max(given.step.weights.blocks) and made.in_ram <= 3 * GB // 220_200_960
    assert made.places.swap.pinned_bytes == 3 * GB - made.choice.way.host_bytes


def test_numbers_that_are_asked_for_are_taken():
    given = planned("t2v-14B", SQUARE, AdapterSettings(), storage="fp8")
    memory = TrainingMemory(blocks_to_swap=7, inputs_in_ram=99, recompute="parts")
    made = plan_for(given, memory, 80 * GB, 0)
    assert (made.choice.swapped, made.in_ram, made.part_checkpoints) == (7, 40, True)
    with pytest.raises(InvalidInputError, match="numbers of blocks or -1, got 1 and 0 GB, -2 and -1"):
        TrainingMemory(blocks_to_swap=-2)
    with pytest.raises(InvalidInputError, match="recompute"):
        TrainingMemory(recompute="some")  # pyright: ignore[reportArgumentType]


def test_what_does_not_fit_is_refused_with_what_would():
    made = plan_for(planned("t2v-14B", SQUARE, AdapterSettings(), storage="fp8"), TrainingMemory(), 4 * GB, ANY_RAM)
    message = r"does not fit into 4.0 GB: to train takes 6.0 GB at least with all blocks swapped .*at most \d+ frames"
    with pytest.raises(OutOfMemory, match=message):
        made.check()


def test_the_document_shows_what_the_planner_computes():
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    start, end = "<!-- made by: wan-director plan --table training -->\n", "\n<!-- end -->"
    shown = text[text.index(start) + len(start) : text.index(end)]
    assert shown == table(), "run `wan-director plan --table training` and put the result into docs/training.md"
    assert "| T2V 14B | fp8 | 512 x 512, 81 |" in shown and len(ROWS) + 2 == len(shown.splitlines())


def test_the_command_plans_a_published_model_that_is_not_here(tmp_path, capsys):
    from .test_training_run import settings_in

    path = settings_in(tmp_path)
    text = path.read_text(encoding="utf-8").replace("wan_director_tiny_demo_t2v", "wan2.1_t2v_14B_fp8_scaled")
    path.write_text(text.replace('precision = "fp32"', "") + "[memory]\npinned_ram = 40\n", encoding="utf-8")
    assert main(["plan", str(path), "--vram", "8GB"]) == 0
    out = capsys.readouterr().out
    assert "1 frames" not in out and "64 x 48" in out and "GB may be used" in out and "blocks are swapped" in out
    assert main(["plan", str(path), "--vram", "2GB"]) == 1
    assert "does not fit into 1.0 GB: to train takes" in capsys.readouterr().err
