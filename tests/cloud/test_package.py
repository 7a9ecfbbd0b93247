"""Packages: complete, for the right processor, and running without any file of this machine."""

import ast
import hashlib
import json
import os
import struct
import subprocess
import sys
import sysconfig
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from bench.lambda_runtime import FunctionFailed, LambdaRuntime, bare_python, unpack_client
from hybrid_batch.cli import main as command
from hybrid_batch.data.errors import PackageFailed
from hybrid_batch.data.packaging.archive import code_files
from hybrid_batch.inference.cloud.packaging import dependencies, package
from hybrid_batch.inference.cloud.packaging.package import PackageSettings, build_package
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.infer_response import decode_scores
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH, Frame, decode_response, encode_request
from hybrid_batch.inference.tails.local import LocalTail
from tests.conftest import HANG_S, ROOT
from tests.emr.wheelhouse import make_wheelhouse

LIBRARIES = sysconfig.get_path("purelib")
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PROBE = """
import sys
from hybrid_batch.inference.cloud.function.handler import handle as tail

def handle(event, context):
    if event != "modules":
        return tail(event, context)
    return sorted({str(getattr(module, "__file__", None)) for module in sys.modules.values()})
"""


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return resolve_model("digits")


@pytest.fixture(scope="session")
def made(wheels: None, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> package.Package:
    folder = tmp_path_factory.mktemp("package")
    return build_package(PackageSettings(bundle, python=THIS_PYTHON), folder / "tail.zip")


@pytest.fixture(scope="session")
def task(made: package.Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip, unpacked as by Lambda."""
    folder = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(made.path) as content:
        content.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = unpack_client(tmp_path_factory.mktemp("client"))
    (folder / "probe.py").write_text(PROBE)
    return folder


@pytest.fixture(scope="module")
def function(task: Path, client: Path) -> Iterator[LambdaRuntime]:
    with LambdaRuntime() as runtime:
        runtime.start(bare_python(), [task, client], {}, "probe.handle")
        yield runtime


def event_of(method: str, path: str, frame: Frame | None = None) -> dict:
    body = encode_request(frame) if frame else None
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": body.headers if body else {},
        "requestContext": {"http": {"method": method}},
        "body": b64encode(body.join() if body else b"").decode(),
        "isBase64Encoded": True,
    }


def scores_of(bundle: Bundle, batch: int, result: dict) -> np.ndarray:
    content = b64decode(result["body"])
    assert result["statusCode"] == 200, content
    return decode_scores(bundle.output, batch, decode_response(content, int(result["headers"][HEADER_LENGTH])))[0]


def test_every_cut_gets_the_scores_of_the_local_tail_without_files_of_this_machine(
    function: LambdaRuntime, bundle: Bundle, task: Path, client: Path
) -> None:
    local = LocalTail(bundle, open_runtime("openvino", bundle))
    images = [path.read_bytes() for path in sorted((ROOT / "data/digits/images").rglob("*.png"))[::12]]
    whole = Frame(wire_tensors.encode_images(bundle.input, images))
    remote = scores_of(bundle, len(images), function.invoke(event_of("POST", "/v2/models/digits/infer", whole)))
    np.testing.assert_array_equal(remote, local.infer("c000", whole).scores)
    random = np.random.default_rng(0)
    for cut in bundle.cuts:
        tensors = [random.random((8, *spec.shape)).astype(NUMPY_DTYPES[spec.datatype]) for spec in cut.boundary]
        for codec in ("fp32", "int8", "q4"):
            frame = Frame(wire_tensors.encode(codec, cut.boundary, tensors))
            result = function.invoke(event_of("POST", f"/v2/models/digits/versions/{cut.id}/infer", frame))
            np.testing.assert_array_equal(scores_of(bundle, 8, result), local.infer(cut.id, frame).scores)
    server = json.loads(b64decode(function.invoke(event_of("GET", "/v2"))["body"]))
    assert server["name"] == "hybrid-batch"
    files = function.invoke("modules")
    assert any(name.startswith(str(task)) and "openvino" in name for name in files)
    standard = Path(os.path.realpath(bare_python())).parents[1] / "lib"
    places = (task, client, standard, Path(os.__file__).parent)
    strange = [name for name in files if name.startswith("/") and not any(map(Path(name).is_relative_to, places))]
    assert not strange
    assert not [name for name in files if "site-packages" in name]


def test_spilling_needs_only_the_zip(
    task: Path, client: Path, bundle: Bundle, bucket: str, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 is reduced to the services that a tail uses."""
    from hybrid_batch.inference.protocol.spill import Spill
    from hybrid_batch.inference.protocol.transport import Request

    spill = Spill(f"s3://{bucket}/spill")
    body = encode_request(Frame(wire_tensors.encode_images(bundle.input, [b"not an image"])))
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    with spill.put_request(Request("POST", "/v2/models/digits/infer", body.headers, body.join())) as request:
        event = event_of("POST", request.path) | {"headers": dict(request.headers), "body": None}
        with LambdaRuntime() as runtime:
            runtime.start(bare_python(), [task, client], environment | {"HYBRID_BATCH_SPILL": spill.uri})
            result = runtime.invoke(event)
    assert scores_of(bundle, 1, result).shape == (1, 10)


def test_errors_are_reported_to_lambda(function: LambdaRuntime, task: Path, client: Path) -> None:
    with pytest.raises(FunctionFailed, match="WrongUsage: This function handles events of payload"):
        function.invoke({"Records": []})
    with LambdaRuntime() as runtime:
        runtime.start(bare_python(), [task, client], {"HYBRID_BATCH_BUNDLE": "/nowhere"})
        with pytest.raises(FunctionFailed, match="NotABundle: /nowhere is not a bundle"):
            _ = runtime.receive_response().value


def test_the_zip_fits_and_contains_no_path_of_this_machine(made: package.Package, task: Path) -> None:
    assert made.unpacked_bytes == sum(file.stat().st_size for file in task.rglob("*") if file.is_file())
    assert made.unpacked_bytes < package.MAX_UNPACKED_BYTES
    assert made.compiled
    local_paths = [str(place).encode() for place in (ROOT, sys.executable, LIBRARIES, made.path.parent, task)]
    for path in (path for path in task.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not [place for place in local_paths if place in content], path
    rooms = {path.name for path in task.iterdir() if not path.name.endswith((".dist-info", ".libs"))}
    assert {"hybrid_batch", "bundle", "openvino", "numpy", "PIL", "boto3"} <= rooms
    assert not {"tests", "evaluation", "jobs", "emr", "tensorflow", "pyarrow", "bin"} & rooms
    assert not (task / "openvino" / "libs" / "libopenvino_intel_gpu_plugin.so").exists()


def test_equal_content_gives_equal_bytes(
    wheels: None, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "_TAIL", ("pillow", "botocore"))
    made = []
    for number in range(2):
        monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / f"cache-{number}"))
        made.append(build_package(PackageSettings(bundle, python=THIS_PYTHON), tmp_path / f"{number}.zip"))
    assert made[0].sha256 == made[1].sha256
    assert made[0].path.read_bytes() == made[1].path.read_bytes()


def test_a_package_for_arm_has_only_code_for_arm(
    wheels: None, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheels are those of x86_64 with their machine code marked as ARM's, and once with one that is not."""

    def retag(content: bytes) -> bytes:
        return content[:18] + struct.pack("<H", 183) + content[20:] if content[:4] == b"\x7fELF" else content

    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dependencies, "_ARM64", {})
    monkeypatch.setattr(dependencies, "_TAIL", ("zstandard", "pillow"))
    wanted = dependencies.requirements("arm64")
    wheelhouse = make_wheelhouse(tmp_path / "wheels", wanted, "aarch64", retag)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheelhouse))
    made = build_package(PackageSettings(bundle, architecture="arm64", python=THIS_PYTHON), tmp_path / "arm.zip")
    machines = set()
    with zipfile.ZipFile(made.path) as content:
        names = set(content.namelist())
        for name in names:
            head = content.open(name).read(20)
            if head[:4] == b"\x7fELF":
                machines.add(struct.unpack("<H", head[18:20])[0])
    assert machines == {183}
    handler = "hybrid_batch/inference/cloud/function/handler.py"
    assert {handler, "bundle/graph.pb", "zstandard/__init__.py", "PIL/Image.py"} <= names
    other = make_wheelhouse(tmp_path / "others", wanted[:1], "aarch64")
    for wheel in other.iterdir():
        (wheelhouse / wheel.name).write_bytes(wheel.read_bytes())
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "other-cache"))
    with pytest.raises(PackageFailed, match="is not code for arm64; remove"):
        build_package(PackageSettings(bundle, architecture="arm64", python=THIS_PYTHON), tmp_path / "wrong.zip")
    assert not (tmp_path / "wrong.zip").exists()


