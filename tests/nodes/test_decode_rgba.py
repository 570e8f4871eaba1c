"""Wan Decode RGBA: two VAEs, one latent, frames with four channels, and the files that keep them."""

from __future__ import annotations

import logging
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import torch
import wan_director
from PIL import Image
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.vae3d import CausalVAE, VAEConfig

from ..media.test_opacity import DECODERS
from .conftest import TINY, call, load_vae, save_model

NODES = wan_director.NODE_CLASS_MAPPINGS
CONFIG = VAEConfig(base_channels=8, residual_blocks=1)

pytestmark = pytest.mark.usefixtures("inference")


@pytest.fixture
def vaes(models, tiny_host):
    """For the colours and for the transparency."""
    save_model(models / "vae" / "opacity_of_frames.safetensors", CausalVAE(CONFIG), TINY)
    return load_vae("vae.safetensors"), load_vae("opacity_of_frames.safetensors")


def latent(batch: int = 1) -> dict:
    return {"samples": torch.randn(batch, 16, 2, 6, 8, generator=torch.Generator().manual_seed(4))}


def decoded(vaes, latent: dict, opacity: str = "mean", **changes):
    inputs = {"vae": vaes[0], "alpha_vae": vaes[1], "latent": latent, "opacity": opacity}
    return NODES["WanDirectorDecodeRGBA"].execute(**inputs | changes).args


@pytest.mark.parametrize("batch", [1, 2])
def test_the_channels_are_what_each_vae_gives_alone(vaes, batch):
    colours, shown = (call("Decode", vae=vae, latent=latent(batch)) for vae in vaes)
    assert shown.std(-1).max() > 0  # the channels of a random VAE differ
    for opacity, expected in (("mean", shown.mean(-1)), ("red", shown[..., 0])):
        frames, mask = decoded(vaes, latent(batch), opacity)
        assert frames.shape == (5 * batch, 48, 64, 4)
        assert torch.equal(frames[..., :3], colours)
        assert torch.equal(frames[..., 3], expected)
        assert torch.equal(mask, 1 - expected)


def test_red_is_what_the_nodes_of_comfyuis_template_make(vaes):
    colours, shown = (call("Decode", vae=vae, latent=latent()) for vae in vaes)
    mask = CORE_NODES["ImageToMask"].execute(image=shown, channel="red").args[0]
    mask = CORE_NODES["InvertMask"].execute(mask=mask).args[0]
    joined = CORE_NODES["JoinImageWithAlpha"].execute(image=colours, alpha=mask).args[0]
    torch.testing.assert_close(decoded(vaes, latent(), "red")[0], joined, rtol=0, atol=1e-7)


def saved(host, frames: torch.Tensor, format: str) -> list:
    NODES["WanDirectorSaveVideo"].execute(images=frames, fps=8.0, filename_prefix="a/b", format=format, quality=80)
    return sorted(path for path in host.output.rglob("*") if path.is_file())


def test_saved_pictures_are_transparent(vaes, tiny_host):
    frames, _ = decoded(vaes, latent())
    files = saved(tiny_host, frames, "png frames")
    read = np.stack([np.array(Image.open(file)) for file in files])
    assert (read == (frames.numpy() * 255).round()).all()


@pytest.mark.parametrize(("format", "ending"), [("webm-vp9", ".webm"), ("mov-prores", ".mov")])
def test_saved_videos_are_transparent(vaes, tiny_host, format, ending):
    (file,) = saved(tiny_host, decoded(vaes, latent())[0], format)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *DECODERS[format], "-i", file]
    raw = subprocess.run([*command, "-pix_fmt", "rgba", "-f", "rawvideo", "-"], capture_output=True, check=True).stdout
    assert file.suffix == ending
    assert np.frombuffer(raw, np.uint8).reshape(5, 48, 64, 4)[..., 3].min() < 255


def test_a_format_without_transparency_shows_the_frames_on_black_and_says_so(vaes, tiny_host, caplog):
    frames, _ = decoded(vaes, latent())
    with caplog.at_level(logging.INFO, "wan_director"):
        saved(tiny_host, frames, "mp4-h264")
    assert "images has transparent parts; they lie over black" in caplog.text


def test_vaes_that_do_not_go_together_are_refused(vaes, models):
    save_model(models / "vae" / "larger.safetensors", CausalVAE(VAEConfig(8, residual_blocks=1, enlargement=2)), TINY)
    with pytest.raises(PairingError, match="vae decodes pictures of 64 x 48 pixels and alpha_vae of 128 x 96, which"):
        decoded(vaes, latent(), alpha_vae=load_vae("larger.safetensors"))
    with pytest.raises(PairingError, match="The latent has 16 channels, this VAE decodes 48"):
        decoded(vaes, latent() | {"downscale_ratio_spacial": 8}, alpha_vae=load_vae("wan22_vae.safetensors"))
    with pytest.raises(InvalidInputError, match="opacity"):
        decoded(vaes, latent(), "green")
