"""A model made ready for one run, and made ready in another way when it runs out of memory or of finite numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple, ParamSpec, TypeVar

from torch import Tensor, nn

from ...common.errors import GivenUp, NumericalError, OutOfMemory
from ...common.log import logger
from ...common.memory.out_of_memory import free_unused, is_out_of_memory
from ...common.shapes import video_frames
from ...dit.adapters import adapted
from ...dit.execution import Execution, Lean, lean_ways, more_exact
from ...dit.guard import NonFiniteError, check_finite
from ...dit.inputs import DitInputs
from ...dit.model import Embedded
from ...dit.sharing import ONE_DEVICE, Sharing
from ...memory.policy import MemoryPolicy, copies_dominate, streamed_blocks
from ...sampling.ask import Ask
from ...sampling.denoiser import in_turn
from ..models import VideoModel
from ..poses.working import NO_ROOM, PoseRoom, WorkingPoses

Made = TypeVar("Made")
Asked = ParamSpec("Asked")


class Workload(NamedTuple):
    """How much one pass of the model works on: tokens of all samples, latent frames, bytes beside the weights.

    `may_join`: whether there is room for the passes of a step to go together.
    """

    tokens: int
    latent_frames: int
    working_bytes: int
    may_join: bool = True


class Stage:
    """Brings weights, adapters and swapped blocks to their places, and back at the end; in between it is the model.

    Sampling asks it by `carefully`. When that runs out of memory, more blocks are swapped and the
    same question is asked again: the answer does not depend on where the weights are. When the first block gives
    values that are not finite, it is computed more exactly, one change after the other.

    Args:
        model: with its LoRAs.
        memory: to start with.
        workload: of one pass.
        steps: of the run.
        step: with which this model begins.
        execution: how to compute, to start with.
        poses: what is kept of a pose video's way through the blocks; made anew in each arrangement.
        sharing: with whom the passes are computed.

    Attributes:
        mended: how many times the way to compute was made more exact, see `more_exact`.
    """

    def __init__(
        self,
        model: VideoModel,
        memory: MemoryPolicy,
        workload: Workload,
        steps: int,
        *,
        step: int = 0,
        execution: Execution,
        poses: PoseRoom = NO_ROOM,
        sharing: Sharing = ONE_DEVICE,
    ) -> None:
        self.module = model.residence.module
        self.memory = memory
        self._model = model
        self._workload = workload
        self._steps = steps
        self._step = step
        self._stack = ExitStack()
        self._loras: Any = None
        self._is_sound = False
        self.mended = 0
        self._execution = execution
        self._arranged = execution
        self._poses = WorkingPoses(poses)
        self._may_join = workload.may_join
        self._joins = False
        self._sharing = sharing
        self._shared = sharing.devices > 1

    def __enter__(self) -> Stage:
        self._arrange()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def embed(self, inputs: DitInputs) -> Embedded:
        """See `WanDiT.embed`."""
        return self.module.embed(inputs)

    def trunk(self, passes: Sequence[Embedded]) -> list[Tensor]:
        """See `WanDiT.trunk`; computed as the arrangement of this moment says."""
        tokens = self._sharing.trunk(self.module.trunk, passes, self._arranged)
        if self._shared:  # what one device sees of the first block, others may not
            self._check(tokens)
        return tokens

    @property
    def arranged(self) -> Execution:
        """How it computes at this moment."""
        return self._arranged

    def unembed(self, tokens: Tensor, embedded: Embedded) -> Tensor:
        """See `WanDiT.unembed`."""
        return self.module.unembed(tokens, embedded)

    def begin_step(self, index: int) -> None:
        """Tells the adapters which step comes, 0..steps - 1; weights that the host took away come back."""
        self._step = index
        self._model.residence.reload()
        self._loras.begin_step(index, self._steps)
        self._poses.begin_step(self._loras.strengths)

    def carefully(self, predict: Callable[Asked, Tensor], *asked: Asked.args, **named: Asked.kwargs) -> Tensor:
        """What `predict` gives, asked again in another arrangement after what can be mended; interrupts go through."""
        while True:
            try:
                made = predict(*asked, **named)
                self._sharing.agree()  # one of the devices may have no memory for the last of it
                return made
            except NonFiniteError:
                mend = self._compute_exactly
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                mend = self._take_less if isinstance(error, GivenUp) else self._take_less_with_all
            mend()  # outside the handlers, whose traceback would keep the tensors of the failed pass alive
            self._arrange()

    def grouped(self, asks: Sequence[Ask]) -> Iterable[Sequence[Ask]]:
        """The questions that go together: all where copying weights takes longer than computing with them, or where
        devices can take one each."""
        return [asks] if self._joins or self._shared else in_turn(asks)

    def spared(self, make: Callable[[], Made]) -> Made | None:
        """What `make` gives, or None when there is no memory for it: for things the run can do without."""
        try:
            return make()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        free_unused()
        logger.warning("There was no memory for a preview; sampling goes on without it.")
        return None

    def _arrange(self) -> None:
        while True:
            try:
                self._stack = self._enter()
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._take_less_with_all()

    def _enter(self) -> ExitStack:
        residence, module = self._model.residence, self.module
        with ExitStack() as stack:
            stack.enter_context(residence.loaded(self._workload.working_bytes, self.memory))
            self._loras = stack.enter_context(adapted(module, self._model.loras))
            self.begin_step(self._step)
            blocks = streamed_blocks(module)
            self._joins = self._may_join and self._copies_dominate(blocks)
            stream = stack.enter_context(self.memory.streaming(blocks, residence.device, residence.slabs))
            poses = self._poses.start(residence.device)
            self._arranged = replace(self._execution, stream=stream, on_block=self._watch, pose_memory=poses)
            return stack.pop_all()

    def _watch(self, index: int, tokens: Sequence[Tensor]) -> None:
        """Looks once at what the first block gives, and passes on what it is told."""
        if not self._shared:
            self._check(tokens)
        self._execution.on_block(index, tokens)

    def _check(self, tokens: Sequence[Tensor]) -> None:
        if not self._is_sound and tokens:
            check_finite(tokens[0])
            self._is_sound = True

    def _take_less_with_all(self) -> None:
        """As `_take_less`, where the devices that share the run do not know yet that they have to."""
        self._sharing.give_up()
        self._take_less()

    def _take_less(self) -> None:
        """Chooses an arrangement with less of the model on the device, or at last one whose blocks keep less.

        Each device that shares the run swaps more as long as it can. Blocks keep less on all of them at once, since
        that decides what they exchange.

        Raises:
            OutOfMemory: there is none.
        """
        self._stack.close()
        self._poses.give_up()
        self._may_join = False
        blocks = len(streamed_blocks(self.module))
        lowered, leaner = self.memory.lowered(blocks), self._leaner()
        how = ""
        if self._poses.leave_device():
            how = "what is kept of the poses is kept in RAM"
        elif lowered is not None:
            self.memory = lowered
            swapped = len(lowered.swapped(blocks))
            is_swapped = f"{swapped} of {blocks} blocks are swapped in from RAM"
            how = is_swapped if swapped else "no matrix is kept as plain numbers"
        if not self._sharing.any_of(bool(how)):
            if leaner is None:
                raise self._too_large()
            self._execution = replace(self._execution, lean=leaner)
            how = "a block keeps less while it runs"
        free_unused()
        self._model.runtime.free_memory(self._model.residence.device)
        how = how or "other devices take less"
        logger.warning("Out of memory in step %d: %s from now on, and the step is repeated.", self._step + 1, how)

    def _leaner(self) -> Lean | None:
        """The next leaner way to run a block."""
        ways = lean_ways(self._model.spec.config.heads)
        return dict(zip(ways, ways[1:])).get(self._execution.lean)

    def _compute_exactly(self) -> None:
        """Goes without the next way of computing that may be to blame.

        Raises:
            NumericalError: none is left.
        """
        self._stack.close()
        exact = more_exact(self._execution)
        if exact is None:
            raise NumericalError(
                f"The first block of {self._model.file} gave values that are NaN or infinite, with exact attention and "
                "without fp8 compute too. Choose precision bf16 or fp32, and check that the model file and the text "
                "embedding are complete."
            )
        self._execution, how = exact
        self.mended += 1
        logger.warning("The first block gave values that are NaN or infinite: this run goes on %s.", how)

    def _copies_dominate(self, blocks: Sequence[nn.Module]) -> bool:
        flops = self._model.spec.config.block_flops(self._workload.tokens)
        return copies_dominate(self.memory, blocks, self._model.residence.device, flops)

    def _too_large(self) -> OutOfMemory:
        device, needed = self._model.residence.device, self._workload.working_bytes
        free = self._model.runtime.free_bytes(device)
        advice = "Make the video smaller or shorter, or close other programs"
        if free is not None:
            fitting = self._workload.latent_frames * free // needed
            if 0 < fitting < self._workload.latent_frames:
                advice = f"Make the video smaller, or at most {video_frames(fitting)} frames long"
            free_text = f", and {free / 1e9:.1f} GB are free"
        else:
            free_text = ""
        return OutOfMemory(
            f"Sampling {video_frames(self._workload.latent_frames)} frames with {self._model.file} does not fit on "
            f"{device}, even with every block swapped: a step takes about {needed / 1e9:.1f} GB beside the weights"
            f"{free_text}. {advice}."
        )
