"""Strips change the memory that is needed, not the result; memory that runs out midway is survived."""

import logging

import pytest
import torch
from wan_director.common.errors import OutOfMemory
from wan_director.vae3d import VAEConfig, passes
from wan_director.vae3d.layers import ResidualBlock
from wan_director.vae3d.strips import Geometry, Rows

CONFIGS = {
    "2.1": VAEConfig(base_channels=8, residual_blocks=1),
    "2.1, two blocks": VAEConfig(base_channels=8),
    "other strides": VAEConfig(base_channels=8, residual_blocks=1, temporal_downsample=(True, True, False)),
    "twice the size": VAEConfig(base_channels=8, residual_blocks=1, enlargement=2),
    "2.2": VAEConfig(base_channels=8, latent_channels=16, residual_blocks=1, patch_size=2, level_shortcuts=True),
}
TOLERANCE = 1e-5  # of the largest value: only the order of summation differs


@pytest.fixture(scope="module", params=CONFIGS)
def vae(request, make_vae):
    return make_vae(CONFIGS[request.param])


@pytest.fixture(scope="module")
def plain_vae(make_vae):
    return make_vae(CONFIGS["2.1"])


@pytest.fixture(autouse=True)
def few_frames_at_once(monkeypatch):
    """Short clips pass the border between two feedings."""
    monkeypatch.setattr(passes, "LATENT_FRAMES_AT_ONCE", 2)


def random_latent(frames: int, height: int = 6, width: int = 2, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 16, frames, height, width, generator=torch.Generator().manual_seed(2))


def random_video(frames: int, height: int, width: int = 16) -> torch.Tensor:
    return torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def decoded(vae, latent: torch.Tensor, strips: int = 1, **options) -> torch.Tensor:
    return torch.cat(list(vae.decode_stream(latent, strips, **options)), dim=2)


def encoded(vae, video: torch.Tensor, strips: int = 1, **options) -> torch.Tensor:
    return torch.cat(list(vae.encode_stream(video, strips, **options)), dim=2)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE * expected.abs().max().item())


@pytest.mark.parametrize("strips", [2, 5])
def test_decode_in_strips_equals_whole_frames(vae, strips):
    latent = random_latent(5)
    assert_same(decoded(vae, latent, strips), decoded(vae, latent))


@pytest.mark.parametrize("strips", [2, 3])
def test_encode_in_strips_equals_whole_frames(vae, strips):
    video = random_video(17, 5 * vae.config.spatial_stride, 2 * vae.config.spatial_stride)
    assert_same(encoded(vae, video, strips), encoded(vae, video))


def test_all_strips_have_the_same_kernels_in_order(plain_vae, monkeypatch):
    """Those of a clip of 480p take half a gigabyte; strips are there to take less."""
    kept = []

    class Watched(passes.Strips):
        def run(self, *arguments, **options):
            frames = super().run(*arguments, **options)
            kept.append([[id(stream._kernels) for stream in band.streams] for band in self._bands])
            return frames

    monkeypatch.setattr(passes, "Strips", Watched)
    decoded(plain_vae, random_latent(5), 3)
    assert [len(bands) for bands in kept] == [3, 3, 0]
    assert all(band == kept[0][0] for bands in kept for band in bands)


@pytest.mark.parametrize("strips", [1, 3, 12, 100])
def test_any_number_of_strips_fits_any_height(plain_vae, strips):
    for height in (1, 7):
        latent = random_latent(3, height, batch=2)
        assert_same(decoded(plain_vae, latent, strips), decoded(plain_vae, latent))
        video = random_video(5, 8 * height)
        assert_same(encoded(plain_vae, video, strips), encoded(plain_vae, video))


def test_a_strip_too_short_a_halo_would_show(plain_vae, monkeypatch):
    """What the halo is for: with one row less of it the result changes."""
    whole = Geometry.rows

    def shorter(self, place, strip, units):
        rows = whole(self, place, strip, units)
        return Rows(rows.start, rows.end - (place == 0 and rows.end < units))

    latent = random_latent(2, 20)
    expected = decoded(plain_vae, latent)
    monkeypatch.setattr(Geometry, "rows", shorter)
    with pytest.raises((AssertionError, RuntimeError)):
        assert_same(decoded(plain_vae, latent, 2), expected)


def test_frames_come_as_without_strips(plain_vae):
    latent = random_latent(5)
    assert [piece.shape[2] for piece in plain_vae.decode_stream(latent, 2)] == [1, 4, 4, 4, 4]
    assert [piece.shape[2] for piece in plain_vae.encode_stream(random_video(17, 16), 2)] == [1] * 5


