"""Wan From Native: the weights and LoRAs of a native MODEL in our sampler."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from measure import Row, fact, same, worst
from runs import PARITY, bridged, natively, ours

NEAR = 1e-6
"""The same weights at another place: a CPU multiplies what is not aligned in another order."""

QUANTISED = ("comfy.ops.mixed_precision_ops",)
"""Before it, ComfyUI reads such files with other numbers: without their scales, or rounded again."""


def samples(latent: dict) -> torch.Tensor:
    return latent["samples"]


def like_own_loader(w: Any, name: str) -> dict:
    """Load Wan Model on the same file; in fp32 where ComfyUI keeps what is not quantised in it."""
    precision = "fp32" if name in ("t2v_fp8", "t2v_int8", "t2v_scaled") else "auto"
    model, own = bridged(w, w.unet(name)), w.model(name, precision)
    theirs = own.residence.module.state_dict()
    for key, value in model.residence.module.state_dict().items():
        assert torch.equal(value.float(), theirs[key].float()) and value.dtype == theirs[key].dtype, key
    return same(samples(ours(w, model)), samples(ours(w, own)))


def like_ksampler(w: Any, name: str) -> dict:
    return same(samples(ours(w, bridged(w, w.unet(name)))), samples(natively(w, w.unet(name))))


def lent(w: Any, name: str, copied: bool) -> dict:
    """Whether the numbers of the matrices lie in one place; and whether the log tells of copies."""
    w.log.truncate(0)
    model = bridged(w, fresh(w, name))
    shared = model.residence.shared
    matrices = sum(held.size_bytes for held, _ in shared.places if held.tensor.ndim == 2)
    told = "0.0 MB are copies" not in w.log.getvalue()
    assert told == (shared.copied_bytes > 50_000), w.log.getvalue()
    return fact((matrices == 0) == copied, f"{matrices} bytes of matrices are shared")


def fresh(w: Any, name: str) -> Any:
    """A MODEL that no bridge has seen."""
    return type(w).unet.__wrapped__(w, name)


def every_weight_is_shared(w: Any) -> dict:
    model = bridged(w, w.unet())
    theirs = {value.data_ptr() for value in w.unet().model.diffusion_model.state_dict().values()}
    own = {value.data_ptr() for value in model.residence.module.state_dict().values()}
    return fact(own == theirs, f"{len(own - theirs)} of {len(own)} are copies")


def two_models_of_one(w: Any) -> dict:
    """A MODEL and its patched clone give two models over one module."""
    plain, shifted = w.unet(), w.one("ModelSamplingSD3", model=w.unet(), shift=3.0)
    one, other = bridged(w, plain), bridged(w, shifted)
    return fact(one.residence is other.residence, "two residences")


def weights_that_moved(w: Any) -> dict:
    """ComfyUI moved its weights to a device and back, which replaces them: the next run takes the new ones."""
    unet = fresh(w, "t2v")
    model = bridged(w, unet)
    before = samples(ours(w, model))
    for parameter in unet.model.diffusion_model.parameters():
        parameter.data = parameter.data.clone()
    after = samples(ours(w, model))
    theirs = {value.data_ptr() for value in unet.model.diffusion_model.state_dict().values()}
    own = {value.data_ptr() for value in model.residence.module.state_dict().values()}
    return worst(same(after, before), fact(own == theirs, "the old weights are still held"))


def only_one_is_loaded(w: Any) -> dict:
    """A run of ours takes the native model from the device, and leaves it when it ends."""
    import comfy.model_management as manager

    unet = w.unet()
    samples(natively(w, unet))
    loaded = [each.model for each in manager.current_loaded_models if each.model is not None]
    assert any(each.is_clone(unet) for each in loaded), "KSampler left its model loaded"
    model = bridged(w, unet)
    with model.residence.loaded():
        loaded = [each.model for each in manager.current_loaded_models if each.model is not None]
        assert not any(each.is_clone(unet) for each in loaded), "both are loaded"
        (own,) = (each for each in loaded if each.model is model.residence.module)
        assert own.loaded_size() > 0, "ours is not counted"
    return fact(own.loaded_size() == 0, f"{own.loaded_size()} bytes are still on the device")


def unloading_all(w: Any) -> dict:
    """What the server's `free` does; then both samplers as before."""
    import comfy.model_management as manager

    model, unet = bridged(w, w.unet()), w.unet()
    before = samples(ours(w, model)), samples(natively(w, unet))
    manager.unload_all_models()
    manager.cleanup_models()
    after = samples(ours(w, model)), samples(natively(w, unet))
    return worst(*(same(one, other) for one, other in zip(after, before)))


def forgotten(w: Any) -> dict:
    """Whoever drops the bridge and the MODEL has the memory back."""
    import gc
    import weakref

    unet = fresh(w, "t2v_2")
    model = bridged(w, unet)
    seen = weakref.ref(model.residence.module), weakref.ref(unet.model)
    del model, unet
    gc.collect()
    return fact(all(each() is None for each in seen), "something is still held")


