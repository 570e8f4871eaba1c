"""The ring: in which order it copies and waits, and that a swapped block computes the same bits as a resident one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock

import pytest
import torch
from torch import Tensor, nn
from wan_director.memory.backend import DirectBackend
from wan_director.memory.block_swap import slab_blocks, spread, swapping
from wan_director.memory.slabs import ALIGNMENT, Slabs, lay_out
from wan_director.memory.tensors import held_tensors

CPU = torch.device("cpu")
ALL_PINNED = 10**9


class Point:
    """An event of the fake device, with what it stands for."""

    def __init__(self, action: Callable[[], object] | None = None) -> None:
        self.action = action
        self.lock = Lock()

    def reach(self) -> None:
        with self.lock:  # the thread that fills staging buffers waits for points too
            if self.action is not None:
                self.action()
                self.action = None

    synchronize = reach


class LazyDevice:
    """A device whose copies happen as late as the events allow: only when someone waits for their end.

    `log` keeps every call in order: ("copy", slot, start of the values), ("wait", point), ("record", point).
    """

    def __init__(self) -> None:
        self.device = CPU
        self.log: list[tuple] = []
        self.slots: list[Tensor] = []

    def allocate(self, size_bytes: int) -> Tensor:
        self.slots.append(torch.full((size_bytes,), 255, dtype=torch.uint8))
        return self.slots[-1]

    def copy(self, target: Tensor, source: Tensor, after: Point) -> Point:
        slot = next(number for number, slot in enumerate(self.slots) if slot.data_ptr() == target.data_ptr())
        ready = Point(lambda: target.copy_(source))
        self.log.append(("copy", slot, after, ready))
        return ready

    def wait(self, event: Point) -> None:
        self.log.append(("wait", event))
        event.reach()

    def record(self) -> Point:
        point = Point()
        self.log.append(("record", point))
        return point


class Layer(nn.Module):
    """A block with what real ones have: weights, a bias, a scale without dimensions, an fp8 buffer, a wrapped layer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(5, 5, generator=generator))
        self.inner = nn.Module()
        self.inner.bias = nn.Parameter(torch.randn(5, generator=generator).to(torch.bfloat16))
        self.register_buffer("stored", torch.randn(5, 5, generator=generator).to(torch.float8_e4m3fn))
        self.register_buffer("scale", torch.tensor(0.5 + seed))
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight + self.inner.bias.float() + x @ self.stored.float() * self.scale)


def layers(count: int) -> nn.ModuleList:
    return nn.ModuleList(Layer(seed) for seed in range(count))


def run(blocks: Iterable[nn.Module]) -> Tensor:
    x = torch.linspace(-1, 1, 15).view(3, 5)
    for block in blocks:
        x = block(x)
    return x


