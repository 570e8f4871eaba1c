"""Gradients of a model whose blocks and their inputs leave the device: every bit as of the resident one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from threading import Lock

import pytest
import torch
from torch import Tensor, nn
from wan_director.dit import tokens
from wan_director.dit.adapters import AppliedAdapter, adapted, trainable, trainable_parameters
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.memory import training
from wan_director.memory.inputs_in_ram import InputsInRam
from wan_director.memory.policy import BlockSwap
from wan_director.memory.round_trip import swapping_both_ways
from wan_director.memory.slabs import Slabs
from wan_director.memory.tensors import held_tensors
from wan_director.memory.training import BlockPlaces, streaming_both_ways
from wan_director.tuning.new_adapter import AdapterSettings, new_adapter
from wan_director.weights import layers

from ..dit.trainable_models import packed_in

CPU = torch.device("cpu")
BLOCKS = 5
CONFIG = DiTConfig(dim=32, ffn_dim=64, heads=2, layers=BLOCKS, text_dim=24, text_tokens=8, freq_dim=16)
PINNED = 10**9
EVERYTHING = AdapterSettings(rank=3, kind="dora", norms=True, biases=True)
ALL_HERE = BlockPlaces()
Gradients = dict[str, Tensor]


class Point:
    """A place in the work of a stream."""

    def __init__(self, reach: Callable[[], object]) -> None:
        self.synchronize = reach


class LazyStream:
    """A device with one stream of copies, which happen as late as they may, in their order."""

    def __init__(self, device: torch.device = CPU) -> None:
        self.device = device
        self.copies = 0
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._done = 0
        self._lock = Lock()

    def allocate(self, size_bytes: int) -> Tensor:
        return torch.full((size_bytes,), 255, dtype=torch.uint8)

    def copy(self, target: Tensor, source: Tensor, after: Point) -> Point:
        with self._lock:
            self.copies += 1
            self._pending.append((target, source))
            last = self._done + len(self._pending)
        if target.is_floating_point():
            target.fill_(float("nan"))
        return Point(lambda: self._reach(last))

    def wait(self, event: Point) -> None:
        event.synchronize()

    def record(self) -> Point:
        return Point(lambda: None)

    def _reach(self, last: int) -> None:
        with self._lock:  # the thread that fills staging buffers waits, too
            while self._done < last:
                target, source = self._pending.pop(0)
                target.copy_(source)
                self._done += 1


def model(form: str) -> WanDiT:
    torch.manual_seed(0)
    made = WanDiT(CONFIG, layers).eval().requires_grad_(False)
    if form == "bf16":
        return made.to(torch.bfloat16)
    for layer in made.blocks.modules() if form != "fp32" else ():
        if isinstance(layer, layers.Linear):
            layer.store(packed_in(form)(layer.weight.detach()))
    return made


def inputs(seed: int = 1) -> DitInputs:
    torch.manual_seed(seed)
    return DitInputs(torch.randn(2, 16, 3, 4, 6), torch.tensor([500.0, 300.0]), torch.randn(2, 8, 24))


def gradients(
    base: WanDiT,
    places: BlockPlaces = ALL_HERE,
    settings: AdapterSettings = EVERYTHING,
    *,
    steps: int = 2,
    slabs: Slabs | None = None,
    **how: bool,
) -> list[Gradients]:
    """Of everything that is learned, after each of some steps; the values change on the way."""
    torch.manual_seed(4)
    own = trainable(new_adapter("a", base, settings, 1))
    named = trainable_parameters(own)
    with torch.no_grad():
        for value in named.values():
            value.add_(0.1 * torch.randn_like(value))
    made = []
    with (
        adapted(base, [AppliedAdapter(own)]),
        streaming_both_ways(base.streamed_blocks, places, CPU, slabs or Slabs()) as (stream, way_back),
    ):
        execution = Execution(stream=stream, way_back=way_back, **how)
        for step in range(steps):
            base(inputs(step), execution).float().square().mean().backward()
            made.append({name: value.grad.clone() for name, value in named.items() if value.grad is not None})
            assert len(made[-1]) == len(named)
            learn(named.values())
    return made


@torch.no_grad()
def learn(values: Iterable[nn.Parameter]) -> None:
    for value in values:
        value.sub_(0.1 * value.grad)
        value.grad = None


def assert_equal(found: list[Gradients], expected: list[Gradients]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert ours.keys() == theirs.keys()
        assert not [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
        assert all(bool(value.isfinite().all()) for value in ours.values())


def places(swapped: int, in_ram: int, pinned: int = PINNED) -> BlockPlaces:
    return BlockPlaces(BlockSwap(swapped, pinned), in_ram)


@pytest.fixture(params=["direct", "lazy"])
def device(request, monkeypatch) -> str:
    if request.param == "lazy":
        monkeypatch.setattr(training, "make_backend", LazyStream)
    return request.param


@pytest.mark.parametrize("form", ["fp32", "bf16", "fp8", "gguf"])
def test_gradients_are_the_same_to_the_bit_wherever_things_are(form, device):
    """Kept, run again, run again part by part; with blocks swapped in and inputs in RAM; over steps that learn."""
    base = model(form)
    settings = EVERYTHING if form == "fp32" else AdapterSettings(rank=3)
    before = [(held.owner, held.name, held.tensor) for held in held_tensors(base)]
    resident = gradients(base, ALL_HERE, settings)
    assert_equal(gradients(base, ALL_HERE, settings, checkpoints=True), resident)
    for where, parts in (
        (places(0, 4, 0), False),
        (places(3, 5), True),
        (places(4, 2, 3 * 40_000), False),
        (places(5, 5, 0), True),
    ):
        assert_equal(gradients(base, where, settings, checkpoints=True, part_checkpoints=parts), resident)
    after = held_tensors(base)
    assert all(old is new.owner and name == new.name for (old, name, _), new in zip(before, after, strict=True))
    assert_equal(gradients(base, ALL_HERE, settings), resident)


def test_runs_of_tokens_are_the_same_in_parts_or_not(monkeypatch, device):
    """Parts go a run of tokens at a time; what comes of a run that is gone back through by itself is the same."""
    base = model("fp32")
    with monkeypatch.context() as short:
        short.setattr(tokens, "MATRIX_RUN", 5)
        whole = gradients(base, checkpoints=True)
        assert_equal(gradients(base, places(4, 3), checkpoints=True, part_checkpoints=True), whole)
    for found, expected in zip(whole, gradients(base)):
        for name, value in found.items():
            assert (value - expected[name]).norm() <= 1e-5 * expected[name].norm(), name


@pytest.mark.parametrize("count", range(1, BLOCKS + 1))
@pytest.mark.parametrize("pinned", [PINNED, 0], ids=["slabs", "staged"])
def test_a_step_copies_each_block_twice_but_for_those_next_to_a_turn(count, pinned):
    base, device = model("fp32"), LazyStream()
    chosen = base.streamed_blocks[-count:]
    with swapping_both_ways(chosen, device, Slabs(), pinned) as ring:
        copies = [device.copies]
        for _ in range(3):
            list(ring.stream(base.streamed_blocks))
            for block in reversed(base.streamed_blocks):
                ring.come_back(block)
            copies.append(device.copies)
    first, *steps = (after - before for before, after in zip([0, *copies], copies))
    assert first == min(2, count) and steps[1:] == [max(0, 2 * count - 4)] * 2


def test_a_pass_that_is_not_gone_back_through_does_no_harm(device):
    """As one that is looked at alone, two at a time, and one that breaks off."""
    base, slabs = model("fp32"), Slabs()
    resident = gradients(base, checkpoints=True)
    own = trainable(new_adapter("a", base, EVERYTHING, 1))
    with torch.no_grad():
        plain = base(inputs())
    with (
        adapted(base, [AppliedAdapter(own)]),
        streaming_both_ways(base.streamed_blocks, places(5, 5), CPU, slabs) as (stream, way_back),
    ):
        execution = Execution(checkpoints=True, stream=stream, way_back=way_back)
        for _ in range(2):
            with torch.no_grad():
                assert (base(inputs(), execution) - plain).norm() <= 1e-6 * plain.norm()
        both = base(inputs(1), execution).sum() + base(inputs(2), execution).sum()
        both.backward()
        found = {name: value.grad for name, value in trainable_parameters(own).items()}
        base(inputs(3), execution)  # never gone back through
    assert_equal(gradients(base, places(5, 5), slabs=slabs, checkpoints=True), resident)
    own = trainable(new_adapter("a", base, EVERYTHING, 1))
    with adapted(base, [AppliedAdapter(own)]):
        (base(inputs(1)).sum() + base(inputs(2)).sum()).backward()
    for name, value in trainable_parameters(own).items():
        assert value.grad is not None and torch.equal(found[name], value.grad), name


def test_a_step_that_fails_leaves_the_model_as_it_was(device):
    base = model("fp32")
    resident = gradients(base, checkpoints=True)

    def stop(index: int, _tokens: object) -> None:
        if index == 3:
            raise KeyboardInterrupt

    @contextmanager
    def ready():
        with streaming_both_ways(base.streamed_blocks, places(5, 5), CPU, Slabs()) as (stream, way_back):
            yield Execution(checkpoints=True, stream=stream, way_back=way_back, on_block=stop)

    own = trainable(new_adapter("a", base, EVERYTHING, 1))
    with pytest.raises(KeyboardInterrupt), adapted(base, [AppliedAdapter(own)]), ready() as execution:
        base(inputs(), execution)
    assert_equal(gradients(base, places(5, 5), checkpoints=True), resident)


def test_host_memory_is_used_again_in_the_next_step(device):
    blocks = [nn.Identity() for _ in range(4)]
    held = InputsInRam(blocks[:3], training.make_backend(CPU), size_bytes=1000)
    buffers = []
    for _ in range(3):
        x = torch.rand(1, 5, requires_grad=True)
        y = x
        for block in blocks:
            with held.keeping(block):
                y = y.sin()
        y.sum().backward()
        plain = x.detach().requires_grad_()
        plain.sin().sin().sin().sin().sum().backward()
        assert x.grad is not None and plain.grad is not None and torch.equal(x.grad, plain.grad)
        del y
        buffers.append({buffer.bytes.data_ptr() for buffer in held._free})
    held.close()
    assert len(buffers[0]) == 3 and buffers[1] == buffers[0] and buffers[2] == buffers[0]
