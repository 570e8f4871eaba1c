"""Downloads end with the whole file, verified, or with a named reason; what was interrupted goes on."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import random
import shutil
import socket
import ssl
import sys
import threading
import urllib.error
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from wan_director.common.errors import DownloadError
from wan_director.model_loading.publishing import download as module
from wan_director.model_loading.publishing import transfer
from wan_director.model_loading.publishing.causes import of_exception
from wan_director.model_loading.publishing.download import download
from wan_director.model_loading.publishing.known_files import KnownFile

from .hub_server import Hub, serving

SOUND = save({"w": torch.arange(50_000, dtype=torch.float32)})
SHA256 = hashlib.sha256(SOUND).hexdigest()
VAE = KnownFile("wan_2.1_vae.safetensors", "vae", "a VAE", "Owner/Repo", "split/wan_2.1_vae.safetensors", len(SOUND))
PINNED = VAE._replace(sha256=SHA256)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the user's token, proxies and cache nor the waiting between two tries."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING", "TRANSFORMERS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(transfer, "_WAIT_S", 0)
    monkeypatch.setattr(transfer, "_MAX_WAIT_S", 0)
    usage = shutil._ntuple_diskusage(10**12, 0, 10**12)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    with serving(Hub(SOUND)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "vae"


def fails(file: KnownFile, folder: Path, says: str) -> None:
    with pytest.raises(DownloadError, match=says) as raised:
        download(file, folder)
    assert file.name in str(raised.value) and "hf_SECRET" not in str(raised.value)
    assert "\n" not in str(raised.value) and "{" not in str(raised.value)


def test_a_download_lands_whole_and_leaves_nothing_else(hub: Hub, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = download(VAE, folder, on_bytes=lambda *counts: seen.append(counts))
    assert target == folder / VAE.name and target.read_bytes() == SOUND
    assert [each.name for each in folder.iterdir()] == [VAE.name]
    assert seen[0] == (0, len(SOUND)) and seen[-1] == (len(SOUND), len(SOUND))
    assert hub.asked[-1] == ("GET", None, None)


def test_twenty_cuts_cost_one_transfer_and_twenty_partial_requests(hub: Hub, folder: Path) -> None:
    places = sorted(random.Random(7).sample(range(1, len(SOUND)), 20))
    hub.cuts = [end - start for start, end in zip([0, *places], places)]
    assert download(VAE, folder).read_bytes() == SOUND
    assert sum(hub.sent) == len(SOUND)
    ranges = [wanted for method, wanted, _ in hub.asked if method == "GET"]
    assert ranges == [None, *(f"bytes={place}-" for place in places)]


def test_a_later_process_goes_on_where_the_first_stopped(hub: Hub, folder: Path) -> None:
    hub.cuts = [1000] + [0] * 10
    fails(VAE, folder, "broke off 5 times in a row: run it again")
    (part,) = folder.iterdir()
    assert part.suffix == ".part" and part.read_bytes() == SOUND[:1000]
    hub.cuts = []
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(download, (VAE, folder)) == folder / VAE.name
    assert (folder / VAE.name).read_bytes() == SOUND
    assert hub.asked[-1][1] == "bytes=1000-"


def test_a_part_of_another_version_is_not_continued(hub: Hub, folder: Path) -> None:
    hub.cuts = [1000] + [0] * 10
    fails(VAE, folder, "broke off")
    hub.data, hub.cuts = save({"w": torch.ones(50_000)}), []
    assert download(VAE, folder).read_bytes() == hub.data
    assert [each.name for each in folder.iterdir()] == [VAE.name]
    assert hub.asked[-1][1] is None


def test_a_part_that_is_a_link_is_not_written_through(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.cuts = [1000] + [0] * 10
    fails(VAE, folder, "broke off")
    (part,) = folder.iterdir()
    other = tmp_path / "other"
    other.write_bytes(SOUND[:1000])
    part.unlink()
    part.symlink_to(other)
    hub.cuts = []
    assert download(VAE, folder).read_bytes() == SOUND and not (folder / VAE.name).is_symlink()
    assert other.read_bytes() == SOUND[:1000]


def test_a_server_that_cannot_send_parts_sends_the_whole_again(hub: Hub, folder: Path) -> None:
    hub.cuts, hub.ranges = [1000], False
    assert download(VAE, folder).read_bytes() == SOUND
    assert hub.sent == [1000, len(SOUND)]


def test_a_part_that_is_too_long_begins_again(hub: Hub, folder: Path) -> None:
    hub.cuts = [1000] + [0] * 10
    fails(VAE, folder, "broke off")
    (part,) = folder.iterdir()
    part.write_bytes(bytes(len(SOUND) + 1))
    hub.cuts = []
    assert download(VAE, folder).read_bytes() == SOUND


@pytest.mark.parametrize("zeroed", [slice(-100, None), slice(5000, 5100)])
def test_contents_that_differ_from_what_is_announced_come_once_more(hub: Hub, folder: Path, zeroed: slice) -> None:
    def damage(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[zeroed] = bytes(100)
        return bytes(changed)

    contents = [damage, lambda data: data]
    hub.content = lambda data: contents[min(1, len(hub.sent))](data)
    assert download(VAE, folder).read_bytes() == SOUND
    assert len(hub.sent) == 2
    (folder / VAE.name).unlink()
    hub.content = damage
    fails(VAE, folder, r"failed twice: its contents differ \(sha256\)")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "headers", "says"),
    [
        (lambda data: data[:-1], {}, r"sends 200,\d+ bytes where 200,\d+ are published"),
        (lambda data: b"<html>Sign in</html>", {"Content-Type": "text/html"}, "a web page instead of the file"),
        (lambda data: data, {"Content-Encoding": "gzip"}, "sent the file compressed"),
    ],
)
def test_what_is_not_the_file_is_not_kept(hub: Hub, folder: Path, content, headers, says: str) -> None:
    hub.content, hub.headers = content, headers
    if "text/html" not in headers.values():
        hub.announced = hub.linked()
    fails(VAE, folder, says)
    assert not (folder / VAE.name).exists()
    hub.content, hub.headers, hub.announced = lambda data: data, {}, None
    assert download(VAE, folder).read_bytes() == SOUND


def test_a_page_in_place_of_every_answer_is_named(hub: Hub, folder: Path) -> None:
    hub.announced, hub.headers = {}, {"Content-Type": "text/html; charset=utf-8"}
    fails(VAE, folder, "a web page instead of the file")


def test_another_file_under_the_name_is_refused_by_its_size(hub: Hub, folder: Path) -> None:
    fails(VAE._replace(size_bytes=len(SOUND) * 42), folder, "the server offers 200,.* bytes, and the file has about")
    fails(PINNED._replace(size_bytes=len(SOUND) + 1), folder, "the server offers")
    assert hub.sent == []


@pytest.mark.parametrize(
    ("status", "headers", "says"),
    [
        (401, {}, "asks for its licence to be accepted"),
        (403, {"X-Error-Code": "GatedRepo"}, "Owner/Repo asks for its licence"),
        (403, {}, r"refused access to Owner/Repo \(403\)"),
        (404, {"X-Error-Code": "EntryNotFound"}, "does not have it any more"),
        (404, {}, "does not have it any more"),
        (410, {}, "does not have it any more"),
        (429, {"Retry-After": "30"}, "asks to slow down .*wait 30 seconds"),
        (429, {}, "asks to slow down .*wait some minutes"),
        (451, {}, "may not send it to where you are"),
        (500, {}, r"has trouble \(500\)"),
        (503, {}, r"has trouble \(503\)"),
        (418, {}, "answered with 418"),
    ],
)
def test_every_refusal_has_its_own_sentence(hub: Hub, folder: Path, status: int, headers, says: str) -> None:
    hub.errors = [(status, headers)] * 20
    fails(VAE, folder, f"could not be downloaded: .*{says}")
    hub.errors = [(0, {}), *[(status, headers)] * 20]  # the question is answered, the download is not
    fails(VAE, folder, says)


def test_a_server_in_trouble_is_asked_again(hub: Hub, folder: Path) -> None:
    hub.errors = [(0, {}), (503, {}), (500, {}), (429, {})]
    assert download(VAE, folder).read_bytes() == SOUND


def test_416_begins_again_and_then_says_so(hub: Hub, folder: Path) -> None:
    hub.errors = [(0, {}), *[(416, {})] * 20]
    fails(VAE, folder, r"would not send a part of the file \(416\)")


def test_a_refused_token_is_named_and_never_shown(hub: Hub, folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    hub.errors = [(401, {})]
    fails(VAE, folder, "refused the access token: set HF_TOKEN")
    assert hub.asked[-1][2] == "Bearer hf_SECRET"
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET\nX: y")
    with pytest.raises(DownloadError, match="holds characters that no token has") as raised:
        download(VAE, folder)
    assert "SECRET" not in str(raised.value)


def test_the_token_stays_with_the_host_that_was_asked(hub: Hub, folder: Path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    with serving(Hub(SOUND)) as other:
        hub.sends_on_to = other.address
        assert download(VAE, folder).read_bytes() == SOUND
    assert {token for *_, token in hub.asked} == {"Bearer hf_SECRET"}
    assert [each[2] for each in other.asked] == [None]
    assert "SECRET" not in caplog.text


def test_the_token_of_a_login_is_used(hub: Hub, folder: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_SECRET\n")
    download(VAE, folder)
    assert hub.asked[0][2] == "Bearer hf_SECRET"
    (folder / VAE.name).unlink()
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    download(VAE, folder)
    assert hub.asked[-1][2] is None


def test_a_circle_of_redirects_ends(hub: Hub, folder: Path) -> None:
    hub.announced, hub.sends_on_to = {}, hub.address
    fails(VAE, folder, "sent the request on too often")
    hub.sends_on_to = "file://"
    fails(VAE, folder, "an address that is not safe")


def test_a_server_that_says_nothing_is_named(hub: Hub, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfer, "ASK_TIMEOUT_S", 0.2)
    monkeypatch.setattr(transfer, "READ_TIMEOUT_S", 0.2)
    hub.silent_s = 1
    fails(VAE, folder, "sent nothing for 0 seconds")


def test_without_a_connection_the_answer_comes_at_once(folder: Path, monkeypatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        fails(VAE, folder, "there is no connection to 127.0.0.1: check the network")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fails(VAE, folder, r"offline mode is on \(HF_HUB_OFFLINE\)")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (urllib.error.URLError(ssl.SSLCertVerificationError(1, "self-signed")), "is not trusted"),
        (urllib.error.URLError(ssl.SSLError(1, "wrong version number")), "is not trusted"),
        (urllib.error.URLError(OSError("Tunnel connection failed: 407 Proxy Authentication")), "the proxy refused"),
        (urllib.error.URLError(socket.gaierror(-2, "Name or service not known")), "there is no connection"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "there is no connection"),
        (OSError(errno.ENETUNREACH, "unreachable"), "there is no connection"),
        (TimeoutError(), "sent nothing for 30 seconds"),
    ],
)
def test_failures_of_a_connection_name_their_cause(error: Exception, says: str) -> None:
    assert says in str(of_exception(error, timeout_s=30))


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://x", "http://", "https://user:pw@host", "http://h:0x"])
def test_an_endpoint_that_is_no_address_is_refused(folder: Path, monkeypatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    fails(VAE, folder, "HF_ENDPOINT is no address")


@pytest.mark.parametrize("content", [b"12345678", b"", SOUND[:-1], b"<html>"])
def test_a_stump_under_the_name_is_replaced(hub: Hub, folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / VAE.name).write_bytes(content)
    assert download(VAE, folder).read_bytes() == SOUND


def test_what_lies_there_is_verified(hub: Hub, folder: Path, monkeypatch) -> None:
    target = download(VAE, folder)
    assert download(VAE, folder) == target and len(hub.sent) == 1
    damaged = bytearray(SOUND)
    damaged[-100:] = bytes(100)
    for content in (bytes(damaged), save({"w": torch.ones(7)})):
        target.write_bytes(content)
        fails(VAE, folder, "but not the one that Owner/Repo publishes: .* rename or delete it")
        fails(PINNED, folder, "but not the one that Owner/Repo publishes")
        assert target.read_bytes() == content
    target.write_bytes(SOUND)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert download(PINNED, folder) == download(VAE, folder) == target


def test_a_folder_in_the_way_is_named(hub: Hub, folder: Path) -> None:
    (folder / VAE.name).mkdir(parents=True)
    fails(VAE, folder, "is a folder, where the file .* belongs: move it away")
    (folder / VAE.name).rmdir()
    folder.rmdir()
    folder.write_text("a file")
    fails(VAE, folder, "is no folder: give another place")


def _cached(tmp_path: Path, data: bytes, name: str = SHA256) -> None:
    snapshot = tmp_path / "hf" / "hub" / "models--Owner--Repo" / "snapshots" / "abc" / VAE.path_in_repo
    snapshot.parent.mkdir(parents=True)
    blob = tmp_path / "hf" / "hub" / "models--Owner--Repo" / "blobs" / name
    blob.parent.mkdir()
    blob.write_bytes(data)
    snapshot.symlink_to(blob)


def test_a_copy_in_the_hubs_cache_is_used(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _cached(tmp_path, SOUND)
    target = download(VAE, folder)
    assert target.read_bytes() == SOUND and not target.is_symlink()
    assert [each.name for each in folder.iterdir()] == [VAE.name]


@pytest.mark.parametrize("copy", [SOUND[:-1], SOUND[:-100] + bytes(100), b""])
def test_a_copy_cut_short_in_the_hubs_cache_is_fetched_anew(hub: Hub, folder: Path, tmp_path: Path, copy) -> None:
    _cached(tmp_path, copy)
    assert download(VAE, folder).read_bytes() == SOUND
    assert hub.sent == [len(SOUND)]


def test_a_disk_without_room_is_refused_before_anything_is_fetched(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(DownloadError, match=r"needs 1.0 GB on the disk of .* which has 1.0 GB free. Make room"):
        download(VAE, tmp_path / "not yet there")
    assert hub.sent == []


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "is full: make room"),
        (errno.EACCES, "cannot be written to: check its permissions"),
        (errno.EROFS, "cannot be written to: check its permissions"),
        (errno.EFBIG, "FAT32"),
        (errno.EIO, "cannot be written to .*: check the disk"),
    ],
)
def test_failures_of_the_disk_name_their_cause(hub: Hub, folder: Path, monkeypatch, number: int, says: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    fails(VAE, folder, says)


def test_two_downloads_of_one_file_fetch_it_once(hub: Hub, folder: Path, monkeypatch) -> None:
    both, fetched = threading.Barrier(2), module._fetched

    def slow(*arguments):
        if both.n_waiting == 0:
            threading.Event().wait(0.3)
        return fetched(*arguments)

    monkeypatch.setattr(module, "_fetched", slow)
    results: list[Path] = []
    threads = [threading.Thread(target=lambda: results.append(download(VAE, folder))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [folder / VAE.name] * 2
    assert hub.sent == [len(SOUND)]


def test_downloads_need_no_package(hub: Hub, folder: Path, monkeypatch) -> None:
    for name in ("huggingface_hub", "filelock", "requests", "httpx", "certifi"):
        monkeypatch.setitem(sys.modules, name, None)
    assert download(VAE, folder).read_bytes() == SOUND
