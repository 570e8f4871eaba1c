"""A ComfyUI in this process, with this pack and small models: what the rows of the interoperability table run in.

Run by ComfyUI's own Python as `python world.py PACK COMFYUI FOLDER`; see `test_comfyui_interoperability.py`. It prints
one JSON table: name of a row -> {"error": the largest relative difference}, {"sentence": how it was refused} or
{"failed": a traceback}.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
import inspect
import io as text_io
import json
import logging
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

FAMILIES = ("weights", "patches", "text", "latents", "pictures", "conditioning", "sampling", "video")
"""The modules beside this one that have a table `ROWS`: name -> a function of a `World`."""


class World:
    """The nodes of both sides by their ids, and the models of both, each loaded once."""

    def __init__(self, pack: ModuleType, native: dict[str, type], folder: Path, log: text_io.StringIO) -> None:
        self.pack = pack
        self.folder = folder
        self.log = log
        self._classes = {**native, **pack.NODE_CLASS_MAPPINGS}

    def has(self, name: str) -> bool:
        """Whether this ComfyUI has a node, or something of its modules."""
        module, dot, attribute = name.rpartition(".")
        return hasattr(importlib.import_module(module), attribute) if dot else name in self._classes

    def call(self, name: str, **inputs: Any) -> tuple[Any, ...]:
        """What a node gives, with the defaults of widgets that are not named."""
        node = self._classes[name]
        known = node.INPUT_TYPES()
        given = {}
        for group in ("required", "optional"):
            for key, (kind, *options) in known.get(group, {}).items():
                if key not in inputs and group == "required":
                    default = options[0].get("default") if options else None
                    given[key] = kind[0] if default is None and isinstance(kind, list) else default
        given |= inputs
        if hasattr(node, "define_schema"):
            node = node.PREPARE_CLASS_CLONE(None) if hasattr(node, "PREPARE_CLASS_CLONE") else node
            result = node.execute(**given)
        else:
            result = getattr(node(), node.FUNCTION)(**given)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        args = getattr(result, "args", None)
        if args is not None:
            return tuple(args)
        return tuple(result["result"]) if isinstance(result, dict) and "result" in result else tuple(result or ())

    def one(self, name: str, **inputs: Any) -> Any:
        """The first output of a node."""
        return self.call(name, **inputs)[0]

    def own(self, module: str) -> ModuleType:
        """A module of the pack."""
        return importlib.import_module(f"{self.pack.__name__}.{module}")

    # Models: "ours" by our loaders, "native" by ComfyUI's, of the same files.

    @functools.cache  # noqa: B019  (a process has one world)
    def unet(self, name: str = "t2v") -> Any:
        """A native MODEL. On a CPU ComfyUI keeps weights in fp32, unless told to keep them in 16 bits."""
        from comfy.cli_args import args

        args.bf16_unet, args.fp16_unet = name.endswith("bf16"), name.endswith("fp16")
        try:
            return self.one("UNETLoader", unet_name=f"{name}.safetensors", weight_dtype="default")
        finally:
            args.bf16_unet = args.fp16_unet = False

    @functools.cache  # noqa: B019
    def model(self, name: str = "t2v", precision: str = "fp32") -> Any:
        return self.one("WanDirectorLoadModel", model_name=f"{name}.safetensors", precision=precision, attention="sdpa")

    @functools.cache  # noqa: B019
    def vae(self, side: str, name: str = "vae") -> Any:
        file = f"{name}.safetensors"
        if side == "native":
            return self.one("VAELoader", vae_name=file)
        return self.one("WanDirectorLoadVAE", vae_name=file, precision="fp32")

    @functools.cache  # noqa: B019
    def clip(self, side: str) -> Any:
        """The text encoder. ComfyUI's has one size only, so that a small one is built from its parts."""
        if side == "ours":
            return self.one(
                "WanDirectorLoadTextEncoder", text_encoder_name="text.safetensors", precision="fp32", device="cpu"
            )
        import comfy.sd
        import comfy.text_encoders.wan as wan
        import comfy.utils

        _keep_fp32()
        weights = comfy.utils.load_torch_file(str(self.folder / "models" / "text_encoders" / "text.safetensors"))
        sizes = json.loads((self.folder / "text_sizes.json").read_text())

        class Target:
            params: dict = {}
            clip = wan.te()
            tokenizer = wan.WanT5Tokenizer

        options = {"umt5xxl_model_config": sizes}
        tokens = {"spiece_model": weights.pop("spiece_model")}
        made = comfy.sd.CLIP(Target, tokenizer_data=tokens, model_options=options)
        missing, unexpected = made.load_sd(weights)
        assert not unexpected, unexpected
        return made

    @functools.cache  # noqa: B019
    def clip_vision(self, side: str) -> Any:
        if side == "ours":
            return self.one("WanDirectorLoadClipVision", clip_vision_name="clip_vision.safetensors")
        import comfy.clip_vision
        import comfy.utils

        _keep_fp32()
        made = comfy.clip_vision.ClipVisionModel(str(self.folder / "clip_sizes.json"))
        made.load_sd(
            comfy.utils.load_torch_file(str(self.folder / "models" / "clip_vision" / "clip_vision.safetensors"))
        )
        return made


def _keep_fp32() -> None:
    """ComfyUI keeps text and picture encoders in fp16 otherwise, also on a CPU."""
    from comfy.cli_args import args

    args.fp32_text_enc = True


def boot(pack_folder: str, comfyui: str, folder: str) -> World:
    """ComfyUI with its nodes and this pack, on the CPU, with the models of `folder`."""
    sys.argv = ["main.py", "--cpu", f"--base-directory={folder}"]
    sys.path.insert(0, comfyui)
    import comfy.options

    comfy.options.enable_args_parsing()
    log = text_io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    importlib.import_module("utils.extra_config")  # first, as in main.py: other folders have a `utils`, too
    import nodes

    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    spec = importlib.util.spec_from_file_location("pack", pack_folder + "/__init__.py")
    assert spec is not None and spec.loader is not None
    pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
    pack.__path__ = [pack_folder]
    spec.loader.exec_module(pack)
    return World(pack, nodes.NODE_CLASS_MAPPINGS, Path(folder), log)


def outcome(world: World, row: Any) -> dict[str, Any]:
    """What became of a row."""
    refusal = world.own("common.errors").WanDirectorError
    lacking = [name for name in row.needs if not world.has(name)]
    if lacking:
        return {"lacking": lacking}
    try:
        return row.run(world)
    except refusal as error:
        return {"sentence": str(error)}
    except Exception:
        return {"failed": traceback.format_exc()}


def main() -> None:
    import torch

    only = sys.argv[4:]
    world = boot(*sys.argv[1:4])
    here = Path(__file__).parent
    sys.path.insert(0, str(here))
    torch.manual_seed(0)
    families = [importlib.import_module(name) for name in FAMILIES if (here / f"{name}.py").exists()]
    rows = {name: row for family in families for name, row in family.ROWS.items()}
    wanted = [name for name in rows if not only or any(part in name for part in only)]
    with torch.inference_mode():
        results = {name: outcome(world, rows[name]) for name in wanted}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
