"""What else a user hands to the pack: graphs, values, names, settings, pictures, videos, command lines; each damaged.

A surface is a writer, which puts something damaged into an empty folder, and what opens it as the command line would,
short of running a model. `fuzz` runs them beside the model files.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
import wan_director
from safetensors.torch import save
from torch.nn import Linear
from wan_director.__main__ import main
from wan_director.dit.adapters import ParameterShapes
from wan_director.engine.local import Interrupted, LocalRuntime
from wan_director.model_loading.lora import read_lora
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph, read_graph, set_value
from wan_director.nodes.headless.model_paths import extra_model_paths
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import host, use_host

from . import fuzz_mutations as mutations

PACK = Path(wan_director.__file__).parent
CLASSES = {**CORE_NODES, **wan_director.NODE_CLASS_MAPPINGS}
NUMBERS = (0, -1, 1, 2, 15, 16, 17, 832, 833, 10**6, 2**31, 2**63, 10**400, 0.5, -0.0, 1e-300, 1e308, float("inf"),
           float("nan"), True, "16", "", None, [], {}, ["1", 0], ["nobody", 7])  # fmt: skip
TEXTS = (
    "tiny_t2v", "a/b", "../x", "/", ".", "..", "con", "a:b?*", "x" * 300, "\0", "\ud800", "%date:yyyy%", "%a.b%", "%",
    "{", "{a|b", "\\", "\x1b[31m", "video/", "a\nb", "[input]", "x [output]", "~nosuchuser/x", "$HOME/x", "é" * 90,
    "WanDirectorSampler.seed=3", "3.seed=", "3.seed=1e9", "3.=1", "=", "3.cfg=nan", "Nobody.seed=1", "833x480x81",
    "1x1x1", "8GB", "-1", "0", "1e400GB", "inf", "nan", "832x480x81", "9" * 50,
)  # fmt: skip

Writer = Callable[[Path, random.Random], Path]


class Surface(NamedTuple):
    """One way in."""

    write: Writer
    open: Callable[[Path], None]


@cache
def _graphs(pattern: str) -> tuple[Any, ...]:
    return tuple(json.loads(path.read_text(encoding="utf-8")) for path in sorted(PACK.glob(pattern)))


def _damaged_graph(pattern: str) -> Writer:
    """A workflow of the pack with things in it replaced by any JSON, or only values by other ones."""

    def write(folder: Path, rng: random.Random) -> Path:
        graph = rng.choice(_graphs(pattern))
        for _ in range(rng.randint(1, 4)):
            graph = _other_value(graph, rng) if rng.random() < 0.5 else mutations.damage_json(graph, rng)
        text = json.dumps(graph).encode("utf-8", "surrogatepass")
        if rng.random() < 0.1:
            text = mutations.damage_bytes(text, rng)
        path = folder / "graph.json"
        path.write_bytes(text)
        return path

    return write


def _other_value(value: Any, rng: random.Random) -> Any:
    """The same with one leaf replaced; the deeper ones are widgets."""
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return value | {key: _other_value(value[key], rng)}
    if isinstance(value, list) and value:
        place = rng.randrange(len(value))
        return [*value[:place], _other_value(value[place], rng), *value[place + 1 :]]
    return rng.choice(NUMBERS) if rng.random() < 0.6 else rng.choice(TEXTS)


def _open_graph(path: Path) -> None:
    _start(*read_graph(path, CLASSES)[:1])


def _start(graph: Any) -> None:
    """Everything that is checked before the first node runs."""
    with contextlib.suppress(Interrupted):
        run_graph(graph, CLASSES)


def _write_settings(folder: Path, rng: random.Random) -> Path:
    """Assignments for --set, one a line."""
    names = (
        "3.seed",
        "WanDirectorSampler.steps",
        "WanDirectorEmptyLatent.width",
        "WanDirectorSaveVideo.filename_prefix",
    )
    lines = []
    for _ in range(rng.randint(1, 4)):
        text = rng.choice(TEXTS) if rng.random() < 0.5 else str(rng.choice(NUMBERS))
        lines.append(text if rng.random() < 0.3 else f"{rng.choice(names)}={text}")
    path = folder / "settings.json"
    path.write_text(json.dumps(lines), encoding="utf-8")
    return path


def _open_settings(path: Path) -> None:
    graph = parse_graph(_graphs("workflows/api/tiny_t2v.json")[0], CLASSES)
    for assignment in json.loads(path.read_text(encoding="utf-8")):
        set_value(graph, CLASSES, assignment)
    _start(graph)


def _write_folders(folder: Path, rng: random.Random) -> Path:
    good = {"comfyui": {"base_path": str(folder), "is_default": True, "vae": "models/vae", "clip": "a\nb"}}
    for _ in range(rng.randint(1, 3)):
        good = _other_value(good, rng) if rng.random() < 0.5 else mutations.damage_json(good, rng)
    text = json.dumps(good).encode("utf-8", "surrogatepass")
    path = folder / "extra_model_paths.yaml"
    path.write_bytes(mutations.damage_bytes(text, rng) if rng.random() < 0.5 else text)
    return path


def _write_adapter(folder: Path, rng: random.Random) -> Path:
    """A sound LoRA of PEFT, and damaged settings beside it."""
    layer = "base_model.model.blocks.0.self_attn.q.lora_{}.weight"
    tensors = {layer.format("A"): torch.ones(2, 48), layer.format("B"): torch.ones(48, 2)}
    path = folder / "adapter_model.safetensors"
    path.write_bytes(save(tensors))
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "alpha_pattern": {r"blocks\.(0|1).*q": 3},
                "use_rslora": False, "init_lora_weights": True, "modules_to_save": None}  # fmt: skip
    for _ in range(rng.randint(1, 3)):
        settings = mutations.damage_json(settings, rng)
    text = json.dumps(settings).encode("utf-8", "surrogatepass")
    damaged = mutations.damage_bytes(text, rng) if rng.random() < 0.4 else text
    (folder / "adapter_config.json").write_bytes(damaged)
    return path


def _open_adapter(path: Path) -> None:
    with torch.device("meta"):
        shapes = ParameterShapes.of(Linear(48, 48))
    read_lora(path, ParameterShapes({"blocks.0.self_attn.q.weight": shapes.shapes["weight"]}), model=None)


@cache
def _pictures() -> tuple[tuple[str, bytes], ...]:
    """Small sound pictures of many kinds."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 4), dtype=np.uint8)
    deep = pixels[..., 0].astype(np.uint16) * 257
    made = []
    for ending, picture, options in (
        ("png", Image.fromarray(pixels), {}),
        ("png", Image.fromarray(deep), {}),
        ("jpg", Image.fromarray(pixels[..., :3]), {}),
        ("webp", Image.fromarray(pixels), {}),
        ("tiff", Image.fromarray(pixels[..., 0].astype(np.float32)), {}),
        ("bmp", Image.fromarray(pixels[..., :3]), {}),
        (
            "gif",
            Image.fromarray(pixels[..., 0]),
            {"save_all": True, "append_images": [Image.fromarray(pixels[..., 1])]},
        ),
    ):
        data = io.BytesIO()
        picture.save(data, {"jpg": "JPEG"}.get(ending, ending.upper()), **options)
        made.append((ending, data.getvalue()))
    return tuple(made)