class Shortage:
    """Makes a residual block fail for want of memory, at its n-th call and while frames are `too_high`."""

    def __init__(self, monkeypatch, at_call: int, *, too_high: int = 0, widest: int = 1000):
        self.calls, self.failures = 0, 0
        forward = ResidualBlock.forward

        def failing(block, x, stream):
            self.calls += 1
            result = forward(block, x, stream)  # fails at the end: the past has gone on
            if self.calls == at_call or (self.calls > at_call and (x.shape[3] > too_high or x.shape[4] > widest)):
                self.failures += 1
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return result

        monkeypatch.setattr(ResidualBlock, "forward", failing)


def count_calls(monkeypatch, run) -> int:
    with monkeypatch.context() as patch:
        shortage = Shortage(patch, at_call=-1, too_high=1000)
        run()
    return shortage.calls


@pytest.mark.parametrize("part", [0.01, 0.13, 0.37, 0.5, 0.74, 0.99])
def test_decode_goes_on_in_strips_where_memory_ran_out(plain_vae, monkeypatch, caplog, part):
    latent = random_latent(4)
    expected = decoded(plain_vae, latent)
    calls = count_calls(monkeypatch, lambda: decoded(plain_vae, latent))
    shortage = Shortage(monkeypatch, 1 + int(part * calls), too_high=1000)
    with caplog.at_level(logging.WARNING, "wan_director"):
        found = decoded(plain_vae, latent)
    assert_same(found, expected)
    assert shortage.failures == 1
    assert [record.getMessage() for record in caplog.records] == ["Memory ran out in the VAE; it goes on in 2 strips."]


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.98])
def test_encode_goes_on_in_strips_where_memory_ran_out(plain_vae, monkeypatch, caplog, part):
    video = random_video(13, 48)
    expected = encoded(plain_vae, video)
    calls = count_calls(monkeypatch, lambda: encoded(plain_vae, video))
    Shortage(monkeypatch, 1 + int(part * calls), too_high=1000)
    with caplog.at_level(logging.WARNING, "wan_director"):
        assert_same(encoded(plain_vae, video), expected)
    assert len(caplog.records) == 1


def test_strips_are_cut_finer_until_they_fit(plain_vae, monkeypatch, caplog):
    """A third of the way memory gets scarce: only strips of a quarter of the frame fit."""
    latent = random_latent(4, 40, 1)
    expected = decoded(plain_vae, latent)
    calls = count_calls(monkeypatch, lambda: decoded(plain_vae, latent))
    shortage = Shortage(monkeypatch, calls // 3, too_high=160)
    with caplog.at_level(logging.WARNING, "wan_director"):
        assert_same(decoded(plain_vae, latent), expected)
    assert caplog.records[-1].getMessage() == "Memory ran out in the VAE; it goes on in 4 strips."
    assert shortage.failures == len(caplog.records) == 2


def test_tiles_come_after_the_thinnest_strips(plain_vae, monkeypatch, caplog):
    latent = random_latent(3, 20, 20)
    whole = decoded(plain_vae, latent)
    calls = count_calls(monkeypatch, lambda: decoded(plain_vae, latent))
    Shortage(monkeypatch, calls // 2, too_high=72, widest=64)
    with caplog.at_level(logging.WARNING, "wan_director"):
        found = decoded(plain_vae, latent)
    assert found.shape == whole.shape and found.isfinite().all()
    assert torch.equal(found[:, :, :1], whole[:, :, :1])
    assert "in tiles, which are not exact" in caplog.text


def test_without_memory_a_sentence_comes(plain_vae, monkeypatch):
    Shortage(monkeypatch, 5, too_high=0)
    with pytest.raises(OutOfMemory, match="needs more memory than is free"):
        decoded(plain_vae, random_latent(2))
    with pytest.raises(OutOfMemory, match="needs more memory than is free"):
        encoded(plain_vae, random_video(5, 48))


def test_other_errors_are_not_taken_for_a_lack_of_memory(plain_vae):
    with pytest.raises(RuntimeError, match="channels"):
        decoded(plain_vae, random_latent(2)[:, :5])


@pytest.mark.parametrize("strips", [1, 2])
def test_check_stops_between_layers(plain_vae, strips):
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoded(plain_vae, random_latent(4), strips, check=check)
    assert len(calls) == 20


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_past_of_strips_waits_in_ram_while_the_device_computes(make_vae, monkeypatch, device):
    """On a GPU it really leaves the device and comes back."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    vae, latent = make_vae(CONFIGS["2.1"]), random_latent(5, height=8)
    whole = decoded(vae, latent)
    strips = decoded(vae.to(device), latent, 3).cpu()
    vae.to("cpu")
    # Another library sums in another order, layer after layer.
    assert (strips - whole).abs().max() <= (TOLERANCE if device == "cpu" else 1e-4) * whole.abs().max()
