"""Sizes of the audio encoders: one frozen record for each kind."""

from __future__ import annotations

from ..common.records import record

SAMPLE_RATE = 16_000
"""Samples per second that all of them take."""
STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Of the convolutions of every wav2vec2, which no shape tells: 50 steps a second."""
WHISPER_S = 30
"""Seconds of sound that whisper takes at a time."""


@record
class SpeechConfig:
    """Everything that fixes the shape of a wav2vec2.

    Attributes:
        dim: width of its features.
        conv_dims, conv_kernels: of the convolutions that come first.
        position_kernel, position_groups: of the convolution that stands for places in time.
        conv_bias: whether the first convolutions have one.
        is_stable: the large form: all first convolutions are normed, blocks norm what they take, and the sound is
            brought to mean 0 and deviation 1. The base form norms the first convolution and what blocks give.
    """

    dim: int = 1024
    ffn_dim: int = 4096
    heads: int = 16
    layers: int = 24
    conv_dims: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    position_kernel: int = 128
    position_groups: int = 16
    conv_bias: bool = True
    is_stable: bool = True


@record
class WhisperConfig:
    """Everything that fixes the shape of whisper's encoder.

    Attributes:
        dim: width of its features.
        mels: bands of the spectrogram that it looks at.
        positions: steps in 30 seconds.
    """

    dim: int = 1280
    ffn_dim: int = 5120
    heads: int = 20
    layers: int = 32
    mels: int = 128
    positions: int = 1500


AudioEncoderConfig = SpeechConfig | WhisperConfig

WAV2VEC2_LARGE = SpeechConfig()
WAV2VEC2_BASE = SpeechConfig(768, 3072, 12, 12, conv_bias=False, is_stable=False)
WHISPER_LARGE_V3 = WhisperConfig()
