"""SIGMAS and LATENT between the samplers and the nodes around them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from measure import Row, same, worst
from runs import PARITY, SHIFT, blank, bridged, natively, ours, sides


def shifted(w: Any) -> Any:
    return w.one("ModelSamplingSD3", model=w.unet(), shift=SHIFT)


def custom(w: Any, sigmas: torch.Tensor, latent: dict | None = None, adds_noise: bool = True) -> dict:
    """SamplerCustom with euler: the LATENT, with its noise that is left."""
    return w.one(
        "SamplerCustom", model=shifted(w), add_noise=adds_noise, noise_seed=3, cfg=3.0, **sides(w),
        sampler=w.one("KSamplerSelect", sampler_name="euler"), sigmas=sigmas,
        latent_image=blank(w) if latent is None else latent,
    )  # fmt: skip


def by_sigmas(w: Any, make: Any) -> dict:
    """The SIGMAS of a node in both samplers."""
    sigmas = make(w)
    return same(ours(w, w.model(), sigmas=sigmas)["samples"], custom(w, sigmas)["samples"])


def refused(w: Any, make: Any) -> dict:
    ours(w, w.model(), sigmas=make(w))
    raise AssertionError("it was taken")


def basic(w: Any, scheduler: str = "simple", steps: int = 4, denoise: float = 1.0) -> torch.Tensor:
    return w.one("BasicScheduler", model=shifted(w), scheduler=scheduler, steps=steps, denoise=denoise)


def from_part(w: Any) -> dict:
    """A table that begins below 1 changes a given video; both samplers noise it first."""
    from latents import encoded

    latent, sigmas = encoded(w, "native"), basic(w, denoise=0.5)
    return same(ours(w, w.model(), latent, sigmas=sigmas)["samples"], custom(w, sigmas, latent)["samples"])


def of_bridged(w: Any) -> dict:
    """BasicScheduler looks at the native MODEL, our sampler runs it."""
    sigmas = basic(w)
    return same(ours(w, bridged(w, shifted(w)), sigmas=sigmas)["samples"], custom(w, sigmas)["samples"])


def advanced(w: Any) -> dict:
    """SamplerCustomAdvanced's denoised_output by our decoder."""
    sigmas = basic(w)
    guider = w.one("CFGGuider", model=shifted(w), cfg=3.0, **sides(w))
    out, denoised = w.call(
        "SamplerCustomAdvanced", noise=w.one("RandomNoise", noise_seed=3), guider=guider,
        sampler=w.one("KSamplerSelect", sampler_name="euler"), sigmas=sigmas, latent_image=blank(w),
    )  # fmt: skip
    expected = w.one("VAEDecode", vae=w.vae("native"), samples=denoised)
    return worst(
        same(w.one("WanDirectorDecode", vae=w.vae("ours"), latent=denoised), expected),
        same(ours(w, w.model(), sigmas=sigmas)["samples"], out["samples"]),
    )


def by_parts(w: Any, first: str, second: str) -> dict:
    """SplitSigmas: one sampler makes the first part, another goes on from its noise."""
    high, low = w.call("SplitSigmas", sigmas=basic(w), step=2)
    start = ours(w, w.model(), sigmas=high) if first == "ours" else custom(w, high)
    if second == "ours":
        made = ours(w, w.model(), start, sigmas=low, add_noise=False)
    else:
        made = custom(w, low, start, adds_noise=False)
    return same(made["samples"], custom(w, basic(w))["samples"])


def by_steps(w: Any) -> dict:
    """KSamplerAdvanced's LATENT with noise left, on to our sampler."""
    settings = {"cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "steps": 4}
    start = w.one(
        "KSamplerAdvanced", model=shifted(w), add_noise="enable", noise_seed=3, latent_image=blank(w), start_at_step=0,
        end_at_step=2, return_with_leftover_noise="enable", **settings, **sides(w),
    )  # fmt: skip
    low = w.call("SplitSigmas", sigmas=basic(w), step=2)[1]
    made = ours(w, w.model(), start, sigmas=low, add_noise=False)
    return same(made["samples"], natively(w, w.unet())["samples"])


_SIGMAS = {
    **{
        f"BasicScheduler ({name})": partial(basic, scheduler=name)
        for name in ("simple", "normal", "beta", "sgm_uniform", "karras", "exponential", "kl_optimal")
    },
    "ManualSigmas": lambda w: w.one("ManualSigmas", sigmas="1.0, 0.9, 0.5, 0.0"),
    "BetaSamplingScheduler": lambda w: w.one("BetaSamplingScheduler", model=shifted(w), steps=4, alpha=0.6, beta=0.6),
    "SplitSigmasDenoise's second part": lambda w: w.call("SplitSigmasDenoise", sigmas=basic(w, steps=8), denoise=1.0)[
        1
    ],
    "ExtendIntermediateSigmas": lambda w: w.one(
        "ExtendIntermediateSigmas", sigmas=basic(w), steps=2, start_at_sigma=-1.0, end_at_sigma=0.5, spacing="linear"
    ),
    "SetFirstSigma": lambda w: w.one("SetFirstSigma", sigmas=basic(w), sigma=0.98),
}
_REFUSED = {
    "FlipSigmas": (lambda w: w.one("FlipSigmas", sigmas=basic(w)), ("fall",)),
    "KarrasScheduler": (
        lambda w: w.one("KarrasScheduler", steps=4, sigma_max=14.6, sigma_min=0.03, rho=7.0), ("14.6",),
    ),
    "ExponentialScheduler": (
        lambda w: w.one("ExponentialScheduler", steps=4, sigma_max=14.6, sigma_min=0.03), ("14.6",),
    ),
    "AlignYourStepsScheduler": (
        lambda w: w.one("AlignYourStepsScheduler", model_type="SD1", steps=4, denoise=1.0), ("14.6",),
    ),
}  # fmt: skip

ROWS = {
    **{
        f"{name} into Wan Sampler": Row(partial(by_sigmas, make=make), PARITY, needs=() if " " in name else (name,))
        for name, make in _SIGMAS.items()
    },
    "BasicScheduler (denoise 0.5) into Wan Sampler": Row(from_part, PARITY),
    "BasicScheduler of the MODEL of Wan From Native": Row(of_bridged, PARITY),
    **{
        f"{name} into Wan Sampler": Row(partial(refused, make=make), words=words)
        for name, (make, words) in _REFUSED.items()
    },
    "SamplerCustomAdvanced into Wan Decode Video": Row(advanced, PARITY),
    **{
        f"SplitSigmas: {' then '.join(names)}": Row(partial(by_parts, first=first, second=second), PARITY)
        for names, first, second in (
            (("Wan Sampler", "SamplerCustom"), "ours", "native"),
            (("SamplerCustom", "Wan Sampler"), "native", "ours"),
            (("Wan Sampler", "Wan Sampler"), "ours", "ours"),
        )
    },
    "KSamplerAdvanced with leftover noise into Wan Sampler": Row(by_steps, PARITY),
}