def test_arm_gets_versions_that_run_on_lambda() -> None:
    assert {"openvino==2025.2.0", "numpy==2.2.6"} <= set(dependencies.requirements("arm64"))
    assert not {"openvino==2025.2.0"} & set(dependencies.requirements("x86_64"))


def test_a_model_that_does_not_fit_is_one_sentence(
    made: package.Package, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = build_package(PackageSettings(bundle, python=THIS_PYTHON), tmp_path / "fits.zip").unpacked_bytes
    monkeypatch.setattr(package, "MAX_UNPACKED_BYTES", size)
    assert build_package(PackageSettings(bundle, python=THIS_PYTHON), tmp_path / "fits.zip").unpacked_bytes == size
    monkeypatch.setattr(package, "MAX_UNPACKED_BYTES", size - 1)
    with pytest.raises(PackageFailed, match=rf"^The package of digits has {size:,} bytes .* --target lambda-image"):
        build_package(PackageSettings(bundle, python=THIS_PYTHON), tmp_path / "large.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["fits.zip"]


@pytest.fixture(scope="session")
def container(wheels: None, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("container")
    return build_package(PackageSettings(bundle, "container", python=THIS_PYTHON), folder / "context").path


def instructions(folder: Path) -> dict[str, list[str]]:
    """The lines of a Dockerfile by their first words; checks what all have in common."""
    lines = (folder / "Dockerfile").read_text().splitlines()
    found = {line.split()[0]: line.split()[1:] for line in lines if line and not line.startswith("#")}
    assert found["FROM"] == ["--platform=linux/amd64", "${BASE}"]
    assert (folder / found["COPY"][0] / "bundle" / "bundle.json").is_file()
    return found


def run_bare(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [bare_python(), "-I", "-S", "-B", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_image_for_lambda_is_complete(made: package.Package, bundle: Bundle, tmp_path: Path) -> None:
    settings = PackageSettings(bundle, "lambda-image", python=THIS_PYTHON)
    folder = build_package(settings, tmp_path / "context").path
    found = instructions(folder)
    assert found["ARG"] == [f"BASE=public.ecr.aws/lambda/python:{THIS_PYTHON}"]
    (handler,) = json.loads(" ".join(found["CMD"]))
    module, _, name = handler.rpartition(".")
    run_bare(folder / found["COPY"][0], "-c", f"import sys; sys.path.insert(0, '.'); from {module} import {name}")
    build_package(settings, folder)  # replaces the first, but no other folder
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises(PackageFailed, match="exists and is not a package"):
        build_package(settings, tmp_path / "other")


def test_the_container_serves(container: Path, tmp_path: Path) -> None:
    """Its command, run as in the container except for the interpreter and the port."""
    found, task = instructions(container), container / "task"
    assert found["ARG"] == [f"BASE=python:{THIS_PYTHON}-slim"]
    python, flag, module, *words = json.loads(" ".join(found["CMD"]))
    assert (python, flag) == ("python", "-m")
    words = [word.replace("/app", str(task)) for word in words]
    words[words.index("--host") + 1 :] = ["127.0.0.1", "--port", "0", "--json"]
    start = f"import sys, runpy; sys.path.insert(0, '.'); runpy.run_module({module!r}, run_name='__main__')"
    process = subprocess.Popen(
        [bare_python(), "-I", "-S", "-B", "-c", start, *words],
        cwd=task,
        env={"HYBRID_BATCH_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())["url"] + "/v2/models/digits/versions/c004/ready"
        assert httpx.get(ready, trust_env=False, timeout=HANG_S).status_code == 200
        process.terminate()


@pytest.mark.parametrize("code", [package.LAMBDA_CODE, package.CONTAINER_CODE], ids=["lambda", "container"])
def test_no_module_of_a_package_imports_one_that_is_left_out(code: tuple[str, ...]) -> None:
    """Imports inside functions count too. `hybrid_batch` itself is the Python API of a complete installation."""
    packaged = {name.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path
                for name, path in code_files(code).items() if name.endswith(".py")}  # fmt: skip
    assert "hybrid_batch.inference.serving.request_handler" in packaged
    left_out = [
        f"{module} imports {imported}"
        for module, path in packaged.items()
        if module != "hybrid_batch"
        for imported in product_imports(path)
        if imported not in packaged
    ]
    assert not left_out


def product_imports(path: Path) -> Iterator[str]:
    """The modules of the product that a file imports, also inside functions and for types."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("hybrid_batch."))
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("hybrid_batch"):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_module(name) else str(node.module) for name in modules)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def run_command(task: Path, cache: Path, *words: str) -> str:
    """The output of a command in the container's tree, with no files but the tree's and the standard library's."""
    start = "import sys, runpy; sys.path.insert(0, '.'); runpy.run_module('hybrid_batch', run_name='__main__')"
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    done = subprocess.run(
        [bare_python(), "-I", "-S", "-B", "-c", start, *words],
        cwd=task,
        env=environment | {"HYBRID_BATCH_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_container_offers_the_commands_that_work_in_it(container: Path, tmp_path: Path, aws: str) -> None:
    """`serve` has a test of its own above."""
    import boto3

    task, images = container / "task", str(ROOT / "data/digits/images")
    listed = run_command(task, tmp_path, "--help").split("Commands:\n")[1].splitlines()
    assert sorted(line.split()[0] for line in listed) == sorted(("completion", *package.CONTAINER_COMMANDS))
    assert len(json.loads(run_command(task, tmp_path, "cuts", "bundle", "--verify", "--json"))) > 10
    profile = run_command(task, tmp_path, "profile", "bundle", "--images", images)
    assert "the others are interpolated, with an error of up to" in profile
    plan = run_command(task, tmp_path, "plan", "bundle", "--tail", "local", "--images", images, "--json")
    assert json.loads(plan)["chosen"]
    run = ["run", images, "--model", "bundle", "--split", "c005", "--log", str(tmp_path / "log"), "--json"]
    assert json.loads(run_command(task, tmp_path, *run))["images"] == 360
    boto3.client("sqs").create_queue(QueueName="container")
    worker = ["worker", "bundle", "--queue", "container", "--idle-timeout", "0.1", "--json"]
    assert json.loads(run_command(task, tmp_path, *worker)) == {"answered": 0, "refused": 0, "dropped": 0}


def test_a_worker_starts_from_the_zip(task: Path) -> None:
    start = (
        "import sys, runpy; sys.path.insert(0, '.');"
        "runpy.run_module('hybrid_batch.inference.serving.sqs.main', run_name='__main__')"
    )
    assert "--queue" in run_bare(task, "-c", start, "--help")


def test_libraries_that_cannot_be_downloaded_are_one_sentence(
    tmp_path: Path, wheels: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert command(["cloud", "package", "digits", "-o", str(tmp_path / "x.zip")]) == 1
    _, err = capfd.readouterr()
    assert err.count("\n") == 1
    assert "pip cannot fetch the libraries for x86_64: " in err


def test_a_package_is_built_without_a_writable_cache(
    tmp_path: Path, bundle: Bundle, wheels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "file"))
    assert build_package(PackageSettings(bundle, python=THIS_PYTHON), tmp_path / "x.zip").path.is_file()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--arch", "riscv"], 2, "'riscv' is not one of 'x86_64', 'arm64'"),
        (["--target", "lambda"], 2, "'lambda' is not one of 'lambda-zip'"),
        (["-o", "{file}/below/x.zip"], 1, "Not a directory; choose another --output."),
    ],
)
def test_invalid_options_are_one_sentence(
    made: package.Package, words: list[str], code: int, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    words = [word.format(file=tmp_path / "file") for word in words]
    assert command(["cloud", "package", "digits", "--python", THIS_PYTHON, *words]) == code
    assert said in capfd.readouterr().err


def test_the_command_prints_what_it_writes(
    made: package.Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["cloud", "package", "digits", "--python", THIS_PYTHON, "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed["path"] == "digits-lambda-zip-x86_64.zip"
    content = (tmp_path / printed["path"]).read_bytes()
    assert (printed["sha256"], printed["runtime"]) == (hashlib.sha256(content).hexdigest(), f"python{THIS_PYTHON}")
    assert printed["bundle_sha256"] == made.bundle_sha256
