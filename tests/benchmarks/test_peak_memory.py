"""The memory tracker on cases whose peak is known by counting."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn import Linear
from wan_director.benchmarks.peak_memory import PeakMemory, peak_bytes

N = 1000
KB = 4 * N  # bytes of a float32 tensor of N values


@pytest.fixture
def x():
    return torch.empty(N, device="meta")


def test_inputs_and_views_do_not_count(x):
    assert peak_bytes(lambda: x.view(10, 100).transpose(0, 1)[2:5]) == 0


def test_in_place_operations_add_nothing(x):
    assert peak_bytes(lambda: x.add_(1).mul_(2).relu_()) == 0
    assert peak_bytes(lambda: (x + 1).mul_(2)) == KB


def test_a_chain_holds_two_tensors_at_a_time(x):
    def chain():
        y = x + 1
        for _ in range(5):
            y = y * 2  # the old one lives until the new one is bound
        return y

    assert peak_bytes(chain) == 2 * KB


def test_freed_tensors_make_room(x):
    def freeing():
        y = x + 1
        z = y * 2
        del y
        return z - 1

    def keeping():
        y = x + 1
        z = y * 2
        return y, z - 1

    assert peak_bytes(freeing) == 2 * KB
    assert peak_bytes(keeping) == 3 * KB


def test_a_view_keeps_its_whole_storage_alive(x):
    def narrow():
        part = (x + 1)[:10]
        return part, x * 2

    assert peak_bytes(narrow) == 2 * KB


def test_dtype_and_cat_count_their_bytes(x):
    assert peak_bytes(lambda: x.bfloat16()) == KB // 2
    assert peak_bytes(lambda: torch.cat([x, x, x.double().float()])) == 3 * KB + KB
    assert peak_bytes(lambda: x.double().float()) == 2 * KB + KB


def test_a_linear_layer_counts_its_output_alone():
    layer = Linear(30, 50, device="meta")
    assert peak_bytes(lambda: layer(torch.empty(7, 30, device="meta"))) == 4 * (7 * 30 + 7 * 50)


def test_attention_counts_its_output_and_never_the_matrix():
    q = torch.empty(1, 4, 4096, 16, device="meta")
    k, v = (torch.empty(1, 4, 512, 16, device="meta") for _ in range(2))
    assert peak_bytes(lambda: F.scaled_dot_product_attention(q, k, v)) == 4 * q.numel()
    # The kernels lay their output out as [B, L, N, D], so that merging the heads makes no copy.
    merged = peak_bytes(lambda: F.scaled_dot_product_attention(query=q, key=k, value=v).transpose(1, 2).flatten(2))
    assert merged == 4 * q.numel()


def test_live_bytes_return_to_zero(x):
    with PeakMemory() as tracker:
        y = x + 1
        assert tracker.live_bytes == KB
        y = None
        assert y is None and tracker.live_bytes == 0
    assert tracker.peak_bytes == KB


def test_real_tensors_are_counted_alike():
    def run(device):
        x = torch.ones(N, device=device)
        y = torch.exp(x) + x
        return y.sum() + x.cumsum(0).max()

    assert peak_bytes(lambda: run("cpu")) == peak_bytes(lambda: run("meta"))
