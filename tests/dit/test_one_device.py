"""No operation mixes devices: the meta device stands for a GPU, and every operation's tensors are looked at."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, Full, Hadamard, Kronecker, LowRank, adapted
from wan_director.dit.branches.animate.face import FaceBranch, FaceInput
from wan_director.dit.branches.animate.motion import MotionSizes
from wan_director.dit.branches.animate.pose import AnimatePoseBranch, AnimatePoseInput
from wan_director.dit.branches.camera import CameraBranch, CameraInput
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.branches.reference import ReferenceBranch, ReferenceInput
from wan_director.dit.branches.scail import ScailBranch, ScailReference
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import WanDiT
from wan_director.memory.policy import RESIDENT, BlockSwap, swapped_blocks
from wan_director.memory.residency import Weights
from wan_director.memory.slabs import Slabs
from wan_director.sampling import loop
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.given import GivenFrames
from wan_director.sampling.guidance import CFG
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.weights import fp8_compute, layers
from wan_director.weights.fp8 import FP8
from wan_director.weights.ggml_types import BLOCK_TYPES
from wan_director.weights.gguf import CODECS
from wan_director.weights.int8 import Int8Codec
from wan_director.weights.stored import StoredWeight

GPU = torch.device("meta")
COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)
SIZES = {"dim": 256, "ffn_dim": 256, "heads": 2, "layers": 2, "text_dim": 24, "text_tokens": 16, "freq_dim": 32}
CONFIGS = {
    "t2v": DiTConfig(**SIZES),
    "i2v": DiTConfig(**SIZES, in_channels=36, branches=(ClipBranch(32),)),
    "vace": DiTConfig(**SIZES, branches=(VaceBranch(1),)),
    "fun control": DiTConfig(**SIZES, in_channels=52, branches=(ReferenceBranch(16),)),
    "fun camera": DiTConfig(**SIZES, in_channels=36, branches=(CameraBranch(),)),
    "animate": DiTConfig(
        **SIZES, in_channels=36, branches=(AnimatePoseBranch(), FaceBranch(1, MotionSizes((4, 6), 8, 2, 3, 8), 16, 2))
    ),
    "scail": DiTConfig(**SIZES, in_channels=20, branches=(ClipBranch(32), ScailBranch(mask_channels=28))),
}


class OneDevice(TorchDispatchMode):
    """Refuses every operation but a copy whose tensors are on two devices."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if function not in COPIES and len({tensor.device for tensor in tensors}) > 1:
            raise RuntimeError(f"{function} mixes {[(str(tensor.device), list(tensor.shape)) for tensor in tensors]}")
        return function(*args, **(kwargs or {}))


GIVEN = {
    ClipBranch: lambda branch: ClipInput(torch.zeros(1, 9, branch.dim, device=GPU)),
    VaceBranch: lambda branch: VaceInput(torch.zeros(1, branch.channels, 3, 4, 6, device=GPU), 0.7),
    ReferenceBranch: lambda branch: ReferenceInput(torch.zeros(1, branch.channels, 1, 4, 6, device=GPU)),
    ScailBranch: lambda branch: ScailReference(
        torch.zeros(1, 16, 1, 4, 6, device=GPU), torch.zeros(1, 28, 1, 4, 6, device=GPU)
    ),
    CameraBranch: lambda branch: CameraInput(torch.zeros(1, branch.channels, 3, 32, 48)),  # stays where it is
    AnimatePoseBranch: lambda branch: AnimatePoseInput(torch.zeros(1, branch.channels, 2, 4, 6, device=GPU)),
    FaceBranch: lambda branch: FaceInput(torch.zeros(1, 3, 5, branch.motion.side, branch.motion.side), 3),  # as well
}


def stored(kind: str, rows: int, columns: int) -> StoredWeight:
    if kind.startswith("fp8"):
        scale = torch.ones(()) if kind == "fp8 per tensor" else torch.ones(rows, 1)
        codec, parts = FP8, {"weight": torch.zeros(rows, columns, dtype=torch.float8_e4m3fn), "scale": scale}
    elif kind.startswith("int8"):
        codec = Int8Codec(64 if kind == "int8 rotated" else None)
        parts = {"weight": torch.zeros(rows, columns, dtype=torch.int8), "scale": torch.ones(rows, 1)}
    else:
        block = BLOCK_TYPES[kind]
        width = columns // block.elements * block.size_bytes
        codec, parts = CODECS[kind], {"weight": torch.zeros(rows, width, dtype=torch.uint8)}
    return StoredWeight(codec, parts, (rows, columns))


