"""What the engine needs from whoever runs it: devices, places for weights, progress, interruption.

It is handed to every function of the engine; nothing is looked up. `local.LocalRuntime` is that of a plain process.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from ..common.families import Family
from ..common.records import record
from ..common.streaming import BlockStream
from ..dit.execution import OnBlock
from ..dit.sharing import Sharing
from ..memory.policy import RESIDENT, MemoryPolicy
from ..memory.slabs import Slabs
from ..model_loading.meter import OnBytes
from .films.kept import KeptFilms
from .memory import Job
from .previews.moving import MovingPicture, PreviewWish
from .progress import BYTES, Counted
from .resuming.kept import KeptRuns

M = TypeVar("M", bound=nn.Module)
Module = TypeVar("Module", bound=nn.Module, covariant=True)
Result = TypeVar("Result")


@record
class Work(Generic[Result]):
    """What takes long: reading a file, or a stage of a run. Whatever can be refused is refused before there is one.

    Attributes:
        run: does it.
        outline: gives the same with tensors that have a shape and no values (`common.empty_tensors`), at once; of
            files it reads no more than the header.
        jobs: the models that take part.
        times: of how many clips of a film this is one; 0 where it is none.
    """

    run: Callable[[], Result]
    outline: Callable[[], Result]
    jobs: tuple[Job, ...] = ()
    times: int = 0


class LoadedModels:
    """Models by what they were loaded from. Who uses one holds it; what nobody holds is forgotten, with its weights."""

    def __init__(self) -> None:
        self._models: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()

    def __iter__(self) -> Iterator[Hashable]:
        """The keys of the models that someone holds."""
        return iter(list(self._models))

    def once(self, key: Hashable, load: Callable[[], Result]) -> Result:
        """The model of this key that is in memory, or else what `load` gives."""
        found = self._models.get(key)
        if found is None:
            found = self._models[key] = load()
        return found


class Progress(Protocol):
    """Shows how far a piece of work is, from entering the context on; it is over, or given up, at its end."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *error: object) -> None: ...

    def update(self, done: int, preview: MovingPicture | None = None) -> None:
        """So many are done; `preview`: what the state looks like, to be shown until there is a newer one."""
        ...

    def note(self, text: str) -> None:
        """What is being done of the one under way, for people: "block 3 of 40". May be called very often."""
        ...


class Residence(Protocol, Generic[Module]):
    """Where the weights of one model live, and where they go to compute."""

    @property
    def device(self) -> torch.device:
        """To compute on."""
        ...

    @property
    def module(self) -> Module:
        """The model, wherever its weights are."""
        ...

    @property
    def slabs(self) -> Slabs:
        """Host memory from which blocks are swapped in (see `memory.policy`), kept as long as the model."""
        ...

    def loaded(self, working_bytes: int = 0, memory: MemoryPolicy = RESIDENT) -> AbstractContextManager[Any]:
        """The model's weights on `device` inside the context, but for the blocks that `memory` swaps.

        Args:
            working_bytes: memory needed beside the weights; room for the slots of swapped blocks is asked for too.
            memory: which blocks stay on the CPU; its `streaming` then brings them in.
        """
        ...

    def unload(self) -> None:
        """Takes all weights to the CPU, outside of `loaded`: to compute there, or to leave the device to others."""
        ...

    def host_tensors(self) -> list[Tensor]:
        """The weights as they lie in RAM or in their file, wherever their copies are."""
        ...

    def reload(self) -> None:
        """Inside `loaded`: brings back the weights if they were unloaded in between; free when they were not."""
        ...


class Shareable(Protocol):
    """What several devices can do together."""

    def join(self) -> None:
        """Does the part of this device in what another one has asked for."""
        ...


Request = Callable[[], Shareable]
"""Gives it, with the models loaded. It can be sent to another process, see `sharing.packing`."""


class WhoJoins(NamedTuple):
    """Stands in a request for the runtime of the process that it is sent to."""


