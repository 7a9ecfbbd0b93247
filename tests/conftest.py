"""What tests of every room share: a local AWS, a bucket in it, and the folder of real models and images."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")
HANG_S = 200.0  # no machine is so busy: what takes longer hangs

# Started in the background by a shell, tests would ignore Ctrl-C, and so would all that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
FAIL_SKIPPED = os.environ.get("FAIL_SKIPPED_TESTS") == "1"  # set by .ci/run
NO_REAL_MODELS = "the real models and images, which are no part of this repository, are not at"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped where all that it needs should be installed."""
    report = yield
    if FAIL_SKIPPED and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if NO_REAL_MODELS not in reason:
            report.outcome, report.longrepr = "failed", f"{reason}; FAIL_SKIPPED_TESTS makes that a failure."
    return report


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models and images that stands beside some checkouts; without it the test skips."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{NO_REAL_MODELS} {folder}")
    return folder


def free_port() -> int:
    """A port where nobody listens, which the system gives to nobody else: it stays bound as long as these tests run,
    and whoever is told it may listen there all the same."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port = int(holder.getsockname()[1])
    if sys.platform == "linux":
        holder.detach()
    else:  # where two may not have it, even if one of them does not listen
        holder.close()
    return port


@contextmanager
def local_aws(folder: Path, **settings: str) -> Iterator[str]:
    """The URL of a local AWS in a process of its own."""
    port = free_port()
    own = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "TMPDIR": str(folder), "LOG_LEVEL": "WARNING"}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            env=os.environ | own | settings,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _await_health(f"{url}/_ministack/health", process, log)
        yield url
    finally:
        process.kill()  # nothing in it is to be kept
        process.wait()


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a local AWS, one process for all tests."""
    with local_aws(tmp_path_factory.mktemp("ministack")) as url:
        yield url


def _await_health(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + HANG_S
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the local AWS did not start: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an S3 by other makers, one process for all tests; credentials as in `aws`."""
    folder, port = tmp_path_factory.mktemp("rclone"), free_port()
    program = Path(sys.executable).parent / "rclone"
    process = subprocess.Popen(
        [program, "serve", "s3", folder, "--addr", f"127.0.0.1:{port}", "--auth-key", "test,test"],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"RCLONE_CONFIG": os.devnull},
    )
    try:
        while not is_open(port):
            assert process.poll() is None, "rclone did not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def is_open(port: int) -> bool:
    """Whether somebody listens at a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def aws(ministack: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the local AWS, with this process's AWS settings pointing there and nowhere else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": ministack,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    return ministack


@pytest.fixture
def bucket(aws: str) -> str:
    """The name of a new, empty bucket in the local AWS."""
    import boto3

    name = f"test-{uuid.uuid4()}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Imported models and compiled segments go to a folder of this test session."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRID_BATCH_CACHE", str(folder))
        yield folder


COMMAND = (sys.executable, "-m", "hybrid_batch")


@dataclass(frozen=True)
class Server:
    """A `hybrid-batch serve` in a process of its own."""

    url: str
    process: subprocess.Popen[str]


@pytest.fixture(scope="session")
def serve(cache: Path) -> Iterator[Callable[..., Server]]:
    """Starts `hybrid-batch serve ARGUMENTS` on a port the system chooses; all are stopped at the end."""
    servers: list[Server] = []

    def start(*arguments: str) -> Server:
        process = subprocess.Popen(
            [*COMMAND, "serve", *arguments, "--port", "0", "--json"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        servers.append(Server(json.loads(process.stdout.readline())["url"], process))
        return servers[-1]

    yield start
    for server in servers:
        server.process.terminate()
        try:
            server.process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()


@pytest.fixture(scope="session")
def digits_server(serve: Callable[..., Server]) -> Server:
    """A server of the sample model."""
    return serve("digits")