def homes(blocks: nn.Module) -> list[int]:
    return [held.tensor.data_ptr() for held in held_tensors(blocks)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("pinned", [ALL_PINNED, 0, 2 * 1280], ids=["slabs", "staged", "half"])
@pytest.mark.parametrize("make_device", [LazyDevice, lambda: DirectBackend(CPU)], ids=["lazy", "direct"])
def test_swapped_blocks_compute_the_same_bits(count, pinned, make_device):
    blocks = layers(6)
    assert lay_out(blocks[0]).size_bytes <= 1280
    resident = run(blocks)
    chosen = [blocks[index] for index in spread(count, 6)]
    with swapping(chosen, make_device(), Slabs(), pinned) as ring:
        for _ in range(3):
            assert torch.equal(run(ring.stream(blocks)), resident)
    assert torch.equal(run(blocks), resident)


def test_a_copy_waits_until_its_slot_is_free_and_a_block_for_its_copy():
    blocks, device = layers(4), LazyDevice()
    with swapping(list(blocks), device, Slabs(), ALL_PINNED) as ring:
        for number, _ in enumerate(ring.stream(blocks)):
            device.log.append(("compute", number % 2))
        for number, _ in enumerate(ring.stream(blocks)):
            device.log.append(("compute", number % 2))
    copies = [entry for entry in device.log if entry[0] == "copy"]
    assert [slot for _, slot, _, _ in copies] == [0, 1] * 5  # each block once per pass, and two ahead at the end
    for _, slot, after, ready in copies:
        free_at = device.log.index(("record", after))
        issued_at = next(n for n, entry in enumerate(device.log) if entry[0] == "copy" and entry[3] is ready)
        used_at = next((n for n in range(issued_at, len(device.log)) if device.log[n] == ("compute", slot)), None)
        before = [n for n in range(issued_at) if device.log[n] == ("compute", slot)]
        assert all(n < free_at for n in before), "a copy may overwrite a block that still computes"
        if used_at is not None:
            assert ("wait", ready) in device.log[issued_at:used_at], "a block computes before it has arrived"


def test_the_next_block_is_on_its_way_before_this_one_computes():
    blocks, device = layers(4), LazyDevice()
    with swapping(list(blocks), device, Slabs(), ALL_PINNED) as ring:
        assert [entry[0] for entry in device.log].count("copy") == 2  # before the first pass even starts
        for number, _ in enumerate(ring.stream(blocks)):
            assert [entry[0] for entry in device.log].count("copy") == number + 2
        # The first two blocks of the next pass.
        assert [entry[0] for entry in device.log].count("copy") == 6


def test_blocks_that_have_a_slot_each_are_copied_once():
    blocks, device = layers(4), LazyDevice()
    with swapping([blocks[1], blocks[3]], device, Slabs(), ALL_PINNED) as ring:
        for _ in range(3):
            run(ring.stream(blocks))
    assert [entry[0] for entry in device.log].count("copy") == 2


@pytest.mark.parametrize("pinned", [ALL_PINNED, 0], ids=["slabs", "staged"])
def test_a_pass_may_leave_blocks_out(pinned):
    blocks, device = layers(6), LazyDevice()
    fewer = [blocks[index] for index in (0, 2, 3, 5)]
    expected = run(fewer), run(blocks)
    with swapping(list(blocks), device, Slabs(), pinned) as ring:
        for _ in range(2):
            assert torch.equal(run(ring.stream(fewer)), expected[0])
        before = len([entry for entry in device.log if entry[0] == "copy"])
        run(ring.stream(fewer))
        assert len([entry for entry in device.log if entry[0] == "copy"]) == before + 4
        assert torch.equal(run(ring.stream(blocks)), expected[1])


@pytest.mark.parametrize("pinned", [ALL_PINNED, 0], ids=["slabs", "staged"])
@pytest.mark.parametrize("failing", range(5))
def test_a_pass_that_ends_early_leaves_the_next_one_right(failing, pinned):
    blocks = layers(5)
    resident = run(blocks)
    with swapping(list(blocks), LazyDevice(), Slabs(), pinned) as ring:
        stopped = ring.stream(blocks)
        for _ in range(failing + 1):
            next(stopped)
        assert torch.equal(run(ring.stream(blocks)), resident)


def test_the_model_is_restored_when_a_run_fails():
    blocks = layers(4)
    before = [(name, value.clone()) for name, value in blocks.state_dict().items()]
    with pytest.raises(KeyboardInterrupt), swapping(list(blocks), LazyDevice(), Slabs(), 0) as ring:
        for number, _ in enumerate(ring.stream(blocks)):
            if number == 2:
                raise KeyboardInterrupt
    after = blocks.state_dict()
    assert list(after) == [name for name, _ in before]
    assert all(torch.equal(after[name].float(), value.float()) for name, value in before)
    assert all(isinstance(block.weight, nn.Parameter) for block in blocks)


def test_a_second_run_finds_its_slabs():
    blocks, slabs = layers(4), Slabs()
    with swapping(list(blocks), LazyDevice(), slabs, ALL_PINNED) as ring:
        run(ring.stream(blocks))
    first, size = homes(blocks), slabs.size_bytes
    for _ in range(10):
        with swapping(list(blocks), LazyDevice(), slabs, ALL_PINNED) as ring:
            run(ring.stream(blocks))
        assert homes(blocks) == first
        assert slabs.size_bytes == size


def test_a_slab_becomes_the_only_copy_of_loaded_weights_and_a_second_one_of_mapped_weights():
    blocks, slabs = layers(2), Slabs()
    data = bytearray(torch.arange(25.0).numpy().tobytes())
    window = torch.frombuffer(data, dtype=torch.float32).view(5, 5)
    blocks[0].weight = nn.Parameter(window, requires_grad=False)
    with swapping(list(blocks), LazyDevice(), slabs, ALL_PINNED):
        pass
    assert blocks[0].weight.data_ptr() == window.data_ptr()
    storages = {held.tensor.untyped_storage().data_ptr() for held in held_tensors(blocks[1])}
    assert len(storages) == 1  # all of it lies in the slab


def test_tensors_added_for_one_run_travel_with_their_block():
    """As the side paths of a LoRA, which are new tensors in each run."""
    blocks, slabs = layers(3), Slabs()
    sizes = []
    for scale in (1.0, 2.0, 3.0):
        for block in blocks:
            block.register_buffer("scale", torch.tensor(scale))
            block.inner.added = nn.Parameter(torch.randn(5, 4), requires_grad=False)
        resident = run(blocks)
        with swapping(list(blocks), LazyDevice(), slabs, ALL_PINNED) as ring:
            assert torch.equal(run(ring.stream(blocks)), resident)
        for block in blocks:
            del block.inner.added
        sizes.append(slabs.size_bytes)
    assert sizes[0] == sizes[1] == sizes[2]


def test_slabs_of_blocks_that_are_not_swapped_any_more_are_let_go():
    blocks, slabs = layers(4), Slabs()
    resident = run(blocks)
    for count in (4, 2):
        with swapping(list(blocks[:count]), LazyDevice(), slabs, ALL_PINNED) as ring:
            assert torch.equal(run(ring.stream(blocks)), resident)
    assert slabs.size_bytes == 2 * lay_out(blocks[0]).size_bytes


def test_every_tensor_begins_aligned():
    for block in layers(2):
        assert all(part.start % ALIGNMENT == 0 for part in lay_out(block).parts)


def test_swapped_blocks_lie_evenly_between_those_that_stay():
    assert spread(0, 4) == ()
    assert spread(2, 4) == (1, 3)
    assert spread(3, 5) == (1, 3, 4)
    assert spread(40, 40) == tuple(range(40))
    assert all(len(spread(count, 40)) == count for count in range(41))


def test_the_cap_on_pinned_memory_counts_whole_blocks():
    assert slab_blocks([100] * 4, 1000) == (0, 1, 2, 3)
    assert slab_blocks([100] * 4, 250) == (1, 3)
    assert slab_blocks([100] * 4, 99) == ()
    assert slab_blocks([], 99) == ()


@pytest.mark.parametrize(("room", "kept_bytes"), [(8, 4), (6, 0)])
def test_models_share_the_cap_on_pinned_memory_or_take_turns_in_it(room, kept_bytes):
    """Wan 2.2 has two experts of 14B: twice the cap would be nine tenths of the machine's memory."""
    first, second = layers(4), layers(4)
    resident = [run(first), run(second)]
    slabs = [Slabs(), Slabs()]
    size_bytes = lay_out(first[0]).size_bytes
    for _ in range(2):
        for model, own, expected in zip((first, second), slabs, resident):
            with swapping(list(model), LazyDevice(), own, room * size_bytes) as ring:
                assert torch.equal(run(ring.stream(model)), expected)
            assert own.size_bytes == 4 * size_bytes
    assert slabs[0].size_bytes == kept_bytes * size_bytes


def test_a_model_without_pinned_memory_takes_none_from_others():
    """The text encoder runs once per prompt, through the two buffers alone."""
    first, second = layers(4), layers(4)
    slabs, none = Slabs(), Slabs()
    with swapping(list(first), LazyDevice(), slabs, 10**6):
        pass
    kept = slabs.size_bytes
    with swapping(list(second), LazyDevice(), none, 0):
        pass
    assert none.size_bytes == 0 and slabs.size_bytes == kept > 0
