"""Wan From Native: what else lies on a MODEL, by ComfyUI's own nodes that put it there."""

from __future__ import annotations

from functools import partial
from typing import Any

from measure import Row, fact
from runs import bridged


def patched(w: Any, node: str, more: dict[str, Any]) -> dict:
    """A MODEL behind a node, in our sampler."""
    bridged(w, w.one(node, model=w.unet(), **more))
    raise AssertionError("it was taken")


def merged(w: Any) -> dict:
    bridged(w, w.one("ModelMergeSimple", model1=w.unet(), model2=w.unet("t2v_2"), ratio=0.5))
    raise AssertionError("it was taken")


def shift(w: Any, value: float | None) -> dict:
    model = w.unet() if value is None else w.one("ModelSamplingSD3", model=w.unet(), shift=value)
    found = w.call("WanDirectorFromNative", model=model, attention="sdpa")[1]
    return fact(found == (8.0 if value is None else value), f"{found}")


def no_model(w: Any, value: Any) -> dict:
    bridged(w, value)
    raise AssertionError("it was taken")


def compute_dtype(w: Any) -> dict:
    import torch

    model = bridged(w, w.one("ModelComputeDtype", model=w.unet(), dtype="bf16"))
    return fact(model.dtype == torch.bfloat16, f"{model.dtype}")


_GUIDANCE = {"double_layers": "0", "single_layers": "0", "scale": 3.0, "start_percent": 0.0, "end_percent": 1.0}
_WINDOWS = {"context_schedule": "standard_static", "fuse_method": "pyramid"}
_REFUSED = {
    "SkipLayerGuidanceDiT": ({**_GUIDANCE, "rescaling_scale": 0.0}, "sampler_post_cfg_function"),
    "SkipLayerGuidanceDiTSimple": (
        {"double_layers": "0", "single_layers": "0", "start_percent": 0.0, "end_percent": 1.0},
        "sampler_calc_cond_batch_function",
    ),
    "CFGZeroStar": ({}, "sampler_post_cfg_function"),
    "CFGNorm": ({"strength": 1.0}, "sampler_post_cfg_function"),
    "RescaleCFG": ({"multiplier": 0.7}, "sampler_cfg_function"),
    "NAGuidance": ({}, "patch"),
    "APG": ({}, "sampler_pre_cfg_function"),
    "EasyCache": ({}, "easycache"),
    "LazyCache": ({}, "easycache"),
    "ContextWindowsManual": (_WINDOWS, "context"),
    "WanContextWindowsManual": (_WINDOWS, "context"),
    "ScaleROPE": ({"scale_x": 2.0}, "rope_options"),
    "DifferentialDiffusion": ({}, "denoise_mask_function"),
    "TorchCompileModel": ({"backend": "inductor"}, "torch_compile_kwargs"),
    "ModelSamplingAuraFlow": ({"shift": 1.7}, "ModelSamplingDiscreteFlow"),
    "ModelSamplingContinuousEDM": ({"sampling": "v_prediction", "sigma_max": 120.0, "sigma_min": 0.002}, "sampled as"),
    "FreSca": ({}, "sampler_pre_cfg_function"),
    "Mahiro": ({}, "sampler_post_cfg_function"),
    "TCFG": ({}, "sampler_pre_cfg_function"),
    "Epsilon Scaling": ({}, "sampler_post_cfg_function"),
    "RenormCFG": ({}, "sampler_cfg_function"),
}

ROWS = {
    **{
        f"{node} before Wan From Native": Row(partial(patched, node=node, more=more), words=(key,), needs=(node,))
        for node, (more, key) in _REFUSED.items()
    },
    "LoraLoaderBypassModelOnly before Wan From Native": Row(
        partial(
            patched, node="LoraLoaderBypassModelOnly", more={"lora_name": "lora.safetensors", "strength_model": 1.0}
        ),
        words=("injections", "bypass"),
        needs=("LoraLoaderBypassModelOnly",),
    ),
    "ModelMergeSimple before Wan From Native": Row(merged, words=("merge of two models", "Save Model")),
    "ModelSamplingSD3 before Wan From Native: its shift comes out": Row(partial(shift, value=3.0)),
    "no ModelSamplingSD3 before Wan From Native: shift 8 comes out": Row(partial(shift, value=None)),
    "ModelComputeDtype before Wan From Native": Row(compute_dtype, needs=("ModelComputeDtype",)),
    "nothing into Wan From Native": Row(partial(no_model, value=None), words=("got nothing",)),
    "a text into Wan From Native": Row(partial(no_model, value="t2v"), words=("got a text", "Load Diffusion Model")),
}