def model(config: DiTConfig, kind: str = "plain") -> WanDiT:
    module = WanDiT(config, nn if kind == "plain" else layers).to(torch.bfloat16).eval().requires_grad_(False)
    for layer in module.blocks.modules() if kind != "plain" else ():
        if isinstance(layer, layers.Linear):
            layer.store(stored(kind, *layer.weight.shape))
            layer.may_multiply_in_fp8 = kind == "fp8 compute"
    return module


def adapter(module: WanDiT, *, merge: bool) -> AppliedAdapter:
    """One change of each form in every block, and some outside."""
    rows, columns = torch.ones(256, 2), torch.ones(2, 256)
    forms = {
        "self_attn.q": Change(LowRank(columns, rows)),
        "self_attn.k": Change(Hadamard(columns, rows, columns, rows)),
        "self_attn.v": Change(Kronecker(torch.ones(64, 64), torch.ones(4, 4))),
        "cross_attn.q": Change(Full(torch.ones(256, 256))),
        "cross_attn.k": Change(LowRank(columns, rows), torch.ones(256, 1)),
        "cross_attn.v": Change(LowRank(columns, rows), torch.ones(1, 256)),
    }
    changes = {"patch_embedding.weight": (Change(Full(torch.ones_like(module.patch_embedding.weight))),)}
    for index in range(len(module.blocks)):
        changes |= {f"blocks.{index}.{name}.weight": (change,) for name, change in forms.items()}
        changes[f"blocks.{index}.ffn.0.bias"] = (Change(Full(torch.ones(256))),)
        changes[f"blocks.{index}.modulation"] = (Change(Full(torch.ones(1, 6, 256))),)
    return AppliedAdapter(Adapter("test", changes), 0.5, merge=merge)


def run(module: WanDiT, memory, loras=()) -> list[Tensor]:
    """Two passes together, with weights, inputs and swapped blocks brought to the device as a run brings them."""
    config, weights = module.config, Weights(module)
    weights.leave_out(swapped_blocks(memory, module))
    with torch.no_grad(), OneDevice():
        weights.load(GPU)
        inputs = DitInputs(
            torch.zeros(1, 16, 3, 4, 6, device=GPU),
            torch.zeros(1, device=GPU),
            torch.zeros(1, 16, 24, device=GPU),
            torch.zeros(1, config.image_channels, 3, 4, 6, device=GPU) if config.image_channels else None,
            tuple(GIVEN[type(branch)](branch) for branch in config.branches),
        )
        with adapted(module, loras), memory.streaming(module.streamed_blocks, GPU, Slabs()) as stream:
            return module.forward_together([inputs] * 2, Execution(stream=stream, multiply="fp8", may_overwrite=True))


@pytest.mark.parametrize(
    "memory", [RESIDENT, BlockSwap(3, 0), BlockSwap(9, 10**9)], ids=["resident", "staged", "slabs"]
)
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("loras", ["none", "beside", "merged"])
def test_the_transformer_stays_on_one_device(kind, memory, loras):
    module = model(CONFIGS[kind])
    stack = [] if loras == "none" else [adapter(module, merge=loras == "merged")]
    assert {velocity.device for velocity in run(module, memory, stack)} == {GPU}


@pytest.mark.parametrize("kind", ["fp8", "fp8 per tensor", "fp8 compute", "int8", "int8 rotated", *sorted(CODECS)])
def test_stored_weights_stay_on_one_device(monkeypatch, kind):
    monkeypatch.setattr(fp8_compute, "find_multiply", lambda device: fp8_compute._by_row)
    module = model(CONFIGS["t2v"], kind)
    run(module, BlockSwap(3, 0), [adapter(module, merge=False)])


@pytest.mark.parametrize("solver", SOLVERS)
def test_sampling_stays_on_one_device(monkeypatch, solver):
    for check in ("check_latent", "check_step_result"):  # they read values, which meta tensors have not
        monkeypatch.setattr(loop, check, lambda *_arguments: None)
    with torch.no_grad(), OneDevice():
        module, side = model(CONFIGS["t2v"]).to(GPU), Conditioning(torch.zeros(1, 16, 24, device=GPU))
        latent = torch.zeros(1, 16, 3, 4, 6, device=GPU)
        given = GivenFrames(latent[:, :, :1].expand_as(latent), torch.zeros(3, dtype=torch.bool, device=GPU))
        denoiser, schedule = Denoiser(module, side, side, guidance=CFG(3.0)), make_schedule("simple", 4, 5.0, 1.0)
        start = loop.begin(SOLVERS[solver], schedule, latent, seed=1)
        results = list(loop.sample(denoiser, SOLVERS[solver], schedule, start, given))
    assert results[-1].latent.device == GPU
