"""A real server under hostile image files: the next valid request, its memory, and what it replies."""

import io
import json
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.remote.conftest import Serve, Server

GENEROUS_S = 20.0  # on a busy machine; alone, the next valid request takes less than 2 s
INFER = "/v2/models/digits/versions/c000/infer"
INPUT = json.loads((ROOT / "data/digits/digits.bundle/bundle.json").read_text(encoding="utf-8"))["input"]["name"]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def request_of(files: list[bytes]) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a request with image files."""
    data = b"".join(struct.pack("<I", len(file)) + file for file in files)
    tensor = {"name": INPUT, "datatype": "BYTES", "shape": [len(files)]}
    header = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(data)}}]}).encode()
    return {"Inference-Header-Content-Length": str(len(header))}, header + data


def ask(server: Server, files: list[bytes]) -> list[str]:
    """The error of each image of a request; empty for an image with a prediction."""
    headers, body = request_of(files)
    reply = httpx.post(f"{server.url}{INFER}", content=body, headers=headers, timeout=100, trust_env=False)
    assert reply.status_code == 200, reply.text
    outputs = {output["name"]: output for output in reply.json()["outputs"]}
    return outputs["errors"]["data"] if "errors" in outputs else [""] * len(files)


def send(server: Server, files: list[bytes]) -> socket.socket:
    """Send a request, and do not wait for its reply."""
    headers, body = request_of(files)
    lines = [f"POST {INFER} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection = socket.create_connection(server.address)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


def peak_mb(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1000


ATTACKS = {
    "JPEG 2000 of 88 million pixels": lambda: [encoded(Image.new("L", (9400, 9400)), "JPEG2000", no_jp2=True)] * 16,
    "JPEG 2000 that is reduced": lambda: [encoded(Image.new("RGB", (1500, 1500)), "JPEG2000", no_jp2=True)] * 16,
    "PNG below the limit": lambda: [encoded(Image.new("L", (6500, 6500)), "PNG", compress_level=1)] * 16,
    "float TIFF": lambda: [encoded(Image.new("F", (5000, 5000)), "TIFF", compression="tiff_lzw")] * 8,
    "flat JPEG": lambda: [encoded(Image.new("RGB", (6500, 6500)), "JPEG")] * 8,
}


@pytest.fixture(scope="module")
def attacked() -> Iterator[Server]:
    server = Server("digits")
    yield server
    server.stop()


@linux_only
@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_next_valid_request_does_not_wait_for_hostile_images(
    attacked: Server, digits: list[bytes], attack: str
) -> None:
    files = ATTACKS[attack]()
    for connection in [send(attacked, files) for _ in range(3)]:
        connection.close()
    kept = [send(attacked, files) for _ in range(2)]
    began = time.monotonic()
    assert ask(attacked, digits[:4]) == [""] * 4
    assert time.monotonic() - began < GENEROUS_S
    for connection in kept:
        connection.close()  # its work is given up between two images
    assert peak_mb(attacked) < 1000


def test_an_upload_beyond_the_limit_is_an_error_of_its_image(serve: Serve, digits: list[bytes]) -> None:
    server = serve("--max-pixels", "1")
    errors = ask(server, [digits[0], encoded(Image.new("L", (1200, 1000)), "PNG"), digits[1]])
    assert errors[0] == errors[2] == ""
    assert errors[1] == "the image has 1,200,000 pixels, more than 1,000,000 (--max-pixels)"


def test_all_images_of_a_request_have_a_limit_too(serve: Serve, digits: list[bytes]) -> None:
    server = serve("--max-pixels", "1")
    errors = ask(server, [encoded(Image.new("L", (1000, 1000)), "PNG")] * 18 + digits[:1])
    assert errors[:17] == [""] * 17
    assert all(
        "more than 16,000,000 pixels together; send fewer at once (--batch-size)" in error for error in errors[17:]
    )


def test_uploads_and_local_images_have_the_same_predictions(attacked: Server) -> None:
    """A JPEG 2000 above the size from which it is reduced: the server and this process reduce it alike."""
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.model.runtimes import open_runtime
    from hybrid_batch.inference.protocol.codecs import wire_tensors
    from hybrid_batch.inference.protocol.wire import Frame
    from hybrid_batch.inference.tails.local import LocalTail

    noise = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    file = encoded(Image.fromarray(noise).resize((1600, 1200)), "JPEG2000")
    bundle = resolve_model("digits")
    frame = Frame(wire_tensors.encode_images(bundle.input, [file]))
    local = LocalTail(bundle, open_runtime("openvino", bundle)).infer("c000", frame).scores
    headers, body = request_of([file])
    reply = httpx.post(f"{attacked.url}{INFER}", content=body, headers=headers, timeout=100, trust_env=False).json()
    assert np.array_equal(np.array(reply["outputs"][0]["data"], np.float32), local.reshape(-1))
