"""Streaming does not change what is computed, and leaves nothing behind."""

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.vae3d import VAEConfig
from wan_director.vae3d.stream import FrameStream

CONFIG = VAEConfig(base_channels=8, residual_blocks=1)
TOLERANCE = 5e-6  # of the largest value: only the order of summation differs


@pytest.fixture(scope="module")
def vae(make_vae):
    return make_vae(CONFIG)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE * expected.abs().max().item())


def random_video(frames: int, height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def random_latent(frames: int, height: int = 2, width: int = 3) -> torch.Tensor:
    return torch.randn(1, 16, frames, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("frames", [1, 5, 17])
def test_chunked_encode_equals_whole_clip(vae, frames):
    video = random_video(frames)
    mean, log_variance = vae.encode_distribution(video)
    whole_mean, whole_log_variance = vae.encode_distribution(video, whole=True)
    assert_same(mean, whole_mean)
    assert_same(log_variance, whole_log_variance)
    assert torch.equal(vae.encode(video), mean)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_chunked_decode_equals_whole_clip(vae, frames):
    latent = random_latent(frames)
    assert_same(vae.decode(latent), vae.decode_whole(latent))


@pytest.mark.parametrize("chunks", [(17,), (1, 16), (5, 12), (1, 8, 8), (9, 4, 4)], ids=str)
def test_encoder_gives_the_same_for_any_cut(vae, chunks):
    video = random_video(17)
    stream = FrameStream()
    pieces = [vae.encoder(chunk, stream) for chunk in video.split(chunks, dim=2)]
    assert_same(torch.cat(pieces, dim=2), vae.encoder(video, FrameStream()))


@pytest.mark.parametrize("chunks", [(5,), (1, 4), (2, 3), (3, 1, 1), (1, 1, 3)], ids=str)
def test_decoder_gives_the_same_for_any_cut(vae, chunks):
    latent = random_latent(5)
    stream = FrameStream()
    pieces = [vae.decoder(chunk, stream) for chunk in latent.split(chunks, dim=2)]
    assert_same(torch.cat(pieces, dim=2), vae.decoder(latent, FrameStream()))


def test_decode_stream_gives_one_frame_then_four_each_time(vae):
    latent = random_latent(4)
    pieces = list(vae.decode_stream(latent))
    assert [piece.shape[2] for piece in pieces] == [1, 4, 4, 4]
    assert torch.equal(torch.cat(pieces, dim=2), vae.decode(latent))


def test_decode_stream_gives_frames_before_it_needs_the_next_latent(vae):
    """The first frames do not depend on what comes after them."""
    latent = random_latent(3)
    changed = latent.clone()
    changed[:, :, 2] = 0
    pieces, changed_pieces = list(vae.decode_stream(latent)), list(vae.decode_stream(changed))
    assert torch.equal(pieces[0], changed_pieces[0])
    assert torch.equal(pieces[1], changed_pieces[1])
    assert not torch.equal(pieces[2], changed_pieces[2])


def test_pieces_given_out_are_not_written_to_later(vae):
    pieces, copies = [], []
    for piece in vae.decode_stream(random_latent(3)):
        pieces.append(piece)
        copies.append(piece.clone())
    assert all(torch.equal(piece, copy) for piece, copy in zip(pieces, copies, strict=True))


def test_81_frames_go_through_both_ways(vae):
    latent = vae.encode(random_video(81, 16, 16))
    assert latent.shape == (1, 16, 21, 2, 2)
    assert vae.decode(latent).shape == (1, 3, 81, 16, 16)


def test_one_run_leaves_nothing_for_the_next(vae):
    """Bitwise: a run after another clip, an abandoned stream or an error equals the first run."""
    video, latent = random_video(5), random_latent(2)
    encoded, decoded = vae.encode(video), vae.decode(latent)
    next(vae.decode_stream(random_latent(3, 4, 4)))
    vae.encode(random_video(9, 24, 8))
    with pytest.raises(RuntimeError):
        vae.decode(latent[:, :5])
    assert torch.equal(vae.encode(video), encoded)
    assert torch.equal(vae.decode(latent), decoded)


def test_two_streams_of_one_model_do_not_meet(vae):
    first, second = random_latent(3), random_latent(3).flip(2)
    pairs = list(zip(vae.decode_stream(first), vae.decode_stream(second), strict=True))
    assert torch.equal(torch.cat([a for a, _ in pairs], dim=2), vae.decode(first))
    assert torch.equal(torch.cat([b for _, b in pairs], dim=2), vae.decode(second))


def test_inputs_are_left_as_they_were(vae):
    video, latent = random_video(5), random_latent(2)
    video_copy, latent_copy = video.clone(), latent.clone()
    vae.encode(video)
    vae.decode(latent)
    vae.decode_whole(latent)
    assert torch.equal(video, video_copy)
    assert torch.equal(latent, latent_copy)


def test_gradients_do_not_change_the_result_and_reach_every_weight(make_vae):
    vae = make_vae(CONFIG).requires_grad_(True)
    video, latent = random_video(9), random_latent(3)
    with torch.no_grad():
        plain = vae.encode_distribution(video, whole=True)[0], vae.decode_whole(latent)
    mean, log_variance = vae.encode_distribution(video, whole=True)
    assert_same(mean.detach(), plain[0])
    assert_same(vae.decode_whole(latent).detach(), plain[1])

    sample = mean + log_variance.mul(0.5).exp() * torch.randn_like(mean)
    vae.decode_whole(sample).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in vae.parameters())


def test_streamed_and_whole_gradients_are_the_same(make_vae):
    vae = make_vae(CONFIG).requires_grad_(True)
    latent = random_latent(3)
    gradients = []
    for decode in (vae.decode, vae.decode_whole):
        vae.zero_grad()
        decode(latent).square().mean().backward()
        gradients.append(vae.decoder.conv1.weight.grad.clone())
    assert_same(*gradients)


def test_encode_refuses_a_clip_that_is_not_one_plus_four_k(vae):
    with pytest.raises(InvalidInputError, match="1 \\+ 4k frames, got 6. Use 5 or 9."):
        vae.encode(random_video(6))


def test_encode_refuses_a_size_that_is_not_a_multiple_of_the_stride(vae):
    with pytest.raises(InvalidInputError, match="multiples of 8, got 24 x 20. Crop or resize it to 24 x 16."):
        vae.encode(random_video(1, height=20, width=24))


@pytest.mark.parametrize(("device", "times"), [("cpu", 1), ("meta", 3)])
def test_a_pass_puts_a_kernel_in_order_once_on_a_cpu(make_vae, device, times):
    """Elsewhere it would take memory that is short, to spare a copy that costs nothing."""
    layer = make_vae(CONFIG).decoder.conv1.to(device)
    stream, made = FrameStream(), []

    def make(weight: torch.Tensor) -> torch.Tensor:
        made.append(1)
        return weight.flatten()

    for each in (stream, stream.copy(), stream.copy().copy()):
        kernel = each.kernel(layer, make)
        assert torch.equal(kernel, layer.weight.flatten()) if device == "cpu" else kernel.is_meta
    assert len(made) == times
    if device == "cpu":
        with torch.no_grad():
            layer.weight.add_(1)
        assert torch.equal(FrameStream().kernel(layer, torch.flatten), layer.weight.flatten())
