"""What is compared: each part of the pack beside the same part of diffusers or transformers, on random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from wan_director.common.errors import MissingPackageError
from wan_director.common.shapes import VideoShape, latent_frames
from wan_director.dit.config import DiTConfig
from wan_director.dit.execution import Execution
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT
from wan_director.text_encoder.umt5 import UMT5_XXL, UMT5Config, UMT5Encoder
from wan_director.vae3d import WAN_2_1_VAE, CausalVAE
from wan_director.vae3d.strips import Shelf

STRIDE = 8  # pixels per latent pixel
PADDED_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Contest:
    """Two runs of the same work; each call does the whole of it."""

    ours: Callable[[], object]
    peer: Callable[[], object]
    ours_beside_shelf: Callable[[Shelf], object] | None = None
    """As `ours`, with a shelf for what may wait outside the device."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and in what precision a contest runs; device "meta" makes models without memory."""

    device: str
    dtype: torch.dtype

    def randn(self, *shape: int) -> Tensor:
        """Standard normal values of `shape` at this place."""
        return torch.randn(shape, device=self.device, dtype=self.dtype)

    def settle(self, module: nn.Module) -> nn.Module:
        """The module in this precision, ready for inference."""
        return module.to(self.dtype).eval().requires_grad_(False)


def check_peers() -> None:
    """Refuses to start without the packages that are compared with.

    Raises:
        MissingPackageError: one of them is not installed.
    """
    try:
        import diffusers  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"{error.name} is not installed, and the benchmarks compare with it. Install it with "
            "`pip install diffusers transformers`."
        ) from error


def dit(config: DiTConfig, video: VideoShape, place: Place) -> Contest:
    """One forward of the transformer on a clip of `video` size."""
    from diffusers import WanTransformer3DModel

    with torch.device(place.device):
        ours = place.settle(WanDiT(config))
        model = WanTransformer3DModel(
            num_attention_heads=config.heads,
            attention_head_dim=config.head_dim,
            in_channels=config.in_channels,
            out_channels=config.out_channels,
            text_dim=config.text_dim,
            freq_dim=config.freq_dim,
            ffn_dim=config.ffn_dim,
            num_layers=config.layers,
            eps=config.eps,
        )
        peer = _settle_like_from_pretrained(model, place)
        latent = place.randn(1, config.in_channels, *_latent_size(video))
        text = place.randn(1, config.text_tokens, config.text_dim)
        timestep = torch.full((1,), 500.0)
    inputs = DitInputs(latent=latent, timestep=timestep, text=text)
    execution = Execution(may_overwrite=True)
    return Contest(lambda: ours(inputs, execution), lambda: peer(latent, timestep, text, return_dict=False))


def vae_decode(video: VideoShape, place: Place) -> Contest:
    """A latent decoded to a clip in one tensor."""
    ours, peer = _autoencoders(place)
    latent = place.randn(1, WAN_2_1_VAE.latent_channels, *_latent_size(video))
    return Contest(lambda: ours.decode(latent), lambda: peer.decode(latent, return_dict=False))


def vae_decode_stream(video: VideoShape, place: Place) -> Contest:
    """A latent decoded to a clip whose frames are handed on as they are done, as the decode node does."""
    ours, peer = _autoencoders(place)
    latent = place.randn(1, WAN_2_1_VAE.latent_channels, *_latent_size(video))
    return Contest(lambda: _drain(ours.decode_stream(latent)), lambda: peer.decode(latent, return_dict=False))


def vae_decode_strips(video: VideoShape, strips: int, place: Place) -> Contest:
    """A latent decoded in strips, with the past of those that wait on a shelf, beside the peer's plain decoding."""
    ours, peer = _autoencoders(place)
    latent = place.randn(1, WAN_2_1_VAE.latent_channels, *_latent_size(video))

    def decode(shelf: Shelf) -> None:
        _drain(ours.decode_stream(latent, strips, shelf=shelf))

    return Contest(lambda: decode(Shelf()), lambda: peer.decode(latent, return_dict=False), decode)


