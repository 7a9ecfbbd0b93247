"""The Lambda package: `python -m bench cold_start`.

Measures the seconds to the first response, in a bare interpreter and in a local AWS, and the overhead of a warm request
over the tail's own work.
"""

import json
import shutil
import sys
import time
import zipfile
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.fixtures import image_folder, import_bundle, keras_models
from bench.lambda_runtime import HANDLER, FunctionFailed, LambdaRuntime, bare_python, unpack_client
from bench.local_aws import local_aws
from bench.results import Spread, report
from hybrid_batch.inference.cloud.packaging.package import PackageSettings, build_package
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.infer_response import decode_timings
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH, Frame, decode_response, encode_request

_ROUNDS, _EMULATED_ROUNDS = 7, 5
_WARM = 50
_MODEL = "MobileNetV2"
_NAME = "bench"


def main() -> None:
    """Measure and report."""
    with TemporaryDirectory() as scratch, image_folder(1, 480, 640) as folder:
        bundle = import_bundle(keras_models()[_MODEL], Path(scratch))
        built = build_package(PackageSettings(bundle, python=_python_version()), Path(scratch) / "tail.zip")
        task, bare = Path(scratch, "task"), Path(scratch, "bare")
        client = unpack_client(Path(scratch, "client"))
        for unpacked in (task, bare):
            with zipfile.ZipFile(built.path) as content:
                content.extractall(unpacked)
        for compiled in bare.rglob("*.pyc"):
            compiled.unlink()
        half = min(bundle.cuts, key=lambda cut: abs(2 * cut.tail_macs - bundle.input_cut.tail_macs))
        (image,) = (path.read_bytes() for path in folder.iterdir())
        events = {
            f"tail of {half.id}": _event(bundle, half, wire_tensors.encode("int8", half.boundary, _zeros(half))),
            "whole model": _event(bundle, bundle.input_cut, wire_tensors.encode_images(bundle.input, [image])),
        }
        rows = []
        for name, event in events.items():
            for kind, unpacked in (("", task), (", no byte code", bare)):
                seconds = [_first([unpacked, client], event) for _ in range(_ROUNDS + 1)][1:]
                rows.append({"what": f"first response, {name}{kind}, s", "spread": Spread.of(seconds)})
            overhead, tail = _warm([task, client], event)
            rows.append({"what": f"warm, {name}: overhead, ms", "spread": overhead})
            rows.append({"what": f"warm, {name}: the tail, ms", "spread": tail})
        name, event = next(iter(events.items()))
        for what, spread in _emulated(built.path, event, Path(scratch)).items():
            rows.append({"what": f"local AWS, {name}: {what}, s", "spread": spread})
        size_mb = built.unpacked_bytes / 1e6
        rows.append({"what": f"package of {_MODEL}, MB unpacked", "spread": Spread(size_mb, size_mb, size_mb)})
        report("cold_start", rows)


def _first(paths: list[Path], event: object) -> float:
    """Return the seconds from process start to the first response, including imports and compilation."""
    with LambdaRuntime() as runtime:
        runtime.send_event(event)
        began = runtime.start(bare_python(), paths, {})
        response = runtime.receive_response()
        _ = response.value
    return response.at_s - began


def _emulated(package: Path, event: object, scratch: Path) -> dict[str, Spread]:
    """Return the seconds from the first invocation of a new function to its response, in a local AWS that unpacks the
    package for it; the same for a function in the same package that does nothing; and the difference."""
    empty = scratch / "empty.zip"
    shutil.copyfile(package, empty)
    with zipfile.ZipFile(empty, "a") as content:
        content.writestr("empty.py", "def handle(event, context):\n    return {}\n")
    seconds: dict[str, list[float]] = {}
    for turn in range(_EMULATED_ROUNDS + 1):
        for what, path, handler in (("tail", package, HANDLER), ("empty", empty, "empty.handle")):
            seconds_taken = _first_emulated(path, handler, event)
            if turn:
                seconds.setdefault(what, []).append(seconds_taken)
    differences = [tail - empty for tail, empty in zip(seconds["tail"], seconds["empty"], strict=True)]
    return {
        "first response": Spread.of(seconds["tail"]),
        "empty function of this size": Spread.of(seconds["empty"]),
        "difference": Spread.of(differences),
    }


def _first_emulated(package: Path, handler: str, event: object) -> float:
    """Return the seconds from the first invocation of a new function to its response, in a new local AWS."""
    import boto3

    with TemporaryDirectory() as folder, local_aws(Path(folder)):
        boto3.client("s3").create_bucket(Bucket=_NAME)
        boto3.client("s3").upload_file(str(package), _NAME, package.name)
        client = boto3.client("lambda")
        client.create_function(
            FunctionName=_NAME,
            Runtime=f"python{_python_version()}",
            Role="arn:aws:iam::000000000000:role/bench",
            Handler=handler,
            Code={"S3Bucket": _NAME, "S3Key": package.name},
            Timeout=60,
            MemorySize=1769,
        )
        client.get_waiter("function_active_v2").wait(FunctionName=_NAME)
        began = time.perf_counter()
        reply = client.invoke(FunctionName=_NAME, Payload=json.dumps(event))
        payload = reply["Payload"].read()
        taken = time.perf_counter() - began
    if "FunctionError" in reply:
        raise FunctionFailed(payload.decode(errors="replace"))
    return taken


def _warm(paths: list[Path], event: object) -> tuple[Spread, Spread]:
    """Return the milliseconds of a warm request outside and inside the runtime's call."""
    overhead, tail = [], []
    with LambdaRuntime() as runtime:
        runtime.start(bare_python(), paths, {})
        for _ in range(5):
            runtime.invoke(event)
        for _ in range(_WARM):
            began = time.perf_counter()
            runtime.send_event(event)
            response = runtime.receive_response()
            round_trip_us = int((response.at_s - began) * 1e6)
            tail_us = _tail_us(response.value, round_trip_us)
            overhead.append((round_trip_us - tail_us) / 1000)
            tail.append(tail_us / 1000)
    return Spread.of(overhead), Spread.of(tail)


def _tail_us(result: Any, round_trip_us: int) -> int:  # noqa: ANN401
    frame = decode_response(b64decode(result["body"]), int(result["headers"][HEADER_LENGTH]))
    return decode_timings(frame.parameters, round_trip_us).tail_us


def _zeros(cut: Cut) -> list[np.ndarray]:
    return [np.zeros((1, *tensor.shape), np.float32) for tensor in cut.boundary]


def _event(bundle: Bundle, cut: Cut, tensors: Any) -> dict[str, Any]:  # noqa: ANN401
    body = encode_request(Frame(tensors))
    return {
        "version": "2.0",
        "rawPath": f"/v2/models/{bundle.name}/versions/{cut.id}/infer",
        "headers": body.headers,
        "requestContext": {"http": {"method": "POST"}},
        "body": b64encode(body.join()).decode(),
        "isBase64Encoded": True,
    }


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


if __name__ == "__main__":
    main()
