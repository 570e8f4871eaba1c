"""Missing files: the sentence, and downloads that end with the whole file or a named reason."""

from __future__ import annotations

import errno
import shutil
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from wan_director.common.errors import DownloadError, MissingFileError, MissingPackageError
from wan_director.model_loading.download import download, find_file
from wan_director.model_loading.known_files import FOLDERS, KNOWN_FILES, known_file, where_to_get

VAE = known_file("wan_2.1_vae.safetensors")
SOUND = save({"w": torch.ones(100)})


class _Hub:
    """Stands for the network: counts fetches, writes what it is told to."""

    def __init__(self, data: bytes = SOUND, error: Exception | None = None) -> None:
        self.data, self.error, self.fetches = data, error, 0

    def __call__(self, repo: str, path_in_repo: str, folder: Path) -> Path:
        self.fetches += 1
        if self.error is not None:
            raise self.error
        arrived = folder / path_in_repo
        arrived.parent.mkdir(parents=True, exist_ok=True)
        arrived.write_bytes(self.data)
        return arrived


def test_known_files_are_consistent() -> None:
    assert len({file.name for file in KNOWN_FILES}) == len(KNOWN_FILES)
    for file in KNOWN_FILES:
        folder = {"vace_module": "", "lora": "Lightx2v/"}.get(file.kind, f"split_files/{Path(file.folder).name}/")
        assert file.path_in_repo == folder + file.name
        assert file.folder == FOLDERS[file.kind]
    for kind in FOLDERS:
        assert known_file(where_to_get(kind).split()[0]).kind == kind
    assert known_file("sub\\folder/wan_2.1_vae.safetensors") is VAE
    assert known_file("mine.safetensors") is None


def test_sizes_of_known_files_follow_from_their_shapes() -> None:
    parameters = {
        "wan2.2_t2v": 14.2885, "wan2.2_i2v": 14.2889, "ti2v_5B": 4.9998, "wan2.2_vae": 0.70469,
        "vace_1.3B": 2.1540, "vace_14B": 17.3376, "module_1_3B": 0.7350, "module_14B": 3.0491,
        "t2v_1.3B": 1.4190, "t2v_14B": 14.2885, "i2v": 16.3949, "vae": 0.12689, "umt5": 5.681, "clip": 0.6321,
    }  # fmt: skip
    for file in KNOWN_FILES:
        if "fp8" in file.name or file.kind == "lora":
            continue
        size = next((count * 2e9 for part, count in parameters.items() if part in file.name), None)
        assert size is None or file.size_bytes == pytest.approx(size, rel=2e-3)
    fp8 = {
        "wan2.1_t2v_14B_fp8_scaled.safetensors": 14.2885e9,
        "umt5_xxl_fp8_e4m3fn_scaled.safetensors": 5.681e9 + 1.0505e9,
    }
    assert {name: known_file(name).size_bytes for name in fp8} == pytest.approx(fp8, rel=2e-3)
    block = 8 * (5120 + 5120) + 2 * (5120 + 13824)  # each matrix has a pair of rank 64 in 16 bit
    assert known_file(where_to_get("lora").split()[0]).size_bytes == pytest.approx(40 * block * 64 * 2, rel=2e-3)


def test_a_file_is_found_in_the_second_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.safetensors").write_bytes(b"x")
    assert find_file("x.safetensors", "vae", [tmp_path / "a", tmp_path / "b"]) == tmp_path / "b" / "x.safetensors"


def test_a_missing_known_file_tells_where_to_get_it_and_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError) as error:
        find_file(VAE.name, "vae", [tmp_path])
    assert str(error.value) == (
        "wan_2.1_vae.safetensors (the VAE of Wan 2.1 and of Wan 2.2 14B, 254 MB) is missing. Get "
        "split_files/vae/wan_2.1_vae.safetensors from Comfy-Org/Wan_2.1_ComfyUI_repackaged on the Hugging Face Hub and "
        f"put it into {tmp_path}, or run: wan-director download wan_2.1_vae.safetensors"
    )


def test_a_missing_unknown_file_tells_the_usual_ones(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"mine.safetensors is not in .* the usual ones are wan_2.1_vae"):
        find_file("mine.safetensors", "vae", [tmp_path])


