"""A language model from a folder, in memory for one answer: by transformers, which ComfyUI brings.

Nothing is downloaded, no code out of a model's folder is run, and weights are read from .safetensors alone. After the
answer the model is let go of, so that its memory is free when the video is sampled.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ...common.errors import CheckpointError, MissingFileError, MissingPackageError, WritingError
from ...common.log import logger
from ...common.memory.out_of_memory import is_out_of_memory
from ...common.records import record
from ..progress import Counted
from ..runtime import Progress, Runtime
from .asked import WritingTask

KIND = "text_encoder"
"""Of a video model's parts the one whose device is used: it is a model of language too."""
_TOP_P = 0.9
_CACHE_BYTES = 2_000_000_000
"""Room asked for beside the weights: keys and values of a prompt and an answer."""


class _Loaded(NamedTuple):
    module: Any
    tokenizer: Any
    processor: Any | None


@record
class LocalWriter:
    """See `asked.Writer`.

    Attributes:
        folder: of a model as it is published for transformers: config.json, tokenizer, .safetensors files.
    """

    folder: Path

    def __post_init__(self) -> None:
        _read_config(self.folder)

    def check(self, *, has_picture: bool) -> None:
        """Refuses what cannot be, before anything is read.

        Raises:
            WritingError: a picture for a model that sees none.
            MissingPackageError: transformers is not there.
        """
        if has_picture and "vision_config" not in _read_config(self.folder):
            raise WritingError(
                f"{self.folder.name} sees no pictures. Disconnect the image, or choose a model with vision, such as "
                "Qwen2.5-VL."
            )
        _transformers()

    def write(self, asked: WritingTask, runtime: Runtime) -> str:
        runtime.check_interrupt()
        self.check(has_picture=asked.picture is not None)
        device = runtime.device(KIND)
        loaded = self._load(device)
        inputs = _inputs(loaded, asked, self.folder)
        # In a module of our own: hosts write onto the one that they look after.
        residence = runtime.residence(nn.ModuleList([loaded.module]), device)
        try:
            with (
                runtime.progress(Counted("Writing the prompt", "token", asked.most_tokens)) as progress,
                residence.loaded(_CACHE_BYTES),
                torch.random.fork_rng([device] if device.type == "cuda" else []),
            ):
                torch.manual_seed(asked.seed % 2**63)
                made = _generated(loaded, inputs.to(device), asked, _watch(runtime, progress))
        finally:
            residence.unload()  # nothing of it stays on the device for the sampler to work around
        return str(loaded.tokenizer.decode(made, skip_special_tokens=True))

    def _load(self, device: torch.device) -> _Loaded:
        transformers = _transformers()
        options = {"local_files_only": True, "trust_remote_code": False}
        has_vision = "vision_config" in _read_config(self.folder)
        kind = transformers.AutoModelForImageTextToText if has_vision else transformers.AutoModelForCausalLM
        logger.info("Loading %s to write the prompt.", self.folder.name)
        try:
            processor = transformers.AutoProcessor.from_pretrained(self.folder, **options) if has_vision else None
            tokenizer = (
                transformers.AutoTokenizer.from_pretrained(self.folder, **options)
                if processor is None
                else processor.tokenizer
            )
            module = kind.from_pretrained(self.folder, torch_dtype="auto", use_safetensors=True, **options)
        except Exception as error:  # a border: files of any make are read by foreign code
            if is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise CheckpointError(
                f"{self.folder.name} cannot be read as a language model ({reason}). Download it whole again, choose "
                "another, or update transformers."
            ) from None
        if device.type == "cpu" and module.dtype == torch.float16:
            module = module.to(torch.bfloat16)  # fp16 is about a thousand times slower there
        return _Loaded(module.eval().requires_grad_(False), tokenizer, processor)


def is_language_model(folder: Path) -> bool:
    """Whether a folder holds a model for transformers, by its list of files alone."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _read_config(folder: Path) -> dict[str, Any]:
    if not is_language_model(folder):
        raise MissingFileError(
            f"There is no language model in {folder}. It is a folder with config.json, a tokenizer and .safetensors "
            "files, as it is published for transformers; put it into models/LLM."
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise CheckpointError(f"config.json of {folder.name} is damaged: download the model again.")
    return config


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingPackageError(
            "transformers is not installed, which runs language models. Install it, or write the address of a server."
        ) from None
    return transformers


def _inputs(loaded: _Loaded, asked: WritingTask, folder: Path) -> Any:
    """The question as the model's own chat template puts it."""
    user: Any = asked.prompt
    system: Any = asked.instructions
    if loaded.processor is not None:
        shown = [] if asked.picture is None else [{"type": "image", "image": _picture(asked.picture)}]
        user = [*shown, {"type": "text", "text": asked.prompt}]
        system = [{"type": "text", "text": asked.instructions}]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    speaker = loaded.tokenizer if loaded.processor is None else loaded.processor
    if speaker.chat_template is None:
        raise CheckpointError(
            f"{folder.name} is no model to talk to (its tokenizer has no chat template). Choose an instruct model."
        )
    quiet = {} if loaded.processor is not None else {"enable_thinking": False}
    return speaker.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", **quiet
    )


def _picture(png: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(png)).convert("RGB")


def _watch(runtime: Runtime, progress: Progress) -> Any:
    """What transformers calls after each token: it tells of it, and stops when the user asked to."""
    done = 0

    def watch(_ids: torch.Tensor, _scores: object, **_more: object) -> torch.Tensor:
        nonlocal done
        done += 1
        progress.update(done)
        runtime.check_interrupt()
        return torch.zeros(len(_ids), dtype=torch.bool, device=_ids.device)

    return watch


def _generated(loaded: _Loaded, inputs: Any, asked: WritingTask, watch: Any) -> torch.Tensor:
    """The ids of the answer's tokens."""
    chosen = {"do_sample": True, "temperature": asked.temperature, "top_p": _TOP_P} if asked.temperature else {}
    # Settings of the model's own that choose words otherwise would speak against ours.
    chosen = chosen or {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    with torch.inference_mode():
        ids = loaded.module.generate(
            **inputs, **chosen, max_new_tokens=asked.most_tokens, stopping_criteria=[watch],
            pad_token_id=loaded.tokenizer.pad_token_id or loaded.tokenizer.eos_token_id,
        )  # fmt: skip
    return ids[0, inputs["input_ids"].shape[1] :]
