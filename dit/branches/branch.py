"""What the trunk of the transformer asks of a branch, and what they hand to each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ...common.errors import InvalidInputError, PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ..context import Context
from ..execution import Execution

ConfigT = TypeVar("ConfigT", contravariant=True)

NO_STEERING: Mapping[type, int] = MappingProxyType({})


class Shapes(Protocol):
    """The shapes of a file's tensors under their official names."""

    def has(self, key: str) -> bool:
        """Whether there is such a tensor."""
        ...

    def size(self, key: str, dimension: int) -> int:
        """One dimension of a tensor.

        Raises:
            FileFault: there is no such tensor or dimension.
        """
        ...

    def count(self, stem: str) -> int:
        """Number of layers `stem`0., `stem`1., ..., at least one.

        Raises:
            FileFault: there are none, or more than any model has.
        """
        ...


class WeightCount(NamedTuple):
    """Numbers in some layers: `matrix` of them in the matrices of blocks, which have `rows` rows; `other` elsewhere."""

    matrix: int
    rows: int
    other: int

    @property
    def elements(self) -> int:
        """All numbers."""
        return self.matrix + self.other


class PassShape(NamedTuple):
    """What one pass works on.

    `batch` videos of a grid of `frames` x `rows` x `columns` tokens each; `steering`: by kind of branch, how many
    things steer it; `together`: passes run block by block (see `WanDiT.forward_together`); `beside`: tokens of clips
    that stand before those of one video.
    """

    batch: int
    frames: int
    rows: int
    columns: int
    steering: Mapping[type, int] = NO_STEERING
    together: int = 1
    beside: int = 0

    @property
    def length(self) -> int:
        """Tokens of one video, and of the clips beside it."""
        return self.frames * self.rows * self.columns + self.beside

    @property
    def tokens(self) -> int:
        """Tokens of all videos."""
        return self.batch * self.length


class PassBytes(NamedTuple):
    """What a branch holds in the passes that go together: all the time, while one of its blocks runs, and while a pass
    begins."""

    kept: int
    in_block: int
    starting: int = 0


