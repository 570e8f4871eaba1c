"""Ways to damage a file, at random but repeatably: blindly by bytes, or by its structure, which gets deeper."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from typing import Any

Random = random.Random

SIZES = (0, 1, 2, 3, 7, 8, 127, 255, 256, 65535, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (
    "", "a", "\0", "\n", "../../x", "C:\\x", "/etc/passwd", "F32", "BF16", "I8", "U8", "F8_E4M3", "F4",
    "int8_tensorwise", "float8_e4m3fn", "nvfp4", "mxfp8",
    "convrot", "weight", "__metadata__", "\ud800", "é" * 40, "9" * 400, "NaN",
)  # fmt: skip
ENTRIES = ("data.pkl", "../../x", "/etc/x", "archive/data/0", "archive/.format_version", "archive/code.pkl", "é" * 40)
SNIPPETS = (
    b"\0" * 8, b"\xff" * 8, b"{", b"}", b"[", b'"', b"\\u0000", b"1e999", b"null", b"-1", b"PK\x03\x04", b"GGUF",
    b"\x80\x02", b"weight_scale", b"comfy_quant", b"lora_A", b".alpha",
)  # fmt: skip


def damage_bytes(data: bytes, rng: Random) -> bytes:
    """Flips, cuts, repeats, drops or inserts, one to four times; mostly near the start, where headers are."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        size = len(out)
        place = min(int(rng.paretovariate(0.3)) if rng.random() < 0.6 else rng.randrange(size + 1), max(size - 1, 0))
        kind = rng.randrange(6)
        if kind == 0 and size:
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[place : place + rng.choice((1, 2, 8, 100, size))]
        elif kind == 2:
            out[place:place] = rng.choice(SNIPPETS)
        elif kind == 3:
            out[place : place + 8] = struct.pack("<Q", rng.choice(SIZES))
        elif kind == 4:
            out[place:place] = out[place : place + rng.choice((4, 64, 512))]
        else:
            out[place : place + 4] = rng.randbytes(4)
    return bytes(out)


def damage_safetensors(data: bytes, rng: Random) -> bytes:
    """A header that still parses, with wrong entries in it; the data may get shorter or longer to match."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    for _ in range(rng.randint(1, 3)):
        header = _damage_header(header, rng)
    if rng.random() < 0.3:
        body = damage_bytes(body, rng)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + body


def _damage_header(header: dict[str, Any], rng: Random) -> dict[str, Any]:
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return {"a": damage_json({}, rng)}
    name, kind = rng.choice(names), rng.randrange(8)
    if kind == 0:
        header.pop(name)
    elif kind == 1:
        header = {rng.choice((name[1:], name + rng.choice(WORDS), rng.choice(WORDS))) if key == name else key: value
                  for key, value in header.items()}  # fmt: skip
    elif kind == 2:
        header[name] = damage_json(header[name], rng)
    elif kind == 3 and isinstance(header[name], dict):
        header[name]["dtype"] = rng.choice(WORDS)
    elif kind == 4 and isinstance(header[name], dict):
        header[name]["shape"] = [rng.choice(SIZES) for _ in range(rng.randrange(5))]
    elif kind == 5:
        other = rng.choice(names)
        header[name], header[other] = header[other], header[name]
    elif kind == 6:
        header["__metadata__"] = damage_json(header.get("__metadata__", {}), rng)
    elif isinstance(header[name], dict) and isinstance(header[name].get("shape"), list):
        header[name]["shape"] = _same_count(header[name]["shape"], rng)
    return header


def _same_count(shape: list[Any], rng: Random) -> list[Any]:
    """Another shape of as many elements, so that the entry stays sound and the wrong shape gets further."""
    choices = ([*shape, 1], [1, *shape], shape[::-1], [*shape, 0])
    if all(isinstance(size, int) for size in shape) and len(shape) == 2:
        choices = (*choices, [shape[0] * shape[1]], [shape[0] * shape[1], 1])
    return rng.choice(choices)


def damage_json(value: Any, rng: Random) -> Any:
    """The same value with something in it replaced, of any type."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        return value | {key: damage_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], damage_json(value[place], rng), *value[place + 1 :]]
    if isinstance(value, str) and rng.random() < 0.4:
        return damage_bytes(value.encode("utf-8", "replace"), rng).decode("utf-8", "replace")
    leaves = (None, True, -1, 1.5, 1e308, float("nan"), [], {}, [[]], {"a": {}}, rng.choice(SIZES), rng.choice(WORDS))
    return rng.choice(leaves)


def damage_json_bytes(data: bytes, rng: Random) -> bytes:
    """JSON with something replaced, or with damaged bytes."""
    if rng.random() < 0.3:
        return damage_bytes(data, rng)
    return json.dumps(damage_json(json.loads(data), rng)).encode("utf-8", "surrogatepass")


def damage_pickle(data: bytes, rng: Random, canary: str) -> bytes:
    """Damages a pickle, or plants a call in it that would create the file `canary`."""
    if rng.random() < 0.5:
        return damage_bytes(data, rng)
    module, name, argument = rng.choice(
        (("builtins", "open", ("w",)), ("os", "mknod", ()), ("io", "FileIO", ("w",)), ("posix", "mkdir", ()))
    )
    arguments = b"".join(b"X" + struct.pack("<I", len(word)) + word.encode() for word in (canary, *argument))
    call = f"c{module}\n{name}\n".encode() + b"(" + arguments + b"tR"
    if rng.random() < 0.3:  # the newer opcode, which takes the names from the stack
        names = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
        call = names + b"\x93(" + arguments + b"tR"
    place = rng.randrange(2, len(data))
    return data[:place] + call + (b"0" if rng.random() < 0.7 else b"") + data[place:]


def damage_archive(data: bytes, rng: Random, canary: str) -> bytes:
    """A PyTorch archive with a damaged pickle in it and a right checksum, or with damaged entries."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                content = damage_pickle(content, rng, canary)
            elif rng.random() < 0.1:
                content = damage_bytes(content, rng)
            name = rng.choice(ENTRIES) if rng.random() < 0.05 else entry.filename
            packing = zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED
            target.writestr(name, content, packing)
    return out.getvalue() if rng.random() < 0.8 else damage_bytes(out.getvalue(), rng)