def _write_picture(folder: Path, rng: random.Random) -> Path:
    return _write_damaged(folder / "picture", _pictures(), rng)


def _write_damaged(path: Path, whole: Sequence[tuple[str, bytes]], rng: random.Random) -> Path:
    """One of some files (ending, content) under a name, with damage anywhere."""
    ending, data = rng.choice(whole)
    path = path.with_suffix(f".{ending}")
    path.write_bytes(_damaged_anywhere(data, rng))
    return path


def _open_picture(path: Path) -> None:
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": str(path)}}}
    node = parse_graph(graph, CLASSES)["1"]
    CLASSES["LoadImage"].execute(**node.inputs)


def _damaged_anywhere(data: bytes, rng: random.Random) -> bytes:
    """Blind damage, or one number of the file set to a hostile one."""
    if rng.random() < 0.5:
        return mutations.damage_bytes(data, rng)
    out, place = bytearray(data), rng.randrange(max(len(data) - 4, 1))
    out[place : place + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(mutations.SIZES) % 2**32)
    return bytes(out)


@cache
def _videos() -> tuple[tuple[str, bytes], ...]:
    """Two short sound clips, as the pack writes them."""
    import tempfile

    import imageio_ffmpeg

    made = []
    for ending, codec in (("mp4", "libx264"), ("webm", "libvpx-vp9"), ("gif", "gif")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"clip.{ending}"
            stream = imageio_ffmpeg.write_frames(str(path), (32, 32), fps=8, codec=codec, ffmpeg_log_level="quiet")
            stream.send(None)
            for number in range(4):
                stream.send(np.full((32, 32, 3), number * 60, np.uint8))
            stream.close()
            made.append((ending, path.read_bytes()))
    return tuple(made)


def _write_video(folder: Path, rng: random.Random) -> Path:
    return _write_damaged(folder / "clip", _videos(), rng)


def _open_video(path: Path) -> None:
    host().runtime.interrupted = False  # reading asks after each frame
    video = CLASSES["LoadVideo"].execute(file=str(path)).args[0]
    CLASSES["GetVideoComponents"].execute(video=video)


def _write_names(folder: Path, rng: random.Random) -> Path:
    path = folder / "names.json"
    kinds = ("filename_prefix", "model_name", "vae_name", "lora_name", "image", "file")
    path.write_text(json.dumps({kind: _name(rng) for kind in kinds}), encoding="utf-8")
    return path


def _name(rng: random.Random) -> Any:
    if rng.random() < 0.2:
        return rng.choice(NUMBERS)
    return "".join(rng.choice((*TEXTS, "a", "/", "\\", " ")) for _ in range(rng.randint(1, 4)))


def _open_names(path: Path) -> None:
    names = json.loads(path.read_text(encoding="utf-8"))
    base = _graphs("workflows/api/tiny_t2v.json")[0]
    graph = {id: {**node, "inputs": {**node["inputs"], **{
        kind: value for kind, value in names.items() if kind in node["inputs"]
    }}} for id, node in base.items()}  # fmt: skip
    graph["90"] = {"class_type": "LoadImage", "inputs": {"image": names["image"]}}
    graph["91"] = {"class_type": "LoadVideo", "inputs": {"file": names["file"]}}
    graph["92"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["91", 0]}}
    for id in ("90", "92"):
        graph[id + "0"] = {"class_type": "WanDirectorSaveVideo", "inputs": {
            "images": [id, 0], "fps": 8.0, "filename_prefix": names["filename_prefix"], "format": "gif", "quality": 80,
        }}  # fmt: skip
    _start(parse_graph(graph, CLASSES))


