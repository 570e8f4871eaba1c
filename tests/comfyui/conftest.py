"""A real ComfyUI server with only this pack, on a free port of this machine and in a folder of its own.

Where ComfyUI is: `COMFYUI_PATH`, else what `comfy which` says. Its Python: `COMFYUI_PYTHON`, else the `venv` or `.venv`
in its folder, else the one that runs the tests. `COMFYUI_ARGUMENTS` are more arguments for its start, such as another
`--front-end-root`. Everything here is skipped when there is no ComfyUI.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

ROOT = Path(__file__).resolve().parents[2]
PACK_NAME = "wan-director"
START_SECONDS, RUN_SECONDS = 600, 600


@dataclass(frozen=True)
class ComfyServer:
    """A running server: its address, its own folder (models, input, output, ...) and its log."""

    url: str
    folder: Path
    log_file: Path
    python: str

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as response:
            return response.read()

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def queue(self, prompt: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Queues a prompt: its id, or None and the server's refusal."""
        data = json.dumps({"prompt": prompt}).encode()
        request = urllib.request.Request(self.url + "/prompt", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.loads(response.read())
                return answer["prompt_id"], answer
        except urllib.error.HTTPError as error:
            return None, json.loads(error.read())

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """The server's record of a finished run: `status`, `outputs`, ..."""
        prompt_id, answer = self.queue(prompt)
        assert prompt_id, answer
        return self.wait_for(prompt_id)

    def wait_for(self, prompt_id: str) -> dict[str, Any]:
        """The record of a queued prompt, once it has run."""
        end = time.monotonic() + RUN_SECONDS
        while time.monotonic() < end:
            record = self.get_json(f"/history/{prompt_id}").get(prompt_id)
            if record:
                return record
            time.sleep(0.2)
        raise TimeoutError(f"ComfyUI did not finish in {RUN_SECONDS} s")


def find_comfyui() -> Path:
    path = os.environ.get("COMFYUI_PATH")
    if not path and shutil.which("comfy"):
        wide = os.environ | {"COLUMNS": "1000"}  # or it breaks long paths into lines
        found = subprocess.run(["comfy", "--skip-prompt", "which"], capture_output=True, text=True, env=wide)
        where = re.search(r"""path(?::\s*|":\s*")([^"\n]+)""", found.stdout)  # a sentence, or JSON
        path = where.group(1).strip() if found.returncode == 0 and where else None
    if not path:
        pytest.skip("needs a ComfyUI: set COMFYUI_PATH to its folder")
    if not (Path(path) / "main.py").is_file():
        pytest.skip(f"there is no ComfyUI in {path}: set COMFYUI_PATH to the folder with its main.py")
    return Path(path).resolve()


def find_python(comfyui: Path) -> str:
    inside = [comfyui / folder / "bin" / "python" for folder in ("venv", ".venv")]
    return os.environ.get("COMFYUI_PYTHON") or next((str(path) for path in inside if path.exists()), sys.executable)


def make_folder(folder: Path) -> None:
    """What `--base-directory` needs, with this pack as the only custom node and no first-run dialogs."""
    for name in ("custom_nodes", "models", "input", "output", "temp", "user/default"):
        (folder / name).mkdir(parents=True)
    (folder / "custom_nodes" / PACK_NAME).symlink_to(ROOT, target_is_directory=True)
    settings = {"Comfy.TutorialCompleted": True, "Comfy.Workflow.ShowMissingModelsWarning": False}
    (folder / "user" / "default" / "comfy.settings.json").write_text(json.dumps(settings))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def comfyui_place() -> tuple[Path, str]:
    """ComfyUI's folder and its Python, for tests that need no server."""
    folder = find_comfyui()
    return folder, find_python(folder)


@pytest.fixture
def newer_comfyui(comfyui_place: tuple[Path, str]) -> tuple[Path, str]:
    """As `comfyui_place`, for tests beside nodes that older hosts lack or compute otherwise: LazyCache was mended in
    ComfyUI after 0.3.64 (pull request 12344), and FreeNoise and TAEHV came later."""
    folder, _ = comfyui_place
    version = re.search(r'__version__ = "(\d+)\.(\d+)', (folder / "comfyui_version.py").read_text(encoding="utf-8"))
    if version is None or (int(version[1]), int(version[2])) < (0, 33):
        pytest.skip("this ComfyUI has other nodes there")
    return comfyui_place


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory, comfyui_place: tuple[Path, str]) -> Iterator[ComfyServer]:
    folder = tmp_path_factory.mktemp("comfyui") / "base"
    make_folder(folder)
    example = comfyui_place[0] / "input" / "example.png"
    if example.is_file():
        shutil.copy(example, folder / "input")
    with running(folder, *comfyui_place) as server:
        yield server


