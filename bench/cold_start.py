"""The package for Lambda: seconds to the first answer, in a bare interpreter and in the local AWS, and what a warm
request takes besides the tail's own work. `python -m bench cold`."""

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

from bench.lambda_runtime import HANDLER, FunctionFailed, LambdaRuntime, bare_python, unpack_client
from bench.local_aws import local_aws
from bench.results import Spread, report
from bench.fixtures import bundle_of, keras_models, pictures
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
    with TemporaryDirectory() as scratch, pictures(1, 480, 640) as folder:
        bundle = bundle_of(keras_models()[_MODEL], Path(scratch))
        made = build_package(PackageSettings(bundle, python=_this_python()), Path(scratch) / "tail.zip")
        task, bare = Path(scratch, "task"), Path(scratch, "bare")
        client = unpack_client(Path(scratch, "client"))
        for place in (task, bare):
            with zipfile.ZipFile(made.path) as content:
                content.extractall(place)
        for compiled in bare.rglob("*.pyc"):
            compiled.unlink()
        half = min(bundle.cuts, key=lambda cut: abs(2 * cut.tail_macs - bundle.input_cut.tail_macs))
        (picture,) = (path.read_bytes() for path in folder.iterdir())
        events = {
            f"tail of {half.id}": _event(bundle, half, wire_tensors.encode("int8", half.boundary, _zeros(half))),
            "whole model": _event(bundle, bundle.input_cut, wire_tensors.encode_images(bundle.input, [picture])),
        }
        rows = []
        for name, event in events.items():
            for kind, place in (("", task), (", no byte code", bare)):
                seconds = [_first([place, client], event) for _ in range(_ROUNDS + 1)][1:]
                rows.append({"what": f"first answer, {name}{kind}, s", "spread": Spread.of(seconds)})
            besides, tail = _warm([task, client], event)
            rows.append({"what": f"warm, {name}: besides the tail, ms", "spread": besides})
            rows.append({"what": f"warm, {name}: the tail, ms", "spread": tail})
        name, event = next(iter(events.items()))
        for what, spread in _emulated(made.path, event, Path(scratch)).items():
            rows.append({"what": f"local AWS, {name}: {what}, s", "spread": spread})
        unpacked = made.unpacked_bytes / 1e6
        rows.append({"what": f"package of {_MODEL}, MB unpacked", "spread": Spread(unpacked, unpacked, unpacked)})
        report("cold", rows)


def _first(paths: list[Path], event: object) -> float:
    """From the start of the process to the first answer, imports and compilation included."""
    with LambdaRuntime() as runtime:
        runtime.put(event)
        began = runtime.start(bare_python(), paths, {})
        answered = runtime.take()
        _ = answered.value
    return answered.at_s - began


def _emulated(package: Path, event: object, scratch: Path) -> dict[str, Spread]:
    """From invoking a function that was just made to its answer, in the local AWS, which unpacks the package only then;
    the same of a function in the same package that imports nothing and computes nothing; and the difference."""
    empty = scratch / "empty.zip"
    shutil.copyfile(package, empty)
    with zipfile.ZipFile(empty, "a") as content:
        content.writestr("empty.py", "def handle(event, context):\n    return {}\n")
    seconds: dict[str, list[float]] = {}
    for turn in range(_EMULATED_ROUNDS + 1):
        for what, path, handler in (("tail", package, HANDLER), ("empty", empty, "empty.handle")):
            taken = _first_emulated(path, handler, event)
            if turn:
                seconds.setdefault(what, []).append(taken)
    ours = [mine - other for mine, other in zip(seconds["tail"], seconds["empty"], strict=True)]
    return {
        "first answer": Spread.of(seconds["tail"]),
        "of an empty function as large": Spread.of(seconds["empty"]),
        "the difference": Spread.of(ours),
    }


def _first_emulated(package: Path, handler: str, event: object) -> float:
    """Seconds from invoking a new function to its answer, in a local AWS of its own, which keeps what it unpacks."""
    import boto3

    with TemporaryDirectory() as folder, local_aws(Path(folder)):
        boto3.client("s3").create_bucket(Bucket=_NAME)
        boto3.client("s3").upload_file(str(package), _NAME, package.name)
        client = boto3.client("lambda")
        client.create_function(
            FunctionName=_NAME,
            Runtime=f"python{_this_python()}",
            Role="arn:aws:iam::000000000000:role/bench",
            Handler=handler,
            Code={"S3Bucket": _NAME, "S3Key": package.name},
            Timeout=60,
            MemorySize=1769,
        )
        client.get_waiter("function_active_v2").wait(FunctionName=_NAME)
        began = time.perf_counter()
        answer = client.invoke(FunctionName=_NAME, Payload=json.dumps(event))
        payload = answer["Payload"].read()
        taken = time.perf_counter() - began
    if "FunctionError" in answer:
        raise FunctionFailed(payload.decode(errors="replace"))
    return taken


def _warm(paths: list[Path], event: object) -> tuple[Spread, Spread]:
    """Milliseconds of a warm request outside and inside the engine's call."""
    besides, tail = [], []
    with LambdaRuntime() as runtime:
        runtime.start(bare_python(), paths, {})
        for _ in range(5):
            runtime.invoke(event)
        for _ in range(_WARM):
            began = time.perf_counter()
            runtime.put(event)
            answered = runtime.take()
            round_trip_us = int((answered.at_s - began) * 1e6)
            tail_us = _tail_us(answered.value, round_trip_us)
            besides.append((round_trip_us - tail_us) / 1000)
            tail.append(tail_us / 1000)
    return Spread.of(besides), Spread.of(tail)


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


def _this_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


if __name__ == "__main__":
    main()
