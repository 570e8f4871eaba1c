"""What is computed by one process and by several, and has to be the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from wan_director.common.errors import GivenUp
from wan_director.dit.adapters import AppliedAdapter, adapted
from wan_director.dit.attention import resolve_pattern, sdpa_attention
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.branches.reference import ReferenceBranch, ReferenceInput
from wan_director.dit.branches.vace import VaceBranch, VaceInput
from wan_director.dit.conditioning.in_context import ContextClip
from wan_director.dit.config import DiTConfig
from wan_director.dit.context import Avoided, TextTravel
from wan_director.dit.execution import Execution, Lean
from wan_director.dit.inputs import Conditioning, DitInputs
from wan_director.dit.model import Embedded, WanDiT
from wan_director.memory.policy import BlockSwap
from wan_director.memory.slabs import Slabs
from wan_director.parallel.attention import shared_attention
from wan_director.parallel.exchange import Group
from wan_director.parallel.layout import split
from wan_director.parallel.sharing import ManyDevices
from wan_director.sampling.cache import StepCacheSettings
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG, PartOfSteps
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.sampling.windows import SlidingWindows
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

from ..dit.trainable_models import everything, stored_model
from . import steered

Case = Callable[[Group], Tensor]

SIZES = {"dim": 48, "ffn_dim": 80, "heads": 6, "layers": 3, "text_dim": 24, "text_tokens": 8, "freq_dim": 16}
FRAMES, ROWS, COLUMNS = 5, 6, 10
"""Of the latent: 15 tokens a frame, an odd number in all."""

KINDS: dict[str, dict] = {
    "t2v": {},
    "flf2v": {"in_channels": 36, "branches": (ClipBranch(20, 17),)},
    "vace": {"branches": (VaceBranch(2),)},
    "reference": {"in_channels": 52, "branches": (ReferenceBranch(16),)},
    "frame times": {"in_channels": 48, "out_channels": 48},
    **steered.KINDS,
}
REFUSED = {"uni3c and reference": {"branches": (ReferenceBranch(16), *KINDS["uni3c"]["branches"])}}
WAYS = {
    "usual": Execution(),
    "overwriting": Execution(may_overwrite=True),
    "lean": Execution(may_overwrite=True, lean=Lean(3, False, 7)),
    "leanest": Execution(may_overwrite=True, lean=Lean(3, True, 7)),
    "radial": Execution(may_overwrite=True, pattern=resolve_pattern("radial")),
}
ATTENTIONS = {"odd tokens": (101, 6), "odd heads": (39, 5), "few tokens": (4, 4)}
RINGS = {"one head": (12, 1), "one head, odd tokens": (101, 1), "fewer heads than ranks": (103, 3)}
"""Attention where heads are fewer than four ranks, three or two: keys and values go around."""


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def model_of(kind: str) -> WanDiT:
    torch.manual_seed(0)
    model = WanDiT(DiTConfig(**SIZES, **(KINDS | REFUSED).get(kind, {}))).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def inputs_of(kind: str, config: DiTConfig, seed: int = 1, batch: int = 1) -> DitInputs:
    size = (FRAMES, ROWS, COLUMNS)
    text = random(batch, config.text_tokens, config.text_dim, seed=seed)
    latent = random(batch, config.out_channels, *size, seed=seed + 1)
    image = random(batch, config.image_channels, *size, seed=seed + 2) if config.image_channels else None
    plain = DitInputs(latent, torch.full((batch,), 500.0), text, image)
    texts = tuple(random(batch, 8, 24, seed=seed + each) for each in (3, 4))
    shares = torch.tensor([[1.0, 1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 1.0, 1.0]])
    controls = tuple(VaceInput(random(1, 96, *size, seed=seed + 5), strength) for strength in (0.7, 1.2))
    changes = {
        "flf2v": {"steering": (ClipInput(random(batch, 17, 20, seed=seed + 6)),)},
        "vace": {"steering": controls},
        "reference": {"steering": (ReferenceInput(random(1, 16, 1, ROWS, COLUMNS, seed=seed + 7)),)},
        "frame times": {"timestep": torch.tensor([[0.0, 300.0, 500.0, 800.0, 900.0]]).expand(batch, -1)},
        "led away": {"avoided": Avoided(texts[0], 11.0, 0.25, 2.5)},
        "texts in time": {"travel": TextTravel(texts, shares)},
        "clips beside": {"in_context": (ContextClip(random(1, 16, 3, 4, 6, seed=seed + 8), 1.0, True),)},
    }
    if kind in steered.KINDS:
        return replace(plain, steering=steered.steering_of(kind, size, seed + 6))
    return replace(plain, **changes.get(kind, {}))


ASKED = (*KINDS, "led away", "texts in time", "clips beside")


@dataclass(frozen=True)
class Shared:
    """A transformer whose passes a group shares."""

    model: WanDiT
    execution: Execution
    group: Group

    def embed(self, inputs: DitInputs) -> Embedded:
        return self.model.embed(inputs)

    def trunk(self, passes: Sequence[Embedded]) -> list[Tensor]:
        return ManyDevices(self.group).trunk(self.model.trunk, passes, self.execution)

    def unembed(self, tokens: Tensor, embedded: Embedded) -> Tensor:
        return self.model.unembed(tokens, embedded)


def velocities(model: WanDiT, given: list[DitInputs], execution: Execution, group: Group) -> Tensor:
    """Of all passes at once, side by side."""
    transformer = Shared(model, execution, group)
    embedded = [transformer.embed(each) for each in given]
    tokens = transformer.trunk(embedded)
    return torch.stack([transformer.unembed(*each) for each in zip(tokens, embedded, strict=True)])


@torch.no_grad()
def attention(tokens: int, heads: int, dtype: torch.dtype, group: Group) -> Tensor:
    """The own part of what a kernel makes of all tokens."""
    q, k, v = (random(2, tokens, heads, 8, seed=seed).to(dtype) for seed in range(3))
    shares = split(tokens, group.size)
    own = shares.slice(group.rank)
    return shared_attention(group, shares)(sdpa_attention)(q[:, own], k[:, own], v[:, own])


@torch.no_grad()
def passes(kind: str, way: str, number: int, batch: int, group: Group) -> Tensor:
    model = model_of(kind)
    given = [inputs_of(kind, model.config, seed, batch) for seed in range(1, 10 * number, 10)]
    return velocities(model, given, WAYS[way], group)


@torch.no_grad()
def unlike_passes(group: Group) -> Tensor:
    """One with clips beside the video and two without: not all of one length."""
    model = model_of("t2v")
    kinds = ("clips beside", "t2v", "led away")
    return velocities(model, [inputs_of(kind, model.config) for kind in kinds], WAYS["overwriting"], group)


@torch.no_grad()
def stored(form: str, group: Group) -> Tensor:
    model, _ = stored_model(form)
    latent, text = random(1, 16, FRAMES, ROWS, COLUMNS, seed=1), random(1, 8, 24, seed=2)
    return velocities(model, [DitInputs(latent, torch.tensor([500.0]), text)], WAYS["overwriting"], group)


@torch.no_grad()
def with_adapters(group: Group) -> Tensor:
    model = model_of("vace")
    with adapted(model, [AppliedAdapter(everything(model))]):
        return velocities(model, [inputs_of("vace", model.config)], WAYS["overwriting"], group)


@torch.no_grad()
def swapped(group: Group) -> Tensor:
    model = model_of("flf2v")
    with BlockSwap(2, 0).streaming(model.streamed_blocks, torch.device("cpu"), Slabs()) as stream:
        execution = Execution(may_overwrite=True, stream=stream)
        return velocities(model, [inputs_of("flf2v", model.config)], execution, group)


class Failing:
    """A kernel whose call of this number fails on one rank, as where memory runs out."""

    def __init__(self, group: Group, rank: int, call: int) -> None:
        self.calls_left = call if group.rank == rank and group.size > 1 else -1

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.calls_left -= 1
        if self.calls_left == 0:
            raise torch.OutOfMemoryError("out of memory")
        return sdpa_attention(q, k, v)


@torch.no_grad()
def again(rank: int, call: int, number: int, group: Group) -> Tensor:
    """Passes asked again after one rank ran out of memory, of which all have to know."""
    model = model_of("vace")
    failing = replace(WAYS["overwriting"], attention=Failing(group, rank, call))
    given = [inputs_of("vace", model.config, seed) for seed in range(1, 10 * number, 10)]
    if group.size > 1:
        try:
            velocities(model, given, failing, group)
        except GivenUp as told:
            assert told.is_memory
        else:
            raise AssertionError("this rank was not told")
    return velocities(model, given, failing, group)


@torch.no_grad()
def between(group: Group) -> Tensor:
    """As `again`, of memory that runs out between passes."""
    model, sharing = model_of("t2v"), ManyDevices(group)
    given = [inputs_of("t2v", model.config)]
    assert not sharing.any_of(False) and sharing.any_of(group.rank == group.size - 1)
    if group.size > 1:
        try:
            if group.rank:
                velocities(model, given, WAYS["usual"], group)
            else:
                sharing.give_up()
                raise GivenUp(is_memory=True)
        except GivenUp as told:
            assert told.is_memory
    sharing.agree()
    return velocities(model, given, WAYS["usual"], group)


@torch.no_grad()
def run(group: Group, solver: str = "unipc", steps: int = 6, **options) -> Tensor:
    """A whole run with guidance, both questions of a step together."""
    model = model_of("t2v")
    sides = [Conditioning(random(1, 8, 24, seed=seed)) for seed in (1, 2)]
    transformer = Shared(model, WAYS["overwriting"], group)
    denoiser = Denoiser(transformer, *sides, guidance=CFG(4.0), grouped=lambda asks: [asks], **options)
    schedule = make_schedule("simple", steps, 5.0)
    state = begin(SOLVERS[solver], schedule, torch.zeros(1, 16, FRAMES, ROWS, COLUMNS), seed=7)
    *_, last = sample(denoiser, SOLVERS[solver], schedule, state)
    return last.latent


@dataclass(frozen=True)
class AsAsked:
    """A conditioning item that fills in what `inputs_of` gives for a kind."""

    kind: str
    config: DiTConfig
    seed: int
    branch = None

    def apply(self, inputs: DitInputs) -> DitInputs:
        asked = inputs_of(self.kind, self.config, self.seed)
        timestep = asked.timestep * (inputs.timestep.view(-1, *[1] * (asked.timestep.ndim - 1)) / 1000)
        return replace(asked, latent=inputs.latent, timestep=timestep)

    def window(self, _cut: object) -> AsAsked:
        return self

    def to(self, _device: torch.device) -> AsAsked:
        return self


class InTurn:
    """Two experts: the second makes the last steps."""

    def __init__(self, *experts: Denoiser, before: int) -> None:
        self.experts, self.left = experts, before

    def start(self, *kept: object) -> object:
        self.left -= 1
        return self.experts[self.left < 0].start(*kept)


def asking(model: WanDiT, kind: str, group: Group) -> Denoiser:
    sides = [Conditioning(random(1, 8, 24, seed=seed), (AsAsked(kind, model.config, seed),)) for seed in (1, 20)]
    return Denoiser(Shared(model, WAYS["overwriting"], group), *sides, guidance=CFG(4.0), grouped=lambda asks: [asks])


@torch.no_grad()
def whole_run(kinds: tuple[str, ...], group: Group) -> Tensor:
    """A run of one kind of model, or of two that take turns as experts do."""
    models = [model_of(kind) for kind in kinds]
    if len(models) > 1:
        for parameter in models[1].parameters():
            parameter.mul_(0.9)
    asked = [asking(model, kind, group) for model, kind in zip(models, kinds)]
    denoiser = InTurn(*asked, before=1) if len(asked) > 1 else asked[0]
    schedule = make_schedule("simple", 3, 5.0)
    latent = torch.zeros(1, models[0].config.out_channels, FRAMES, ROWS, COLUMNS)
    *_, last = sample(denoiser, SOLVERS["unipc"], schedule, begin(SOLVERS["unipc"], schedule, latent, seed=7))
    return last.latent


@torch.no_grad()
def rows(direction: str, group: Group, strips: int = 1) -> Tensor:
    """Of a VAE, each rank with its own."""
    torch.manual_seed(0)
    vae = CausalVAE(VAEConfig(base_channels=8, residual_blocks=1)).eval()
    if direction == "decoded":
        return torch.cat(list(vae.decode_stream(random(1, 16, 11, 9, 6, seed=1), strips, ranks=group)), dim=2)
    video = random(1, 3, 41, 72, 48, seed=2).clamp(-1, 1)
    return torch.cat(list(vae.encode_stream(video, strips, ranks=group)), dim=2)


def all_cases(ranks: int) -> dict[str, Case]:
    """By name. With four ranks, what costs little."""
    found: dict[str, Case] = {}

    def add(name: str, case: Callable[..., Tensor], *given: object, **named: object) -> None:
        found[name] = lambda group: case(*given, group=group, **named)

    for name, sizes in ATTENTIONS.items():
        add(f"attention, {name}", attention, *sizes, torch.float32)
    for name, sizes in RINGS.items():
        add(f"ring, {name}", attention, *sizes, torch.float32)
    add("attention, bf16", attention, 101, 6, torch.bfloat16)
    for kind in ASKED:
        ways = [way for way in WAYS if way != "radial" or not kind.startswith("poses")]
        for way in ways if ranks == 2 else ("overwriting",):
            add(f"{kind}, {way}", passes, kind, way, 1, 1)
    add("t2v, batch", passes, "t2v", "lean", 1, 2)
    for number in (2, 3, 4):
        add(f"t2v, {number} passes", passes, "t2v", "overwriting", number, 1)
    add("passes of two lengths", unlike_passes)
    for form in ("fp8", "gguf", "int8"):
        add(f"stored, {form}", stored, form)
    add("adapters", with_adapters)
    add("swapped", swapped)
    for name, call in {"first": 1, "last": 14}.items():  # 3 blocks, and 2 for each control, look at video and text
        add(f"out of memory, {name} attention", again, ranks - 1, call, 1)
        add(f"out of memory, {name} attention of two passes", again, 0, call, 2)
    add("out of memory, between passes", between)
    for direction in ("decoded", "encoded"):
        add(f"rows, {direction}", rows, direction)
    add("run", run)
    for kind in ASKED if ranks == 3 else ():  # of which each has a part of every pass
        add(f"run, {kind}", whole_run, (kind,))
    add("run, two experts", whole_run, ("t2v", "t2v"))
    add("run, noise in every step", run, solver="euler_ancestral")
    add("run, windows", run, windows=SlidingWindows(3, 1))
    cache = StepCacheSettings("easycache", 0.5, PartOfSteps(0.0, 1.0), 3)
    add("run, step cache", run, steps=12, cache=cache.of(model_of("t2v").config, "it"))
    return found