def arguments_for(folder: Path, port: int) -> list[str]:
    """What a ComfyUI is started with that has its models, results and custom nodes in a folder of its own."""
    more = shlex.split(os.environ.get("COMFYUI_ARGUMENTS", ""))
    own = ["--cpu", "--disable-auto-launch", f"--base-directory={folder}", "--listen=127.0.0.1", f"--port={port}"]
    return [*own, *more]


@contextmanager
def running(folder: Path, comfyui_folder: Path, python: str, *arguments: str) -> Iterator[ComfyServer]:
    """A ComfyUI with a folder of its own (`make_folder`), once it answers and until the end of the block."""
    port = free_port()
    server = ComfyServer(f"http://127.0.0.1:{port}", folder, folder / "server.log", python)
    command = [python, "main.py", *arguments_for(folder, port), *arguments]
    with server.log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=comfyui_folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until_it_answers(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def wait_until_it_answers(server: ComfyServer, process: subprocess.Popen) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, f"ComfyUI ended while starting:\n{server.log}"
        try:
            server.get("/system_stats")
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"ComfyUI did not answer in {START_SECONDS} s:\n{server.log}")


@pytest.fixture(scope="session")
def node_information(comfyui: ComfyServer) -> dict:
    """What the server tells of all nodes while there are only the bundled models."""
    return comfyui.get_json("/object_info")


@pytest.fixture(scope="session")
def odd_models(comfyui: ComfyServer, node_information: dict) -> ComfyServer:
    """The server, with model files that do not go with the bundled ones, or with nothing."""
    models = comfyui.folder / "models"
    heads = {"wan_director.heads": "4"}
    sizes = {"dim": 48, "ffn_dim": 64, "heads": 4, "layers": 1, "text_dim": 4096, "freq_dim": 32}
    save_model(models / "diffusion_models" / "wan21_i2v.safetensors", WanDiT(DiTConfig(**sizes, in_channels=36)), heads)
    save_model(models / "vae" / "wan21_vae.safetensors", CausalVAE(VAEConfig(base_channels=8, residual_blocks=1)), {})
    text = UMT5Encoder(UMT5Config(vocab=259, dim=4096, attention_dim=32, ffn_dim=32, heads=2, layers=1))
    save_model(models / "text_encoders" / "wan21_text.safetensors", text, {}, tokenizer_json=byte_tokenizer())
    whole = (models / "diffusion_models" / "wan21_i2v.safetensors").read_bytes()
    (models / "diffusion_models" / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (models / "diffusion_models" / "page.safetensors").write_text("<!DOCTYPE html><html>Not found</html>")
    foreign = {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": torch.zeros(9216, 3072, dtype=torch.uint8)}
    save_file(foreign, models / "diffusion_models" / "foreign.safetensors")
    return comfyui


def save_model(path: Path, module: torch.nn.Module, metadata: dict[str, str], **more: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({**{name: value.contiguous() for name, value in module.state_dict().items()}, **more}, path, metadata)


def save_random_dit(path: Path, seed: int, **changes: Any) -> None:
    """A model that ComfyUI's own loader takes too: its heads are 128 wide."""
    sizes = {"dim": 128, "ffn_dim": 128, "heads": 1, "layers": 2, "text_dim": 4096, "freq_dim": 256}
    config = DiTConfig(**{**sizes, **changes})
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(value.shape, generator=generator) * 0.05 + float("norm" in name and "weight" in name)
        for name, value in WanDiT(config).state_dict().items()
    }
    save_file(weights, path)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def finished_latent(server: ComfyServer, nodes: dict[str, Any], name: str) -> torch.Tensor:
    """What the node "sampler" makes, with prompts ("positive", "negative") and a VAE ("vae") of the odd models."""
    record = server.run({
        "text": node(
            "WanDirectorLoadTextEncoder", text_encoder_name="wan21_text.safetensors", precision="fp32", device="cpu"
        ),
        "vae": node("WanDirectorLoadVAE", vae_name="wan21_vae.safetensors", precision="fp32"),
        "positive": node("CLIPTextEncode", clip=["text", 0], text="a cat dances"),
        "negative": node("CLIPTextEncode", clip=["text", 0], text="blurry"),
        **nodes,
        "save": node("SaveLatent", samples=["sampler", 0], filename_prefix=name),
    })  # fmt: skip
    assert record["status"]["status_str"] == "success", record["status"]["messages"]
    (saved,) = record["outputs"]["save"]["latents"]
    return load_file(server.folder / "output" / saved["subfolder"] / saved["filename"])["latent_tensor"]


def byte_tokenizer() -> torch.Tensor:
    """A tokenizer of one token per byte, as the tensor that a text encoder file carries."""
    vocab = [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], *([f"<0x{byte:02X}>", 0.0] for byte in range(256))]
    model = {"type": "Unigram", "unk_id": 2, "vocab": vocab, "byte_fallback": True}
    text = json.dumps({"version": "1.0", "added_tokens": [], "model": model})
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.comfyui)
