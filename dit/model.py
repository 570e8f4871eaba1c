"""The Wan video transformer. Attribute names equal the keys of the official checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..common.errors import InvalidInputError
from ..common.records import record
from ..common.streaming import check_backward
from .block import Block
from .branches.branch import ALONE, TRUNK_ENDS, BranchRun, Companion, Ends, unshareable
from .branches.module import BranchModule
from .conditioning.in_context import ClipBeside, grid_of
from .config import PATCH, BlockPlace, DiTConfig
from .context import Avoided, Context, SpansInTime, TextSpan, TextTravel
from .execution import DEFAULT_EXECUTION, Execution
from .inputs import DitInputs
from .layers import Head, timestep_signal
from .past import Past
from .precise import in_float32
from .rope import PlacedVideo

_NO_RUNS: Mapping[type, BranchRun] = MappingProxyType({})


class Embedded(NamedTuple):
    """The inputs as the blocks see them.

    tokens [B, L, D], those of the video last; time [B, G, D] of G equal runs of the video's tokens, float32; the grid
    of these; height and width of the latent, and its dtype; the timesteps [B, G]; the blocks' context; by kind, the
    runs of the branches that have blocks of their own in this pass; the trunk's blocks that are skipped; what a causal
    model looks back at; what goes through the trunk's blocks beside the tokens; the layers at the ends of the pass.
    """

    tokens: Tensor
    time: Tensor
    grid: tuple[int, int, int]
    size: tuple[int, int]
    dtype: torch.dtype
    timesteps: Tensor
    context: Context
    runs: Mapping[type, BranchRun] = _NO_RUNS
    skipped: frozenset[int] = frozenset()
    past: Past | None = None
    companion: Companion = ALONE
    ends: Ends = TRUNK_ENDS

    def part(self, tokens: slice) -> Embedded:
        """What one device of several that share the pass works on: some of the tokens; see `Context.of_tokens`.

        Raises:
            InvalidInputError: the tokens look back at others, or a branch needs all of them.
        """
        if self.past is not None or self.context.heard is not None:
            raise unshareable("a causal model, and of one that hears in each block,")
        length = self.tokens.shape[1]
        runs = {kind: run.part(tokens) for kind, run in self.runs.items()}
        return self._replace(
            tokens=self.tokens[:, tokens].clone(), context=self.context.of_tokens(tokens, length), runs=runs
        )

    def takes_part(self, place: BlockPlace) -> bool:
        """Whether the block there runs in this pass."""
        return place.index not in self.skipped if place.branch is None else place.branch in self.runs

    def way(self, execution: Execution, place: BlockPlace) -> Execution:
        """How the trunk's block there computes in this pass."""
        return execution if self.past is None else execution.looking_back(self.past.of(place.index))