class Trunk(Protocol):
    """The transformer, as its branches see it."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the matrices are multiplied in."""
        ...

    @property
    def token_dtype(self) -> torch.dtype:
        """The dtype of the tokens between the matrices."""
        ...

    def get_submodule(self, target: str) -> nn.Module:
        """A layer by its official name."""
        ...

    def modulation_at(self, timestep: float) -> Tensor:
        """What blocks see of a timestep, 0..1000: [1, 1, 6, D], float32."""
        ...

    def tokens_of(self, embedding: nn.Module, channels: Tensor) -> Tensor:
        """Channels [B, C, T, h, w] as tokens [B, L, D], by an embedding that takes so many channels."""
        ...

    def time_of(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Timesteps [B, G], 0..1000, as the head sees them [B, G, D] and as the blocks do [B, G, 6, D], in float32."""
        ...

    def text_of(self, text: Tensor) -> Tensor:
        """A text [B, tokens, text_dim] as the blocks see it, [B, tokens, D] in the dtype of computation."""
        ...


class BranchRun(Protocol):
    """A branch during one pass."""

    def after(self, block: nn.Module, tokens: Tensor, context: Context, execution: Execution) -> Tensor:
        """Runs an own block by `execution.run`; gives the trunk's tokens [B, L, D] after it.

        `tokens` may be overwritten if the execution says so.
        """
        ...

    def part(self, tokens: slice) -> BranchRun:
        """The run for some of the tokens [B, L, D]: what one device of several does.

        Raises:
            InvalidInputError: it needs all, see `unshareable`.
        """
        ...


class Companion(Protocol):
    """A second stream of tokens that goes through the trunk's blocks beside those of one pass, and is seen by them."""

    def seen(self, index: int, context: Context, execution: Execution) -> Context:
        """What the block of this number sees; asked before `follow`, and not where the pass leaves the block out."""
        ...

    def follow(self, block: nn.Module, index: int, execution: Execution) -> None:
        """Takes the stream through a block, each in its turn, after all passes have gone through it."""
        ...


class NoCompanion:
    """No second stream."""

    def seen(self, index: int, context: Context, execution: Execution) -> Context:
        """What it sees anyway."""
        return context

    def follow(self, block: nn.Module, index: int, execution: Execution) -> None:
        """Nothing goes beside."""


ALONE = NoCompanion()


def unshareable(words: str) -> InvalidInputError:
    """The error where what needs all tokens of a pass is given those of one device of several."""
    return InvalidInputError(
        f"The tokens of {words} cannot be shared among devices. Use one device, or two where there is guidance: "
        "then each computes whole passes."
    )


class Steered(NamedTuple):
    """The beginning of a pass with a branch: what the blocks see, and the branch's run if it has blocks of its own.

    `tokens` may be more than the branch was given: those before the video's, which nothing is made of. `companion`: of
    a branch that sends a stream of its own through the trunk's blocks.
    """

    tokens: Tensor
    context: Context
    run: BranchRun | None = None
    companion: Companion | None = None


class Ends(NamedTuple):
    """The names of the layers that a pass begins and ends with."""

    embedding: str = "patch_embedding"
    head: str = "head"


TRUNK_ENDS = Ends()


class Branch(ABC, Generic[ConfigT]):
    """Something that a checkpoint may carry beside the trunk: frozen sizes, equal for equal models.

    What is not abstract is that of a branch without blocks of its own that every block is the same with and without.

    Attributes:
        name: for programs ("vace").
        roots: the official names at the root of a checkpoint that it owns, all of which are attributes of the model.
        words: what it is called in the midst of a sentence.
        in_blocks: how the names of its layers inside the trunk's blocks begin.
        title: what models are called that have it; None where they are called after their trunk.
        partner: the kind of model file whose output steers it, which a loaded model goes with; None without one.
        expected: what to say of a model with channels for pictures that nothing steers here; None where that is usual.
        listens_through: the file of an audio encoder whose features steer it; None where it hears nothing.
        is_always_steered: whether a model with it makes nothing of use where nothing steers it.
        adds_tokens: whether it puts tokens before those of the video that are no whole frames, see `tokens_before`.
        module_kind: the kind of file that holds such a branch by itself, for models without; None if there is none.
    """

    name: ClassVar[str]
    roots: ClassVar[tuple[str, ...]]
    words: ClassVar[str]
    in_blocks: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str | None] = None
    partner: ClassVar[str | None] = None
    expected: ClassVar[str | None] = None
    module_kind: ClassVar[str | None] = None
    listens_through: ClassVar[str | None] = None
    is_always_steered: ClassVar[bool] = False
    adds_tokens: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def read(cls, tensors: Shapes) -> Branch[ConfigT] | None:
        """The branch in a file of these tensors; None where it has none.

        Raises:
            FileFault: what there is, is no such branch.
        """

    @classmethod
    @abstractmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """The error where something steers such a branch and a model has none."""

    @classmethod
    def unsteered(cls, names: ModelNames = THIS_MODEL) -> PairingError | None:
        """The error where nothing steers it in a whole run; None where the model then runs as one without it."""
        return None

    @abstractmethod
    def build(self, config: ConfigT, operations: ModuleType) -> Mapping[str, nn.Module]:
        """Its modules, by their names in `roots`."""

    @abstractmethod
    def check(self, given: Sequence[Any], latent: Tensor) -> None:
        """Refuses what does not fit the branch or the latent [B, C, T, h, w].

        Raises:
            PairingError: it does not; the message has the numbers.
        """

    @abstractmethod
    def embed(self, trunk: Trunk, given: Sequence[Any], tokens: Tensor, context: Context) -> Steered:
        """The beginning of a pass that something steers.

        Args:
            given: what steers it, checked; never written into.
            tokens: [B, L, D], of the latent; never written into.
            context: what the blocks see without it.
        """

    @abstractmethod
    def other_weights(self, config: ConfigT) -> int:
        """Numbers outside the blocks."""

    @property
    def image_tokens(self) -> int:
        """Tokens of pictures that every block sees beside the text; 0: blocks have no attention to them."""
        return 0

    def own_blocks(self, layers: int) -> Mapping[int, Sequence[str]]:
        """Official names of its own blocks in order, by the number of the trunk's block they run after, of so many."""
        return {}

    def frames_before(self, given: int) -> int:
        """Frames of tokens that it puts before those of the video in a pass that `given` things steer; the places of
        tokens in time begin with them."""
        return 0

    def tokens_before(self, shape: PassShape, given: int) -> int:
        """Tokens at places of their own that it puts before those of each video in a pass that `given` things steer."""
        return 0

    def ends(self, given: Sequence[Any]) -> Ends | None:
        """The layers of its own that a pass which these steer begins and ends with; None for the trunk's."""
        return None

    def times(self, given: Sequence[Any], frames: int) -> Tensor | None:
        """Where a video of so many frames of tokens lies in time in a pass that these steer, [frames] in float64; None
        for one after the other."""
        return None

    def inside(self, config: ConfigT, operations: ModuleType) -> Mapping[str, nn.Module]:
        """Its modules inside each of the trunk's blocks, by their names in `in_blocks`."""
        return {}

    def inside_weights(self, config: ConfigT) -> WeightCount:
        """Numbers of these in one block."""
        return WeightCount(0, 0, 0)

    def check_layers(self, layers: int) -> None:
        """Refuses a branch that has no place beside a trunk of so many layers.

        Raises:
            FileFault: it is so.
        """

    def check_width(self, width: int, names: ModelNames = THIS_MODEL) -> None:
        """Refuses what steers it and is not as wide as it takes; nothing has a width where that is fixed otherwise.

        Raises:
            PairingError: they differ.
        """

    def block_weights(self, config: ConfigT, block: WeightCount) -> Sequence[WeightCount]:
        """Numbers of its own blocks in the order of `own_blocks`; `block`: of one of the trunk's."""
        return ()

    def pass_bytes(self, shape: PassShape, given: int, buffer: int) -> PassBytes:
        """What it holds during passes that `given` things steer; `buffer`: bytes of the tokens of one pass."""
        return PassBytes(0, 0)

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """Of what steers it, all through a run, in float32; `pixels`: of the latents, `passes`: in one step."""
        return 0
