"""Sound at another rate: every sample from its neighbours, by a windowed sinc."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ZEROS = 6
"""Of the sinc on either side of a sample."""
ROLLOFF = 0.99
"""Of the lower of both rates: what lies above half of that is left out."""
_NUMBERS_AT_ONCE = 2**22


def resampled(samples: Tensor, rate: int, wanted: int) -> Tensor:
    """samples [C, n], float32, `rate` a second -> [C, ceil(n * wanted / rate)].

    Source: Julius O. Smith, "Digital audio resampling"; numbers and window (Hann) are those of torchaudio 2.11,
        functional.resample.
    """
    if rate == wanted:
        return samples
    common = math.gcd(rate, wanted)
    step, phases = rate // common, wanted // common  # so many samples become so many
    cutoff = min(step, phases) * ROLLOFF
    reach = math.ceil(ZEROS * step / cutoff)
    phase = torch.arange(phases, dtype=torch.float64)
    first = torch.arange(phases) * step // phases  # the sample at each new one, or the last before it
    near = first[:, None] + torch.arange(-reach, reach + 2)
    distance = ((near / step - phase[:, None] / phases) * cutoff).clamp(-ZEROS, ZEROS)
    weights = torch.sinc(distance) * (distance * math.pi / (2 * ZEROS)).cos().square() * (cutoff / step)
    weights, near = weights.float(), near + reach
    span = int(near.max()) + 1
    periods = -(-samples.shape[-1] // step)
    padded = F.pad(samples, (reach, span + periods * step - reach - samples.shape[-1]))
    around = padded.unfold(-1, span, step)[:, :periods]  # [C, periods, span]
    run = max(1, _NUMBERS_AT_ONCE // near.numel())
    parts = [(part[..., near] * weights).sum(-1).flatten(1) for part in around.split(run, dim=1)]
    return torch.cat(parts, dim=1)[:, : math.ceil(samples.shape[-1] * wanted / rate)]