def with_lora(w: Any, names: list[str], strength: float = 0.7, model: str = "t2v") -> tuple[Any, Any]:
    """A native MODEL and a model of ours, each with LoRAs by its own loader."""
    native, own = w.unet(model), w.model(model)
    for name in names:
        file = f"{name}.safetensors"
        native = w.one("LoraLoaderModelOnly", model=native, lora_name=file, strength_model=strength)
        own = w.one("WanDirectorLora", model=own, lora_name=file, strength=strength)
        strength /= 2
    return native, own


def lora_like_own_loader(w: Any, names: list[str]) -> dict:
    native, own = with_lora(w, names)
    result = samples(ours(w, bridged(w, native)))
    plain = samples(ours(w, w.model()))
    assert same(result, plain)["error"] > 1e-3, "the LoRA does nothing"
    return same(result, samples(ours(w, own)))


def lora_like_ksampler(w: Any, names: list[str]) -> dict:
    native, _ = with_lora(w, names)
    return same(samples(ours(w, bridged(w, native))), samples(natively(w, native)))


def lora_on_quantised(w: Any) -> dict:
    native = w.one("LoraLoaderModelOnly", model=w.unet("t2v_fp8"), lora_name="lora.safetensors", strength_model=1.0)
    own = w.one("WanDirectorLora", model=w.model("t2v_fp8", "auto"), lora_name="lora.safetensors", strength=1.0)
    return same(samples(ours(w, bridged(w, native))), samples(ours(w, own)))


def glora(w: Any) -> dict:
    bridged(w, w.one("LoraLoaderModelOnly", model=w.unet(), lora_name="glora.safetensors", strength_model=1.0))
    raise AssertionError("it was taken")


def native_is_left_as_it_was(w: Any) -> dict:
    """A MODEL with a LoRA that KSampler has patched in: our run, and then KSampler's again."""
    native, _ = with_lora(w, ["lora"])
    before = samples(natively(w, native))
    plain = samples(natively(w, w.unet()))
    samples(natively(w, native))
    own = same(samples(ours(w, bridged(w, w.unet()))), plain)
    assert own["error"] <= PARITY, "the LoRA of another clone has come along"
    return same(samples(natively(w, native)), before)


def two_experts(w: Any) -> dict:
    """Two bridges behind Wan Two Experts, against our own loader's."""
    made = {
        kind: w.one(
            "WanDirectorExperts", high_noise=load("i2v_high"), low_noise=load("i2v_low"), low_noise_cfg=0.0,
            high_noise_steps=2,
        )
        for kind, load in (("bridged", lambda name: bridged(w, w.unet(name))), ("own", w.model))
    }  # fmt: skip
    from conditioning import given

    latent, values = given(w, "ours", "WanImageToVideo")
    return same(*(samples(ours(w, made[kind], latent, **values)) for kind in ("bridged", "own")))


_BITS = {"t2v": 0.0, "t2v_bf16": 0.0, "t2v_fp16": 0.0, "t2v_fp8": NEAR, "t2v_int8": NEAR, "t2v_scaled": NEAR}
_FORMS = (["lora"], ["lora", "second"], ["loha"], ["lokr"], ["diff"], ["dora"])

ROWS = {
    **{f"Wan From Native of {name}: Load Wan Model": Row(
            partial(like_own_loader, name=name), limit, needs=QUANTISED if limit else ()
        ) for name, limit in _BITS.items()},
    "Wan From Native of t2v: KSampler": Row(partial(like_ksampler, name="t2v"), PARITY),
    "Wan From Native: the weights lie in one place": Row(every_weight_is_shared),
    **{
        f"Wan From Native of {name}: matrices {'copied, and said so' if copied else 'in one place'}": Row(
            partial(lent, name=name, copied=copied)
        )
        for name, copied in (
            ("t2v_bf16", False), ("t2v_fp8", False), ("t2v_int8", False), ("t2v_scaled", False), ("t2v_fp16", True),
        )
    },
    "Wan From Native: clones share one module": Row(two_models_of_one),
    "Wan From Native: weights that ComfyUI moved": Row(weights_that_moved),
    "Wan From Native: only one of both is loaded": Row(only_one_is_loaded),
    "Wan From Native: unload all models": Row(unloading_all),
    "Wan From Native: dropped": Row(forgotten),
    "Wan From Native into Wan Two Experts": Row(two_experts),
    **{
        f"Load LoRA ({' + '.join(names)}) into Wan From Native: Wan LoRA": Row(
            partial(lora_like_own_loader, names=names)
        )
        for names in _FORMS
    },
    **{
        f"Load LoRA ({' + '.join(names)}) into Wan From Native: KSampler": Row(
            partial(lora_like_ksampler, names=names), PARITY
        )
        for names in _FORMS[:-1]
    },
    "Load LoRA on fp8 into Wan From Native: Wan LoRA": Row(lora_on_quantised, NEAR, needs=QUANTISED),
    "KSampler before and after a run of ours": Row(native_is_left_as_it_was),
    "Load LoRA (GLoRA) into Wan From Native": Row(glora, words=("'glora'", "LoKr", "KSampler")),
}  # fmt: skip