def vae_encode_strips(video: VideoShape, strips: int, place: Place) -> Contest:
    """A clip encoded in strips; see `vae_decode_strips`."""
    ours, peer = _autoencoders(place)
    clip = place.randn(1, 3, *video).clamp(-1, 1)

    def encode(shelf: Shelf) -> None:
        _drain(ours.encode_stream(clip, strips, shelf=shelf))

    return Contest(lambda: encode(Shelf()), lambda: peer.encode(clip).latent_dist.mode(), encode)


def vae_encode(video: VideoShape, place: Place) -> Contest:
    """A clip encoded to the mean of its latent."""
    ours, peer = _autoencoders(place)
    clip = place.randn(1, 3, *video).clamp(-1, 1)
    return Contest(lambda: ours.encode(clip), lambda: peer.encode(clip).latent_dist.mode())


def text_encoder(tokens: int, layers: int, place: Place) -> Contest:
    """A prompt of `tokens` tokens: ours as it is, transformers' padded to 512 with a mask."""
    ours, peer = _text_encoders(layers, place)
    prompt = _prompt(tokens, place)
    hidden = torch.zeros(PADDED_TOKENS, device=place.device, dtype=place.dtype)
    hidden[tokens:] = torch.finfo(place.dtype).min
    # A ready-made additive mask: making it from a mask of ones and zeros reads values, which meta tensors have not.
    mask = hidden.expand(1, 1, PADDED_TOKENS, PADDED_TOKENS)
    return Contest(lambda: ours(prompt.ids), lambda: peer(input_ids=prompt.padded_ids, attention_mask=mask))


def text_encoder_padding(tokens: int, layers: int, place: Place) -> Contest:
    """A prompt of `tokens` tokens by our own encoder: as it is, and padded to 512 with a mask."""
    ours, _ = _text_encoders(layers, place)
    prompt = _prompt(tokens, place)
    return Contest(lambda: ours(prompt.ids), lambda: ours(prompt.padded_ids, prompt.mask))


class _Prompt(NamedTuple):
    ids: Tensor  # [1, tokens]
    padded_ids: Tensor  # [1, 512]
    mask: Tensor  # [1, 512], true for the tokens of the prompt


def _prompt(tokens: int, place: Place) -> _Prompt:
    padded = torch.arange(PADDED_TOKENS, device=place.device)[None]
    return _Prompt(padded[:, :tokens], padded, padded < tokens)


def _settle_like_from_pretrained(model: nn.Module, place: Place) -> nn.Module:
    """As diffusers loads a model: in one precision, but for the parts that its class lists for float32."""
    kept = set(model._keep_in_fp32_modules or ())
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        tensor.data = tensor.data.to(torch.float32 if kept & set(name.split(".")) else place.dtype)
    return model.eval().requires_grad_(False)


def _autoencoders(place: Place) -> tuple[CausalVAE, nn.Module]:
    from diffusers import AutoencoderKLWan

    with torch.device(place.device):
        return place.settle(CausalVAE(WAN_2_1_VAE)), _settle_like_from_pretrained(AutoencoderKLWan(), place)


def _text_encoders(layers: int, place: Place) -> tuple[UMT5Encoder, nn.Module]:
    """Encoders of the true width with `layers` layers and a small vocabulary: looking up rows costs nothing."""
    from transformers import UMT5Config as PeerConfig
    from transformers import UMT5EncoderModel

    config: UMT5Config = replace(UMT5_XXL, layers=layers, vocab=PADDED_TOKENS)
    peer_config = PeerConfig(
        vocab_size=config.vocab,
        d_model=config.dim,
        d_kv=config.attention_dim // config.heads,
        d_ff=config.ffn_dim,
        num_heads=config.heads,
        num_layers=config.layers,
        feed_forward_proj="gated-gelu",
    )
    with torch.device(place.device):
        return place.settle(UMT5Encoder(config)), place.settle(UMT5EncoderModel(peer_config))


def _latent_size(video: VideoShape) -> tuple[int, int, int]:
    return latent_frames(video.frames), video.height // STRIDE, video.width // STRIDE


def _drain(chunks: Iterable[Tensor]) -> None:
    for chunk in chunks:
        del chunk
