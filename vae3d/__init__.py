"""The causal video autoencoder: video to latent and back."""

from .config import LIGHT_WAN_2_1_VAE, WAN_2_1_VAE, WAN_2_2_VAE, VAEConfig
from .tiny import TinyDecoder, TinyDecoderConfig
from .vae import CausalVAE

__all__ = [
    "LIGHT_WAN_2_1_VAE",
    "WAN_2_1_VAE",
    "WAN_2_2_VAE",
    "CausalVAE",
    "TinyDecoder",
    "TinyDecoderConfig",
    "VAEConfig",
]