def test_a_download_lands_whole_and_leaves_only_its_lock(tmp_path: Path) -> None:
    hub = _Hub()
    target = download(VAE, tmp_path / "vae", fetch=hub)
    assert target == tmp_path / "vae" / VAE.name
    assert target.read_bytes() == SOUND
    assert download(VAE, tmp_path / "vae", fetch=hub) == target
    assert hub.fetches == 1
    left = [file.name for file in target.parent.rglob("*") if file.is_file()]
    assert sorted(left) == [VAE.name, f"{VAE.name}.lock"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (SOUND[:-1], "is incomplete"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"", "is empty"),
    ],
)
def test_what_arrives_damaged_is_not_kept(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(DownloadError, match=f"The download of wan_2.1_vae.safetensors failed: .*{says}"):
        download(VAE, tmp_path, fetch=_Hub(data))
    assert not (tmp_path / VAE.name).exists()
    assert download(VAE, tmp_path, fetch=_Hub()).read_bytes() == SOUND


def _hub_error(name: str, base: type[Exception] = OSError, status: int | None = None) -> Exception:
    """An error as libraries of any version raise it: known by its class name and HTTP status."""
    error = type(name, (base,), {})("https://host/secret?token=hf_SECRET")
    if status is not None:
        error.response = type("Response", (), {"status_code": status})()
    return error


def _offline() -> Exception:
    error = _hub_error("LocalEntryNotFoundError", type("EntryNotFoundError", (OSError,), {}))
    error.__cause__ = _hub_error("OfflineModeIsEnabled", ConnectionError)
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (_hub_error("GatedRepoError", status=403), "asks for its licence to be accepted"),
        (_offline(), "offline mode is on"),
        (_hub_error("LocalEntryNotFoundError"), "there is no connection"),
        (_hub_error("ConnectTimeout", type("TimeoutException", (Exception,), {})), "there is no connection"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "there is no connection"),
        (_hub_error("ProxyError", ConnectionError), "the proxy refused"),
        (_hub_error("SSLError"), "the connection is not trusted"),
        (_hub_error("RemoteEntryNotFoundError", type("EntryNotFoundError", (Exception,), {})), "does not have it"),
        (_hub_error("HfHubHTTPError", status=401), "refused the access token"),
        (_hub_error("HfHubHTTPError", status=429), "asks to slow down"),
        (OSError(errno.ENOSPC, "No space left on device"), "is full: make room"),
        (PermissionError(errno.EACCES, "denied"), "cannot be written to"),
        (ValueError("strange"), r"the transfer failed \(ValueError\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_failures_name_their_cause_and_never_the_token(tmp_path: Path, error: Exception, says: str) -> None:
    with pytest.raises(DownloadError, match=says) as raised:
        download(VAE, tmp_path, fetch=_Hub(error=error))
    assert str(raised.value).startswith("wan_2.1_vae.safetensors could not be downloaded: ")
    assert "hf_SECRET" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_disk_without_room_is_refused_before_anything_is_fetched(tmp_path: Path, monkeypatch) -> None:
    hub = _Hub()
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(DownloadError, match=r"needs 1.3 GB on the disk of .* which has 1.0 GB free. Make room"):
        download(VAE, tmp_path / "not yet there", fetch=hub)
    assert hub.fetches == 0


def test_two_downloads_of_one_file_fetch_it_once(tmp_path: Path) -> None:
    first_is_in, go_on = threading.Event(), threading.Event()
    hub = _Hub()

    def slow(repo: str, path_in_repo: str, folder: Path) -> Path:
        first_is_in.set()
        go_on.wait(10)
        return hub(repo, path_in_repo, folder)

    results: list[Path] = []
    threads = [threading.Thread(target=lambda: results.append(download(VAE, tmp_path, fetch=slow))) for _ in range(2)]
    threads[0].start()
    first_is_in.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert results == [tmp_path / VAE.name] * 2
    assert hub.fetches == 1


def test_without_huggingface_hub_the_sentence_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match="pip install huggingface_hub.* by hand"):
        download(VAE, tmp_path)
