"""The built-in model, its runtime, and real servers of it in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import Runtime, Segment, compile_head, open_runtime
from hybrid_batch.inference.tails.local import LocalTail
from tests.conftest import HANG_S
from tests.scripted_server import ScriptedServer

ROOT = Path(__file__).parent.parent.parent
Serve = Callable[..., "Server"]


class Server:
    """A `hybrid-batch serve` that is ready."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "hybrid_batch", "serve", *options, "--port", "0", "--json"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server did not start: {self.process.communicate()[1]}")
        self.url: str = json.loads(line)["url"]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def stop(self) -> tuple[int, str]:
        """Exit code, and what it said on stderr."""
        self.process.terminate()
        try:
            _, said = self.process.communicate(timeout=HANG_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # its workers too
            _, said = self.process.communicate()
        return self.process.returncode, said


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers with the options given and stops them after the test."""
    servers: list[Server] = []

    def start(*options: str) -> Server:
        servers.append(Server("digits", *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server for all the tests that leave it as it was."""
    server = Server("digits")
    yield server
    code, said = server.stop()
    assert code == 0
    assert said.count("\n") == 1, f"a server says where it is and nothing else: {said}"


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return resolve_model("digits")


@pytest.fixture(scope="session")
def runtime(bundle: Bundle) -> Runtime:
    return open_runtime("openvino", bundle)


@pytest.fixture(scope="session")
def local(bundle: Bundle, runtime: Runtime) -> LocalTail:
    return LocalTail(bundle, runtime)


@pytest.fixture(scope="session")
def heads(bundle: Bundle, runtime: Runtime) -> Callable[[str], Segment]:
    """The compiled head of a cut, each compiled once."""
    compiled: dict[str, Segment] = {}

    def head(cut_id: str) -> Segment:
        if cut_id not in compiled:
            compiled[cut_id] = compile_head(runtime, bundle, bundle.cut(cut_id))
        return compiled[cut_id]

    return head


@pytest.fixture(scope="session")
def digits(bundle: Bundle) -> list[bytes]:
    """The files of 40 images of the sample, of every class."""
    return [path.read_bytes() for path in sorted((ROOT / "data/digits/images").rglob("*.png"))[::9]]


@pytest.fixture(scope="session")
def pixels(bundle: Bundle, digits: list[bytes]) -> np.ndarray:
    """The same images as the model takes them."""
    from hybrid_batch.data.images.decode import decode

    return np.stack([decode(image, bundle.preprocessing) for image in digits])


@pytest.fixture
def scripted_server() -> Iterator[Callable[..., ScriptedServer]]:
    """Starts scripted servers."""
    started: list[ScriptedServer] = []

    def start(*behaviours: object) -> ScriptedServer:
        started.append(ScriptedServer(*behaviours))
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
