"""Models that share Wan's transformer but not what it is given: recognised, named, and run or refused.

The header's own word counts first, then names and shapes of tensors. Several models have exactly the tensors of a plain
one; where the header is silent only their file's name can tell, and it is said to be no more than that.

Sources of names and shapes: comfy/model_detection.py of ComfyUI 0.33.0, diffsynth 2.1.12, diffusers 0.42.1, and the
published files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from ...common.errors import CheckpointError
from ...common.families import WAN_2_1
from ...dit.branches.branch import Shapes
from ...dit.branches.clip import ClipBranch
from ...dit.branches.pose import PoseBranch
from ...dit.config import DiTConfig
from ..publishing.known_files import USUAL_MODEL, where_to_get
from .foreign import Signature, match

# By the names only they carry; the first that matches names the file. Those of no kind are of a family of their own.
WAN_VARIANTS = (
    Signature("LongCat-Avatar (talking)", None, ("audio_cross_attn.", "blocks.0.ffn.w1.")),
    Signature("SteadyDancer", "dit", ("condition_embedding_align.",)),
    Signature("Stand-In", "dit", (".q_loras.down.",)),
    Signature("Lynx", "dit", (".ip_adapter.to_k_ip.",)),
    Signature("Lynx", "dit", (".ref_adapter.to_k_ref.",)),
    Signature("FantasyTalking", "dit", (".cross_attn.processor.",)),
    Signature("FantasyPortrait", "dit", ("ip_adapter_single_stream_k_proj.",)),
    Signature("FlashPortrait", "dit", (".cross_attn.emo_k_proj.",)),
    Signature("MTV-Crafter", "dit", (".motion_attn.",)),
    Signature("UniAnimate", "dit", ("dwpose_embedding.",)),
    Signature("Ovi (video with sound)", "dit", (".k_fusion.",)),
    Signature("FlashVSR", "dit", ("LQ_proj",)),
    Signature("FastWan with sparse attention (VSA)", "dit", (".to_gate_compress.",)),
    Signature("Vista4D", "dit", ("blocks.0.cam_encoder.", "latent_encoder.")),
    Signature("ReCamMaster", "dit", ("blocks.0.cam_encoder.",)),
    Signature("ShotPlan", "dit", ("hardcut_embedding",)),
    Signature("LongCat-Video", None, ("blocks.0.ffn.w1.",)),
    Signature("SkyReels-V2 DF", "dit", ("fps_projection.",)),
)

PARTS = (
    *WAN_VARIANTS,
    Signature("Wan 2.2 Animate", "dit", ("face_adapter.fuser_blocks.0.",)),
    Signature("HuMo", "dit", ("audio_proj.audio_proj_glob_1.",)),
    Signature("MultiTalk or InfiniteTalk", "dit", ("audio_cross_attn.proj.",)),
    Signature("Wan-Dancer", "dit", ("music_injector.",)),
    Signature("Wan-Dancer", "dit", ("music_encoder.", "music_projection.")),
)
"""The same, and models of which this version runs whole ones: files with their names and no trunk are parts of them."""

# (input channels, output channels) of Wan transformers that need conditioning this version does not have.
_BY_CHANNELS = {
    (32, 16): "Wan Fun-Camera without its camera adapter",
    (20, 16): "SCAIL without its embedding of poses",
}
# (input, output) channels of text to video (and VACE), of image to video (and Fun-InP, and Fun-Camera of 2.2), of
# Fun-Control 2.1 and 2.2, and of the 5B models: TI2V, Lucy-Edit, Fun-InP and Fun-Control.
_SUPPORTED_CHANNELS = ((16, 16), (36, 16), (48, 16), (52, 16), (48, 48), (96, 48), (100, 48), (148, 48))
_CAMERA_CHANNELS = ((32, 16), (36, 16))
_CONTROL_CHANNELS = ((48, 16), (52, 16), (148, 48))
_SCAIL_CHANNELS = ((20, 16),)

CHRONO_EDIT = "ChronoEdit"
"""The model of image to video that edits pictures, as notes call it: nothing inside its file tells it."""

Base = Literal["T2V", "I2V", "TI2V"]


class _SameShape(NamedTuple):
    """A model with the tensors of a plain one.

    `said`: how headers call it (lower case, letters and digits only); `pattern`: how file names do; `bases`: whose
    tensors it has; `ignored`: what running it as the plain model leaves out. None: it cannot run so. `takes`: what it
    is given here beside what the plain model is; nothing is left out then.
    """

    title: str
    said: frozenset[str]
    pattern: re.Pattern[str]
    bases: tuple[Base, ...]
    ignored: str | None
    takes: str = ""


def _same_shape(
    title: str, said: str, pattern: str, bases: tuple[Base, ...], ignored: str | None, takes: str = ""
) -> _SameShape:
    return _SameShape(title, frozenset(said.split()), re.compile(pattern, re.IGNORECASE), bases, ignored, takes)


ANIMATE_2 = "Wan-Animate-2"
BERNINI = "Bernini-R"
CAUSAL = "a causal model"
PHANTOM = "Phantom"
_T2V: tuple[Base, ...] = ("T2V",)
_I2V: tuple[Base, ...] = ("I2V",)
_TI2V: tuple[Base, ...] = ("TI2V",)
_SAME_SHAPE = (
    _same_shape(ANIMATE_2, "animate2 wananimate2", r"animate[-_. ]?2(?!\d)", _I2V, "", "a pose video"),
    _same_shape(
        CAUSAL,
        "causal causalforcing selfforcing krearealtime causalwan",
        r"causal|self[-_. ]?forcing|rolling[-_. ]?forcing|krea[-_. ]?realtime|longlive",
        _T2V,
        "",
        "",
    ),
    _same_shape(
        f"{CAUSAL}, of image to video",
        "",
        r"causal|self[-_. ]?forcing|rolling[-_. ]?forcing|krea[-_. ]?realtime|longlive",
        _I2V,
        None,
    ),
    _same_shape(BERNINI, "bernini berninir", r"bernini", _T2V, "", "a video to edit and references"),
    _same_shape(PHANTOM, "phantom", r"phantom", _T2V, "", "pictures of up to four subjects"),
    _same_shape("MoCha", "mocha", r"mocha(?![a-z])", _T2V, "source video, mask and reference pictures"),
    _same_shape("EchoShot", "echoshot", r"echo[-_. ]?shot", _T2V, "division into shots"),
    _same_shape("CausVid", "causvid", r"caus[-_. ]?vid", _T2V, "order of making frames (all are made at once)"),
    _same_shape(CHRONO_EDIT, "chronoedit", r"chrono[-_. ]?edit", _I2V, "stretched time axis unless it edits a picture"),
    _same_shape("ATI", "ati", r"(?<![a-z])ati(?![a-z])", _I2V, "point tracks"),
    _same_shape("Wan-Move", "wanmove move", r"wan(?:2?[-_. ]?[12])?[-_. ]?move", _I2V, "point tracks"),
    _same_shape(
        "Kiwi-Edit",
        "kiwiedit",
        r"kiwi[-_. ]?edit",
        _TI2V,
        "clip to edit and reference pictures (its embedders lie apart)",
    ),
    _same_shape("MAGREF", "magref", r"magref", _I2V, "several reference pictures"),
    _same_shape("SkyReels-A2", "skyreelsa2", r"skyreels[-_. ]?a2", _I2V, "several reference pictures"),
    _same_shape(
        "SkyReels-V2 DF",
        "skyreelsv2df df",
        r"skyreels.*(?<![a-z])df(?![a-z])",
        _T2V + _I2V,
        "noise level of each frame",
    ),
)
# How headers call models that tensors tell apart anyway.
_PLAIN = frozenset(
    ["t2v", "i2v", "flf2v", "ti2v", "vace", "inp", "funinp", "control", "funcontrol", "camera", "camera22", "s2v"]
    + ["animate", "scail", "scail2", "humo", "wandancer"]
)
# Classes of the official code and of diffusers, as the config.json of a folder names them.
_PLAIN_CLASSES = frozenset(["wan", "vacewan", "wantransformer", "wanvacetransformer", "skyreelsv2transformer"])
_FOLDERS_FILE = re.compile(r"diffusion_pytorch_model\b.*")
_MAX_CONFIG_BYTES = 1_000_000


def refuse_variants(name: str, names: Mapping[str, str], said: str | None) -> None:
    """Refuses transformers whose header or tensor names tell that they need more than this version gives.

    Args:
        name: of the file.
        names: its tensors, see `plain_name`.
        said: see `said_model_type`.

    Raises:
        CheckpointError: it is one; the message says which.
    """
    same_shape = _said_same_shape(said)
    if same_shape is not None and same_shape.ignored is None:
        raise unsupported_variant(name, f"{same_shape.title} (its header says so)")
    if said == "s2v" and not any(name.startswith("casual_audio_encoder.") for name in names):
        raise unsupported_variant(name, "Wan 2.2 S2V (speech to video) by its header, but nothing in it hears speech")
    if said == "humo" and not any(name.startswith("audio_proj.") for name in names):
        raise unsupported_variant(name, "HuMo by its header, but nothing in it hears a sound")
    if said == "wandancer" and not any(name.startswith("music_injector.") for name in names):
        raise unsupported_variant(name, "Wan-Dancer by its header, but nothing in it hears music")
    if said is not None and same_shape is None and said not in _PLAIN:
        raise unsupported_variant(name, f"a variant of Wan not known here, {said[:40]!r} by its header")
    variant = match(WAN_VARIANTS, names)
    if variant is not None:
        raise unsupported_variant(name, variant.title)
    if _is_vace_without_pictures(names):
        raise unsupported_variant(name, "VACE on an image-to-video model")


def refuse_channels(name: str, channels: tuple[int, int], tensors: Shapes) -> None:
    """Refuses transformers with other (input, output) channels than the models this version runs have.

    Args:
        tensors: of the file.

    Raises:
        CheckpointError: the message names the model, if it is known.
    """
    title, supported = None, _SUPPORTED_CHANNELS
    if tensors.has("control_adapter.conv.weight"):
        title, supported = "a variant of Wan Fun-Camera not known here", _CAMERA_CHANNELS
    elif tensors.has("patch_embedding_pose.weight"):
        title, supported = "a variant of SCAIL not known here", _SCAIL_CHANNELS
    elif tensors.has("ref_conv.weight") and not tensors.has("music_projection.weight"):
        title, supported = "a variant of Wan with a reference picture that is not known here", _CONTROL_CHANNELS
    if channels not in supported:
        variant = title or _BY_CHANNELS.get(channels, "a variant of Wan not known here")
        raise unsupported_variant(name, f"{variant} ({channels[0]} input and {channels[1]} output channels)")


def as_said(path: Path, config: DiTConfig, said: str | None) -> DiTConfig:
    """The transformer with what its header says, or else its file's name, of a branch that has no tensors.

    Raises:
        CheckpointError: its header says so, and the tensors are those of no such model.
    """
    told = _said_same_shape(said)
    is_said = told is not None and told.title == ANIMATE_2
    is_alike = (config.in_channels, config.out_channels, config.branch_title) == (36, 16, None) and config.branch(
        ClipBranch
    ) is not None
    if is_said and not is_alike:
        raise unsupported_variant(path.name, f"{ANIMATE_2} by its header, with tensors that none is known to have")
    named = _by_name(path, "I2V") if is_alike and said is None else None
    if is_said or (named is not None and named.title == ANIMATE_2):
        return config.with_branches((PoseBranch(),))
    return config


def same_shape_notes(path: Path, config: DiTConfig, said: str | None) -> tuple[str, ...]:
    """What to say of a transformer that runs as the plain model whose tensors it has, but is another.

    Raises:
        CheckpointError: by its name it is a model that cannot run so.
    """
    base = _base(config)
    told = _said_same_shape(said)
    if config.branch(PoseBranch) is not None:
        if told is not None:
            return ()
        return (f"By its name this is {ANIMATE_2}, and it runs as that; nothing inside it tells.",)
    if told is not None:
        return (_note("Its header says that this is", told, base),)
    is_plain = config.branch_title is None and not (config.control_channels or config.source_channels)
    named = _by_name(path, base) if is_plain else None
    if named is None or named.title == ANIMATE_2:  # of that name, but plain by its header
        return ()
    if named.ignored is None:
        raise CheckpointError(
            f"{path.name} is by its name {named.title}; this version does not run those, and as the plain {base} model "
            f"whose tensors it has it would make wrong videos. If it is a plain {base} model, give the file another "
            f"name; else get {where_to_get(USUAL_MODEL)}."
        )
    return (_note("By its name this is", named, base),)


def said_model_type(path: Path, metadata: Mapping[str, str]) -> str | None:
    """What a file's header, or the config.json of its diffusers folder, says the model is: lower case, no marks.

    None where neither says anything.
    """
    written = _table(metadata.get("config", "")).get("transformer")
    if not isinstance(written, dict):
        return _said_beside(path)
    if written.get("causal_ar"):  # ComfyUI's word, beside a model_type of t2v
        return "causal"
    kind = written.get("model_type")
    return _bare(kind) if isinstance(kind, str) else _said_beside(path)


def unsupported_variant(name: str, title: str) -> CheckpointError:
    """The error for a transformer of Wan that this version does not run."""
    return CheckpointError(
        f"{name} is {title}, which this version does not run yet. It runs the text-to-video, image-to-video, "
        f"first-last-frame, Fun, SCAIL, Animate and VACE models of Wan 2.1 and 2.2: get {where_to_get(USUAL_MODEL)}."
    )


def is_bernini(notes: Iterable[str]) -> bool:
    """Whether a model whose notes these are is Bernini-R by its header or its name."""
    return any(f" {BERNINI}," in note for note in notes)


def is_phantom(notes: Iterable[str]) -> bool:
    """Whether a model whose notes these are is Phantom by its header or its name."""
    return any(f" {PHANTOM}," in note for note in notes)


def is_causal(notes: Iterable[str]) -> bool:
    """Whether a model whose notes these are is a causal one by its header or its name."""
    return any(f" {CAUSAL}," in note for note in notes)


def _base(config: DiTConfig) -> Base:
    """The plain model whose tensors a transformer has, its branches apart."""
    if config.out_channels != WAN_2_1.latent_channels:
        return "TI2V"
    return "I2V" if config.image_channels else "T2V"


def _note(start: str, model: _SameShape, base: Base) -> str:
    if model.title == CAUSAL:
        return f"{start} {CAUSAL}, which makes a video chunk by chunk and remembers the ones before."
    if model.takes:
        return f"{start} {model.title}, which takes {model.takes}; without them it runs as plain {base}."
    return f"{start} {model.title}; it runs as plain {base}, which ignores its {model.ignored}."


def _said_same_shape(said: str | None) -> _SameShape | None:
    return next((model for model in _SAME_SHAPE if said in model.said), None) if said else None


def _by_name(path: Path, base: Base) -> _SameShape | None:
    """The model a file is called after; of a file with a name that says nothing, its folders count."""
    names = [path.name]
    if _FOLDERS_FILE.fullmatch(path.name) or path.is_dir():
        names += [folder.name for folder in path.parents[:2]]
    return next(
        (model for model in _SAME_SHAPE if base in model.bases and any(model.pattern.search(name) for name in names)),
        None,
    )


def _is_vace_without_pictures(names: Mapping[str, str]) -> bool:
    """Whether the model takes pictures of CLIP, but its VACE blocks have no attention to them."""
    text = "\n".join(names)
    has_vace = "vace_blocks.0." in text
    takes_pictures = "img_emb.proj.1." in text or "image_embedder.ff." in text
    return has_vace and takes_pictures and not re.search(r"vace_blocks\.0\.\S*(k_img|add_k_proj)\.", text)


def _said_beside(path: Path) -> str | None:
    """What the config.json says that the official code and diffusers write beside a model."""
    if not path.is_dir() and not _FOLDERS_FILE.fullmatch(path.name):
        return None
    try:
        config = (path if path.is_dir() else path.parent) / "config.json"
        table = _table(config.read_text(encoding="utf-8")) if config.stat().st_size <= _MAX_CONFIG_BYTES else {}
    except (OSError, ValueError):
        return None
    kind, name = table.get("model_type"), table.get("_class_name")
    if isinstance(kind, str):
        return _bare(kind)
    bare = _bare(name).replace("model", "").replace("3d", "") if isinstance(name, str) else "wan"
    return None if bare in _PLAIN_CLASSES else bare.removesuffix("transformer").removeprefix("wan")


def _table(text: str) -> dict[str, object]:
    """The table in a text of JSON; empty for anything else."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def _bare(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())
