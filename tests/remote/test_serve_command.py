import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from hybrid_batch.cli import main
from hybrid_batch.inference.commands.serve import command
from hybrid_batch.inference.serving.http.app import make_app
from hybrid_batch.inference.serving.http.async_handler import ServerSettings
from tests.conftest import HANG_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


def test_help_ends_with_an_example():
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "hybrid-batch serve digits --port 8000" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.bundle"], "nowhere.bundle"),
        (["digits", "--runtime", "abacus"], "abacus"),
        (["digits", "--port", "70000"], "70000"),
        (["digits", "--host", "nohost.invalid"], "choose another --host"),
        (["digits", "--processes", "0"], "0"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(arguments, message, capfd):
    assert main(["serve", *arguments]) == 2
    said = capfd.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_port_in_use_is_wrong_usage(capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "digits", "--port", str(port)]) == 2
    assert f"Cannot listen on 127.0.0.1:{port}" in capfd.readouterr().err


def test_an_open_address_is_served_with_a_warning(serve):
    server = serve("--host", "0.0.0.0", "--insecure")  # noqa: S104
    url = f"http://127.0.0.1:{server.address[1]}/v2/health/live"
    assert httpx.get(url, trust_env=False, timeout=HANG_S).status_code == 200
    code, said = server.stop()
    assert code == 0
    assert said.startswith("Warning: the server on 0.0.0.0 does not authenticate clients")


def test_serving_imports_only_what_it_needs():
    """Nor what only other commands need, so that it is up in a fraction of a second."""
    code = (
        "import sys, hybrid_batch.inference.serving.http.launch, hybrid_batch.inference.tails\n"
        "from hybrid_batch.inference.model.runtimes import open_runtime\n"
        "from hybrid_batch.inference.model.importing.resolve_model import resolve_model\n"
        "from hybrid_batch.inference.serving.http.app import make_app\n"
        "from hybrid_batch.inference.serving.http.async_handler import ServerSettings\n"
        "make_app(ServerSettings(resolve_model('digits')))\n"
        "print([m for m in ('tensorflow', 'keras', 'pyarrow', 'boto3', 'pandas', 'httpx') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_opening_the_runtime_sends_no_telemetry(tmp_path):
    """OpenVINO's package would keep an identity under the home folder and send it from a forked process."""
    code = (
        "from hybrid_batch.inference.model.runtimes import open_runtime\n"
        "from hybrid_batch.inference.model.importing.resolve_model import resolve_model\n"
        "open_runtime('openvino', resolve_model('digits'))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"HOME": str(tmp_path)}, check=True)
    assert not (tmp_path / "intel").exists()


def test_during_shutdown_new_requests_are_503_and_the_server_is_not_ready(bundle):
    app = make_app(ServerSettings(bundle))
    app.handler.admission.shutting_down = True

    async def send_requests():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            infer = await client.post("/v2/models/digits/infer", content=b"{}")
            return infer, await client.get("/v2/health/ready"), await client.get("/v2/health/live")

    infer, ready, live = asyncio.run(send_requests())
    app.handler.close()
    assert (infer.status_code, infer.headers["Retry-After"]) == (503, "1")
    assert "shutting down" in infer.json()["error"]
    assert (ready.status_code, live.status_code) == (503, 200)