class WanDiT(nn.Module):
    """Predicts the velocity (noise - clean) of a noisy latent video.

    Args:
        config: sizes, see `PRESETS`.
        operations: namespace that gives Linear, LayerNorm, Conv1d, Conv2d and Conv3d.
        fp32_residual: keep the tokens in float32 between the matrices of a 16-bit model. Closer to the float32
            result, at twice the memory of one token buffer.
    """

    def __init__(self, config: DiTConfig, operations: ModuleType = nn, fp32_residual: bool = False) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.fp32_residual = fp32_residual
        linear = operations.Linear

        self.patch_embedding = operations.Conv3d(config.in_channels, dim, kernel_size=PATCH, stride=PATCH)
        self.text_embedding = nn.Sequential(linear(config.text_dim, dim), nn.GELU(approximate="tanh"), linear(dim, dim))
        self.time_embedding = nn.Sequential(linear(config.freq_dim, dim), nn.SiLU(), linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(config, operations) for _ in range(config.layers))
        self.head = Head(config, operations)
        for branch in config.branches:
            for name, module in branch.build(config, operations).items():
                self.add_module(name, module)

    def with_branches(self, module: BranchModule) -> WanDiT:
        """This model with more branches; it shares its layers and those of `module` with them."""
        config = self.config.with_branches(module.config.branches)
        with torch.device("meta"):
            whole = WanDiT(config, fp32_residual=self.fp32_residual)
        for name, child in (*self.named_children(), *module.named_children()):
            if name != "blocks":
                whole.add_module(name, child)
        for block, own, added in zip(whole.blocks, self.blocks, module.inside(config.layers)):
            for name, child in (*own.named_children(), *added.named_children()):
                block.add_module(name, child)
            for name, parameter in own.named_parameters(recurse=False):
                block.register_parameter(name, parameter)
        return whole.train(self.training)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the matrices are multiplied in."""
        return self.patch_embedding.weight.dtype

    @property
    def token_dtype(self) -> torch.dtype:
        """The dtype of the tokens between the matrices."""
        return torch.float32 if self.fp32_residual else self.dtype

    @property
    def streamed_blocks(self) -> list[nn.Module]:
        """Every block that a pass can run, in order, those of the branches included."""
        return self._blocks_at(self.config.block_order())

    def _blocks_at(self, places: Iterable[BlockPlace]) -> list[nn.Module]:
        return [self.get_submodule(place.name) for place in places]

    def forward(self, inputs: DitInputs, execution: Execution = DEFAULT_EXECUTION) -> Tensor:
        """Velocity [B, out_channels, T, h, w], in the dtype of the latent.

        Raises:
            PairingError: the inputs do not fit this model.
            InvalidInputError: gradients are wanted, but the blocks are swapped.
        """
        return self.forward_together([inputs], execution)[0]

    def forward_together(self, passes: Sequence[DitInputs], execution: Execution = DEFAULT_EXECUTION) -> list[Tensor]:
        """The velocities of several passes, to the bit those of `forward`, each block run for all before the next.

        So blocks that are swapped in come once for all passes, at the price of one more buffer of tokens per pass.
        """
        embedded = [self.embed(inputs) for inputs in passes]
        tokens = self.trunk(embedded, execution)
        velocities = []
        while tokens:
            velocities.append(self.unembed(tokens.pop(0), embedded.pop(0)))
        return velocities

    def embed(self, inputs: DitInputs) -> Embedded:
        """Latent, timestep, text and what steers the branches, as the blocks see them.

        Raises:
            InvalidInputError, PairingError: the inputs do not fit this model.
        """
        inputs.check(self.config)
        ends, grid = self._ends(inputs), grid_of(inputs.latent)
        tokens = self.tokens_of(self.get_submodule(ends.embedding), self._channels(inputs))
        timesteps = self._timesteps(inputs)  # [B, G]
        time, modulation = self.time_of(timesteps)
        placed = self._placed(grid, inputs)
        context = Context(
            modulation=modulation,
            rope=placed.rope(),
            text=self.text_of(inputs.text),
            image=None,
            avoided=self._avoided(inputs.avoided),
            in_time=self._in_time(inputs.travel, placed.before + grid[0]),
            time=time,
        )
        runs: dict[type, BranchRun] = {}
        companion: Companion = ALONE
        for branch in self.config.branches:
            given = inputs.steering_of(branch)
            if not given:
                continue
            tokens, context, run, beside = branch.embed(self, given, tokens, context)
            if run is not None:
                runs[type(branch)] = run
            companion = beside or companion
        if inputs.in_context:
            tokens, context = self._behind_clips(inputs.in_context, placed, tokens, context)
        return Embedded(
            tokens,
            time,
            grid,
            (inputs.latent.shape[-2], inputs.latent.shape[-1]),
            inputs.latent.dtype,
            timesteps,
            context,
            runs,
            inputs.skipped,
            inputs.past,
            companion,
            ends,
        )

    def _behind_clips(
        self, clips: Sequence[ClipBeside], placed: PlacedVideo, tokens: Tensor, context: Context
    ) -> tuple[Tensor, Context]:
        """The tokens with those of clips before them, and the places of all."""
        own = [clip.embed(self, tokens.device).expand(len(tokens), -1, -1) for clip in clips]
        rope = torch.cat([*(clip.rope(placed) for clip in clips), context.rope], dim=1)
        return torch.cat([*own, tokens], dim=1), context._replace(rope=rope)

    def trunk(self, passes: Sequence[Embedded], execution: Execution = DEFAULT_EXECUTION) -> list[Tensor]:
        """All blocks in order: the tokens [B, L, D] of each pass after the last one.

        `Embedded.tokens` may be overwritten if the execution says so.
        """
        tokens = [embedded.tokens for embedded in passes]
        ways = [execution.in_pass(embedded.grid, embedded.timesteps) for embedded in passes]
        places = list(self.config.block_order({kind for embedded in passes for kind in embedded.runs}))
        for index, (block, place) in enumerate(zip(execution.stream(self._blocks_at(places)), places)):
            running = [number for number, embedded in enumerate(passes) if embedded.takes_part(place)]
            for number in running:
                context, runs = passes[number].context, passes[number].runs
                way = ways[number] if index else execution  # the first block looks at everything
                if place.branch is None:
                    context = passes[number].companion.seen(place.index, context, way)
                    tokens[number] = passes[number].way(way, place).run(block, tokens[number], context)
                    del context  # with what the companion showed
                else:
                    tokens[number] = runs[place.branch].after(block, tokens[number], context, way)
            if place.branch is None:
                for embedded in passes:
                    embedded.companion.follow(block, place.index, execution)
            check_backward(execution.stream, tokens)
            execution.on_block(index, [tokens[number] for number in running])
        return tokens

    def unembed(self, tokens: Tensor, embedded: Embedded) -> Tensor:
        """Tokens [B, L, D] -> velocity [B, out_channels, T, h, w], in the dtype of the latent."""
        before = tokens.shape[1] - math.prod(embedded.grid)
        head = self.get_submodule(embedded.ends.head)
        values = head(tokens[:, before:], embedded.time, self.dtype)
        sizes = dict(zip("Thwtqr", (*embedded.grid, *PATCH)))
        values = rearrange(values, "B (T h w) (t q r C) -> B C (T t) (h q) (w r)", **sizes)
        height, width = embedded.size
        return values[..., :height, :width].to(embedded.dtype)  # without what was padded

    def time_of(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Timesteps [B, G] as the head sees them [B, G, D], and as the blocks do [B, G, 6, D], both in float32."""
        signal = timestep_signal(timesteps.flatten(), self.config.freq_dim)
        time = in_float32(self.time_embedding, signal)
        modulation = in_float32(self.time_projection, time).unflatten(1, (6, -1))
        return time.unflatten(0, timesteps.shape), modulation.unflatten(0, timesteps.shape)

    def text_of(self, text: Tensor) -> Tensor:
        """A text [B, tokens, text_dim] as the blocks see it, [B, tokens, D] in the dtype of computation."""
        return self.text_embedding(text.to(self.dtype))

    def tokens_of(self, embedding: nn.Module, channels: Tensor) -> Tensor:
        """Channels [B, C, T, h, w] as tokens [B, L, D], by an embedding that takes so many channels."""
        tokens = embedding(pad_to_patches(channels.to(self.dtype)))  # [B, D, T, h', w']
        tokens = tokens.flatten(2).transpose(1, 2).contiguous()
        return tokens.to(self.token_dtype)

    def modulation_at(self, timestep: float) -> Tensor:
        """What blocks see of a timestep, 0..1000: [1, 1, 6, D], float32."""
        return self.time_of(torch.tensor([[timestep]], device=self.patch_embedding.weight.device))[1]

    def _placed(self, grid: tuple[int, int, int], inputs: DitInputs) -> PlacedVideo:
        """Where the video's tokens lie, and those before them."""
        branches, latent = self.config.branches, inputs.latent
        before = sum(branch.frames_before(len(inputs.steering_of(branch))) for branch in branches)
        size = (latent.shape[-2], latent.shape[-1])
        places = inputs.places if inputs.past is None else inputs.places.from_frame(inputs.past.frames)
        times = (branch.times(inputs.steering_of(branch), grid[0]) for branch in branches)
        own = next((each for each in times if each is not None), None)
        return PlacedVideo(self.config.head_dim, grid, size, latent.device, before, inputs.before, places, own)

    def _ends(self, inputs: DitInputs) -> Ends:
        """The layers that a pass begins and ends with."""
        own = (branch.ends(inputs.steering_of(branch)) for branch in self.config.branches)
        return next((each for each in own if each is not None), TRUNK_ENDS)

    def _avoided(self, avoided: Avoided | None) -> Avoided | None:
        if avoided is None:
            return None
        return avoided._replace(text=self.text_of(avoided.text))

    def _in_time(self, travel: TextTravel | None, frames: int) -> SpansInTime | None:
        """The texts of `frames` of tokens; those before the video's see what its first frame sees."""
        if travel is None:
            return None
        shares = torch.cat([travel.shares[:, :1].expand(-1, frames - travel.shares.shape[1]), travel.shares], dim=1)
        spans = []
        for text, share in zip(travel.texts, shares.cpu()):
            (seen,) = torch.nonzero(share, as_tuple=True)
            if not len(seen):
                continue
            start, stop = int(seen[0]), int(seen[-1]) + 1
            is_alone = bool((share[start:stop] == 1).all())
            mixed = None if is_alone else share[start:stop].view(1, -1, 1, 1, 1).to(text.device)
            spans.append(TextSpan(self.text_of(text), start, stop, mixed))
        return SpansInTime(tuple(spans), frames)

    def _timesteps(self, inputs: DitInputs) -> Tensor:
        """[B, 1], or [B, T] with a timestep for each latent frame."""
        timestep = inputs.timestep
        if timestep.ndim == 2 and timestep.shape[1] != inputs.latent.shape[2]:
            raise InvalidInputError(
                f"There are timesteps for {timestep.shape[1]} latent frames, but the latent has "
                f"{inputs.latent.shape[2]}. Give one timestep for each frame, or one for all."
            )
        return timestep if timestep.ndim == 2 else timestep.unsqueeze(1)

    def _channels(self, inputs: DitInputs) -> Tensor:
        latent, image = inputs.latent, inputs.image_channels
        if image is None:
            image = latent.new_zeros(latent.shape[0], self.config.image_channels, *latent.shape[2:])
        return torch.cat([latent, image.to(latent.dtype)], dim=1)


@record
class RunningDiT:
    """A model and how one run computes with it: the three parts of a pass, as a denoiser asks for them."""

    model: WanDiT
    execution: Execution

    def embed(self, inputs: DitInputs) -> Embedded:
        """See `WanDiT.embed`."""
        return self.model.embed(inputs)

    def trunk(self, passes: Sequence[Embedded]) -> list[Tensor]:
        """See `WanDiT.trunk`."""
        return self.model.trunk(passes, self.execution)

    def unembed(self, tokens: Tensor, embedded: Embedded) -> Tensor:
        """See `WanDiT.unembed`."""
        return self.model.unembed(tokens, embedded)


def pad_to_patches(x: Tensor) -> Tensor:
    """x [B, C, T, h, w] with an odd row or column count padded to even, by repeating from the other side."""
    pad_rows, pad_columns = -x.shape[-2] % PATCH[1], -x.shape[-1] % PATCH[2]
    if not pad_rows and not pad_columns:
        return x
    return F.pad(x, (0, pad_columns, 0, pad_rows, 0, 0), mode="circular")