class Runtime(Protocol):
    """Who runs the engine."""

    @property
    def models(self) -> LoadedModels:
        """The models in memory, so that each is loaded once."""
        ...

    @property
    def kept_runs(self) -> KeptRuns:
        """Where runs that are broken off wait to be gone on with."""
        ...

    @property
    def kept_films(self) -> KeptFilms:
        """Where finished clips of films wait that are not."""
        ...

    @property
    def sharing(self) -> Sharing:
        """Who computes the passes of all runs of this process."""
        ...

    def check_gpus(self, count: int, device: torch.device) -> None:
        """Refuses a number of devices that cannot share a run with `device`, itself among them.

        Raises:
            InvalidInputError: it is so.
        """
        ...

    def shared(self, request: Request, count: int, device: torch.device) -> AbstractContextManager[Sharing]:
        """Inside, so many devices do what a request gives, each of which comes to the same exchanges; or those that
        share all that this process does.

        Raises:
            InvalidInputError: other processes cannot be told of it.
            SharingError: another device has ended.
        """
        ...

    def perform(self, work: Work[Result]) -> Result:
        """Runs it; or gives its outline, where a run is planned (see `recording.RecordingRuntime`)."""
        ...

    def progress(self, counted: Counted) -> Progress:
        """What shows the work that begins now; how it is shown, and how often, is the runtime's matter."""
        ...

    def at(self, words: str) -> AbstractContextManager[None]:
        """Inside, work that begins is told of with its place in a larger one: "clip 3 of 12"."""
        ...

    def preview_wish(self, family: Family) -> PreviewWish | None:
        """How whoever watches wants to see a video of this family while it is made; None where nobody does."""
        ...

    def check_interrupt(self) -> None:
        """Raises when the user asked to stop; called between blocks and frames."""
        ...

    def device(self, kind: str, choice: str = "auto") -> torch.device:
        """Where a part of a video model (a name in `model_loading.kinds`) computes; choice: auto, cpu or gpu."""
        ...

    def residence(self, module: M, device: torch.device) -> Residence[M]:
        """Looks after the weights of `module`, which is on the CPU now and will compute on `device`."""
        ...

    def free_bytes(self, device: torch.device) -> int | None:
        """Memory of a device that is free now; None where that cannot be asked."""
        ...

    def available_bytes(self, device: torch.device) -> int | None:
        """As `free_bytes`, with what models take that can be unloaded."""
        ...

    def free_memory(self, device: torch.device) -> None:
        """Takes from a device what nothing uses now: models that do not run, and torch's cache."""
        ...


def watched_blocks(runtime: Runtime, progress: Progress, blocks: int, expert: str = "") -> OnBlock:
    """A hook for the transformer's blocks that says where the step is, and stops it when the user asked to.

    Args:
        blocks: how many a pass has.
        expert: which model of a pair it is, in words.
    """
    before = f"{expert}, " if expert else ""

    def watch(index: int, _tokens: object) -> None:
        progress.note(f"{before}block {index + 1} of {blocks}")
        runtime.check_interrupt()

    return watch


def watched_stream(runtime: Runtime, progress: Progress, stream: BlockStream) -> BlockStream:
    """A stream of blocks that counts those that have run, pass after pass, and stops when the user asked to."""
    done = 0

    def watch(blocks: Iterable[nn.Module]) -> Iterator[nn.Module]:
        nonlocal done
        for block in stream(blocks):
            yield block
            done += 1
            progress.update(done)
            runtime.check_interrupt()

    return watch


def counting(progress: Progress, check: Callable[[], None]) -> Callable[[], None]:
    """What is to be called before each piece: it tells of those before, and may stop the work."""
    done = 0

    def each() -> None:
        nonlocal done
        check()
        progress.update(done)
        done += 1

    return each


@contextmanager
def told_bytes(
    title: str, make: Callable[[Counted], Progress], check: Callable[[], None] = lambda: None
) -> Iterator[OnBytes]:
    """What is told how many bytes of how many are done.

    Args:
        make: the progress that shows it, once something is told: then it is known how many there are.
        check: called each time; may raise to stop.
    """
    with ExitStack() as stack:
        progress: Progress | None = None

        def on_bytes(done: int, total: int) -> None:
            nonlocal progress
            check()
            if progress is None:
                progress = stack.enter_context(make(Counted(title, BYTES, total)))
            progress.update(done)

        yield on_bytes


def told_reading(runtime: Runtime, name: str) -> AbstractContextManager[OnBytes]:
    """What is told how far a file of this name is read: it says so, and stops when the user asked to."""
    return told_bytes(f"Loading {name}", runtime.progress, runtime.check_interrupt)
