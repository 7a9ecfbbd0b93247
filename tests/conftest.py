"""Fixtures of all tests: a local AWS, a bucket in it, servers, and the folder of real models and images."""

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

# A busy machine must not fail a test.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")
HANG_S = 200.0  # longer than any wait on a busy machine

# A shell starts background processes with SIGINT ignored; the tests and their child processes need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
FAIL_SKIPPED = os.environ.get("FAIL_SKIPPED_TESTS") == "1"  # set by .ci/run
NO_REAL_MODELS = "the real models and images, which are not part of this repository, do not exist in"


# A test with one of these fixtures is slow without a mark of its own.
SLOW_FIXTURES = {"ministack", "rclone", "digits_server", "packages", "wheels", "browser", "keras", "tf", "tf_keras"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`: the full numbers of `make fuzz`, `make load` and `make soak` instead of short ones."""
    parser.addoption("--long", action="store_true", help="run fuzz, load and soak tests with their full numbers")


@pytest.fixture(scope="session", autouse=True)
def no_user_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The settings and tokens of the developer change no test, in this process or in another."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("settings"))


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`rounds(short, long)`: the number of repetitions of a test, `long` with --long."""
    is_long = bool(request.config.getoption("--long"))
    return lambda short, long: long if is_long else short


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as slow the tests that use a slow fixture, directly or through another; leave out those of --long."""
    if not config.getoption("--long"):
        items[:] = [item for item in items if item.get_closest_marker("long") is None]
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test in continuous integration, where everything that tests need is installed."""
    report = yield
    if FAIL_SKIPPED and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if NO_REAL_MODELS not in reason:
            report.outcome, report.longrepr = "failed", f"{reason}; FAIL_SKIPPED_TESTS makes that a failure."
    return report


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models and images beside some checkouts; without it the test is skipped."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{NO_REAL_MODELS} {folder}")
    return folder


def free_port() -> int:
    """Return a port without a listener that the system assigns to no other process: it stays bound until the tests end,
    and another socket may still listen on it because of SO_REUSEADDR."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port = int(holder.getsockname()[1])
    if sys.platform == "linux":
        holder.detach()
    else:  # other systems do not allow a second socket on the port
        holder.close()
    return port


@contextmanager
def local_aws(folder: Path, **settings: str) -> Iterator[str]:
    """Start a local AWS in its own process; yields its URL."""
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
        process.kill()  # its data is not needed
        process.wait()


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a local AWS shared by all tests."""
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
    """The URL of rclone's S3 server shared by all tests; the credentials are those of `aws`."""
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
    """Return whether a process listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def aws(ministack: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the local AWS; all AWS settings of this process point to it."""
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
    """A cache folder of this test session for imported models and compiled segments."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRID_BATCH_CACHE", str(folder))
        yield folder


COMMAND = (sys.executable, "-m", "hybrid_batch")


@dataclass(frozen=True)
class Server:
    """A `hybrid-batch serve` process."""

    url: str
    process: subprocess.Popen[str]


@pytest.fixture(scope="session")
def serve(cache: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts `hybrid-batch serve ARGUMENTS` on a free port; the servers stop at the end."""
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
