"""What is asked of CUDA, on a fake of it: on which device, in which order, and what is undone before memory goes."""

from __future__ import annotations

import contextlib
import gc
import threading

import pytest
import torch
from torch import Tensor, nn
from wan_director.memory import backend, pinned
from wan_director.memory.block_swap import swapping
from wan_director.memory.slabs import Slabs

DEVICE = torch.device("cuda:1")
COPY = Tensor.copy_
AT_WORK = threading.RLock()
"""The thread that packs blocks waits for events too: work that it has begun must not look finished to the others."""


class FakeEvent:
    """A point in the work of a fake stream."""

    def __init__(self) -> None:
        self.stream: FakeStream | None = None

    def record(self, stream: FakeStream) -> None:
        self.stream = stream
        stream.work.append(self)

    def synchronize(self) -> None:
        assert self.stream is not None, "waited for an event that nobody recorded"
        self.stream.run_to(self)


class FakeStream:
    """Does its work as late as the events allow; what the thread computes by itself is done at once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.work: list = []

    def wait_event(self, event: FakeEvent) -> None:
        self.work.append(event.synchronize)
        if self is FakeCuda.computing:
            self.run_to(None)

    def run_to(self, event: FakeEvent | None) -> None:
        with AT_WORK:
            while self.work and (event is None or event in self.work):
                done = self.work.pop(0)
                if callable(done):
                    done()


class FakeCuda:
    """The part of `torch.cuda` that is used, with a device that is not there."""

    computing = FakeStream(DEVICE)
    Event = FakeEvent

    def __init__(self) -> None:
        self.log: list[tuple] = []
        self.current = 0
        self.streams: list[FakeStream] = []
        self.failure = 0
        self.copies = 0

    def Stream(self, device: torch.device) -> FakeStream:  # noqa: N802
        self.streams.append(FakeStream(torch.device(device)))
        return self.streams[-1]

    def current_stream(self, device: torch.device) -> FakeStream:
        assert torch.device(device) == DEVICE, "a stream of another device"
        return self.computing

    @contextlib.contextmanager
    def stream(self, stream: FakeStream):
        def copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
            if non_blocking:  # the others are those of the thread that packs blocks
                self.copies += 1
                stream.work.append(lambda: COPY(target, source))
                return target
            return COPY(target, source)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tensor, "copy_", copy)
            yield

    @contextlib.contextmanager
    def device(self, device: torch.device):
        before, self.current = self.current, torch.device(device).index
        yield
        self.current = before

    def synchronize(self, device: torch.device) -> None:
        self.log.append(("synchronize", torch.device(device).index))

    def cudart(self) -> FakeCuda:
        return self

    def cudaHostRegister(self, address: int, size_bytes: int, flags: int) -> int:  # noqa: N802
        self.log.append(("register", self.current, address, size_bytes))
        return self.failure

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        self.log.append(("unregister", self.current, address))
        return 0


@pytest.fixture
def cuda(monkeypatch) -> FakeCuda:
    fake = FakeCuda()
    FakeCuda.computing.work.clear()
    monkeypatch.setattr(torch, "cuda", fake)
    monkeypatch.setattr(backend, "plain_bytes", lambda size, device: torch.full((size,), 255, dtype=torch.uint8))
    monkeypatch.setattr(pinned, "_forget_error", lambda device: fake.log.append(("forget",)))
    pinned._warn_of_unpinned_memory.cache_clear()
    return fake


class Block(nn.Module):
    """One matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight)


def blocks_of(count: int) -> nn.ModuleList:
    return nn.ModuleList(Block() for _ in range(count))


def run(blocks) -> Tensor:
    x = torch.linspace(-1, 1, 24).view(3, 8)
    for block in blocks:
        x = block(x)
    return x


def test_memory_is_unpinned_before_it_goes_and_on_its_own_device(cuda):
    buffer = pinned.HostBuffer(4096, DEVICE)
    values = buffer.bytes
    address = values.data_ptr()
    assert buffer.pinned and cuda.log == [("register", 1, address, 4096)]
    del buffer
    gc.collect()
    assert cuda.log[1:] == [("synchronize", 1), ("unregister", 1, address)]
    assert cuda.current == 0


def test_without_pinned_memory_it_says_so_once_and_forgets_the_error(cuda, caplog):
    cuda.failure = 2
    with caplog.at_level("WARNING", logger="wan_director"):
        buffers = [pinned.HostBuffer(4096, DEVICE) for _ in range(3)]
    assert not any(buffer.pinned for buffer in buffers) and len(caplog.records) == 1
    assert cuda.log.count(("forget",)) == 3
    cuda.log.clear()
    del buffers
    gc.collect()
    assert not cuda.log, "what was not pinned must not be unpinned"


@pytest.mark.parametrize("cap", [10**9, 0, 1024], ids=["slabs", "staged", "half"])
def test_the_streams_wait_for_each_other(cuda, cap):
    """A copy that nobody waits for has not happened when the block computes."""
    blocks = blocks_of(4)
    resident = run(blocks)
    with swapping(list(blocks), backend.make_backend(DEVICE), Slabs(), cap) as ring:
        for _ in range(3):
            assert torch.equal(run(ring.stream(blocks)), resident)
    assert [stream.device for stream in cuda.streams] == [DEVICE]
    assert cuda.copies == 3 * len(blocks) + 2, "each block once per pass, and two ahead, none of which makes us wait"
    assert torch.equal(run(blocks), resident)


def test_no_copy_is_on_its_way_when_the_ring_is_closed(cuda):
    blocks, slabs = blocks_of(4), Slabs()
    with swapping(list(blocks), backend.make_backend(DEVICE), slabs, 10**9) as ring:
        next(iter(ring.stream(blocks)))
    assert not [work for work in cuda.streams[0].work if callable(work)]