def _write_command(folder: Path, rng: random.Random) -> Path:
    """A command line: sound words in any order, with strange ones between."""
    words = [
        rng.choice(("run", "plan", "inspect", "nodes")),
        *rng.sample(("--size", "--vram", "--ram", "--device", "--set", "--models", "--comfyui", "--extra-model-paths",
                     "--output", "--quiet", "--json", str(folder), "workflows/api/tiny_t2v.json"), k=rng.randint(0, 5)),
    ]  # fmt: skip
    words = [word for each in words for word in ([each, rng.choice(TEXTS)] if rng.random() < 0.6 else [each])]
    path = folder / "command.json"
    path.write_text(json.dumps(words), encoding="utf-8")
    return path


def _open_command(path: Path) -> None:
    """Runs it with a host that stops before the first node; what argparse refuses is refused well."""
    words = json.loads(path.read_text(encoding="utf-8"))
    silent = io.StringIO()
    with (
        mock.patch.object(LocalRuntime, "check_interrupt", _interrupted),
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
        contextlib.suppress(SystemExit, Interrupted),
    ):
        main(words)
    if "Traceback" in silent.getvalue():
        raise AssertionError(silent.getvalue()[-600:])


def _interrupted(_runtime: LocalRuntime) -> None:
    raise Interrupted


SURFACES: dict[str, Surface] = {
    "api graph": Surface(_damaged_graph("workflows/api/*.json"), _open_graph),
    "canvas graph": Surface(_damaged_graph("workflows/*.json"), _open_graph),
    "set": Surface(_write_settings, _open_settings),
    "names": Surface(_write_names, _open_names),
    "model folders": Surface(_write_folders, extra_model_paths),
    "adapter settings": Surface(_write_adapter, _open_adapter),
    "picture": Surface(_write_picture, _open_picture),
    "video": Surface(_write_video, _open_video),
    "command line": Surface(_write_command, _open_command),
}


@contextlib.contextmanager
def stopping_host(folder: Path) -> Iterator[None]:
    """Makes the host one that stops every run before its first node, and keeps to a folder."""
    before = host()
    use_host(HeadlessHost(inputs=(folder,), output=folder / "output", runtime=LocalRuntime(interrupted=True)))
    try:
        yield
    finally:
        use_host(before)
