"""What lies on a native MODEL beside its weights: LoRAs and a shift, which we take, and the rest, which is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST, ModelSamplingDiscreteFlow
from comfy.weight_adapter import LoHaAdapter, LoKrAdapter, LoRAAdapter
from torch import Tensor

from ....common.errors import InvalidInputError
from ....model_loading.files.faults import naming
from ....model_loading.files.memory_checkpoint import MemoryCheckpoint

_PREFIX = "diffusion_model."
_OTHERWISE = "Take the MODEL from before that node, or sample with KSampler."
_WRAPPED = "a function around sampling or around the model"

# Attributes of a patcher that are empty unless a node put something there -> what that is, for people.
_EXTRAS = {
    "wrappers": f"{_WRAPPED} (EasyCache, TorchCompileModel, context windows and others)",
    "callbacks": "a function that is called as the model is loaded",
    "injections": "layers injected into the model (LoRA loaders with bypass)",
    "additional_models": "another model that runs beside it (multi-GPU, ControlNet)",
    "attachments": "data of another node",
    "hook_patches": "LoRA hooks",
    "forced_hooks": "LoRA hooks",
    "weight_wrapper_patches": "functions that change weights as they are used",
}
# Entries of model_options and of the transformer_options inside -> what they are, for people.
_OPTIONS = {
    "sampler_cfg_function": "a guidance of its own (RescaleCFG, CFG-Zero*, NAG and others)",
    "sampler_post_cfg_function": "a function after the guidance (Skip Layer Guidance, APG and others)",
    "sampler_pre_cfg_function": "a function before the guidance",
    "sampler_calc_cond_batch_function": "a way of its own to ask the model",
    "model_function_wrapper": _WRAPPED,
    "denoise_mask_function": "a changing noise mask (Differential Diffusion)",
    "context_handler": "context windows",
    "wrappers": _EXTRAS["wrappers"],
    "callbacks": _EXTRAS["callbacks"],
    "patches": "functions inside the blocks",
    "patches_replace": "functions in the place of blocks or of their attention",
    "optimized_attention_override": "an attention kernel; choose one in this node instead",
    "rope_options": "stretched or shifted positions",
    "easycache": "a cache of steps (EasyCache, LazyCache)",
    "torch_compile_kwargs": "a compiled model (TorchCompileModel)",
}
_HARMLESS = frozenset({"disable_cfg1_optimization"})
"""It only forbids to leave out a negative prompt that does not count."""
_SAMPLING, _DTYPE = "model_sampling", "manual_cast_dtype"
_PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}


def check_patches(patcher: ModelPatcher, name: str) -> None:
    """Refuses what lies on a MODEL and would be lost.

    Raises:
        InvalidInputError: there is something; the message says what, and its key.
    """
    options = {**patcher.model_options, **patcher.model_options.get("transformer_options", {})}
    options.pop("transformer_options", None)
    for key, value in options.items():
        if key not in _HARMLESS and _holds_something(value):
            raise _refused(name, _OPTIONS.get(key, "an option that is not known here"), key, value)
    for key, what in _EXTRAS.items():
        value = getattr(patcher, key, None)  # some came with later versions of ComfyUI
        if _holds_something(value):
            raise _refused(name, what, key, value)
    for key in patcher.object_patches:
        if key not in (_SAMPLING, _DTYPE):
            what = "a part of the model that was replaced (compiled, for example)"
            raise _refused(name, what, key, None)


def shift_of(patcher: ModelPatcher, name: str) -> float:
    """The shift of the schedules of a MODEL.

    Raises:
        InvalidInputError: it is sampled in another way than Wan's models are.
    """
    sampling = patcher.get_model_object(_SAMPLING)
    is_flow = isinstance(sampling, ModelSamplingDiscreteFlow) and isinstance(sampling, CONST)
    is_flow = is_flow and type(sampling).calculate_denoised is CONST.calculate_denoised
    scale = getattr(sampling, "noise_scale", 1.0)  # since v0.33
    if not is_flow or sampling.multiplier != 1000 or scale != 1.0:
        kinds = " and ".join(kind.__name__ for kind in type(sampling).__bases__)
        factor = f" with times up to {sampling.multiplier:g} and noise times {scale:g}" if is_flow else ""
        raise InvalidInputError(
            f"{name} is to be sampled as {kinds}{factor}, but Wan's models are made for the flow of ModelSamplingSD3, "
            "with times up to 1000. Remove the node that changes its sampling, or choose ModelSamplingSD3."
        )
    return float(sampling.shift)


def precision_of(patcher: ModelPatcher) -> str:
    """The precision that a node chose to compute in; auto without one."""
    return _PRECISIONS.get(patcher.object_patches.get(_DTYPE), "auto")


def lora_files(patcher: ModelPatcher, name: str) -> list[tuple[float, MemoryCheckpoint]]:
    """The LoRAs on a MODEL, each with its strength, in the form of files.

    What loaders put there has no name any more; what is equally strong comes into one, as long as no layer is in it
    twice.

    Raises:
        InvalidInputError: a weight is changed in a way that no LoRA has.
    """
    files: dict[tuple[float, int], dict[str, Tensor]] = {}
    for key, patches in patcher.patches.items():
        seen: dict[float, int] = {}
        for patch in patches:
            strength, tensors = _as_file(key, patch, name)
            files.setdefault((strength, seen.get(strength, 0)), {}).update(tensors)
            seen[strength] = seen.get(strength, 0) + 1
    return [
        (strength, _named(Path(f"the LoRA of strength {strength:g} on {name}"), tensors))
        for (strength, _), tensors in files.items()
    ]


def _named(path: Path, tensors: dict[str, Tensor]) -> MemoryCheckpoint:
    with naming(path):
        return MemoryCheckpoint(path, tensors)


def _as_file(key: str, patch: tuple[Any, ...], name: str) -> tuple[float, dict[str, Tensor]]:
    """One change of one weight: how strong it is, and its tensors as a LoRA file names them."""
    strength, value, of_model, offset, function = patch
    if not key.startswith(_PREFIX) or offset is not None or function is not None:
        raise _refused(name, "a change of a part of a weight", key, None)
    if of_model != 1.0 or isinstance(value, list):
        raise InvalidInputError(
            f"{name} is a merge of two models, which exists only while it is sampled. Save it with Save Model, and "
            "load that file."
        )
    tensors = _tensors(key.removeprefix(_PREFIX), value)
    if tensors is None:
        kind = getattr(value, "name", value[0] if isinstance(value, tuple) else type(value).__name__)
        raise InvalidInputError(
            f"{name} carries a change of {key} in the form '{kind}', and LoRA, DoRA, LoHa, LoKr and differences are "
            f"what can be taken along. {_OTHERWISE}"
        )
    is_set = isinstance(value, tuple) and value[0] == "set"
    return 1.0 if is_set else float(strength), tensors


def _tensors(parameter: str, value: Any) -> dict[str, Tensor] | None:
    """The tensors of a change by the names of a LoRA file; None for a form that is not taken."""
    layer, _, leaf = parameter.rpartition(".")
    if isinstance(value, tuple):
        return _difference(layer, leaf, parameter, value)
    if leaf != "weight":
        return None
    if isinstance(value, LoRAAdapter):
        up, down, alpha, core, magnitude, reshape = value.weights
        parts = {"lora_up.weight": up, "lora_down.weight": down, "dora_scale": magnitude}
        odd, rank = (core, reshape), len(down)
    elif isinstance(value, LoHaAdapter):
        first_up, first_down, alpha, second_up, second_down, *odd, magnitude = value.weights
        parts = {"hada_w1_a": first_up, "hada_w1_b": first_down, "hada_w2_a": second_up, "hada_w2_b": second_down}
        parts["dora_scale"] = magnitude
        rank = len(first_down)
    elif isinstance(value, LoKrAdapter):
        names = ("lokr_w1", "lokr_w2", "alpha", "lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b")
        *known, core, magnitude = value.weights
        parts = {**dict(zip(names, known)), "dora_scale": magnitude}
        alpha, odd, rank = parts.pop("alpha"), (core,), None
    else:
        return None
    if any(each is not None for each in odd):
        return None
    alpha = rank if alpha is None else alpha
    if alpha is not None:
        parts["alpha"] = torch.tensor(float(alpha), dtype=torch.float32)
    return {f"{layer}.{part}": tensor for part, tensor in parts.items() if tensor is not None}


def _difference(layer: str, leaf: str, parameter: str, value: tuple[Any, ...]) -> dict[str, Tensor] | None:
    """A difference that is added, or a weight that is put in the place of the model's."""
    kind, parts = ("diff", value) if len(value) == 1 else value
    if kind == "set":
        return {f"base_model.model.{parameter}": parts[0]} if leaf in ("weight", "bias") else None
    if kind != "diff" or len(parts) > 1:
        return None
    names = {"weight": f"{layer}.diff", "bias": f"{layer}.diff_b"}
    return {names.get(leaf, f"{parameter}.diff"): parts[0]}


def _holds_something(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_something, value.values()))
    return bool(len(value)) if isinstance(value, list | tuple | set) else value is not None and value is not False


def _refused(name: str, what: str, key: str, value: Any) -> InvalidInputError:
    inner = ", ".join(sorted(set(_names(value))))
    return InvalidInputError(
        f"{name} carries {what} ('{key}'{f': {inner}' if inner else ''}), and Wan Sampler has no place for it. "
        f"{_OTHERWISE}"
    )


def _names(value: Any) -> Iterator[str]:
    """The keys under which something lies in nested tables."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            deeper = list(_names(inner))
            yield from deeper or ([str(key)] if _holds_something(inner) else [])
