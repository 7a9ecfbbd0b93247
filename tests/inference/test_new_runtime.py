"""A runtime is one module and one line in a table: this file adds a runtime, and a run and a server use it.

The runtime computes zeros for every tensor, except for a score of 1 in column 7, so that all images are a 7."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from hybrid_batch.cli import main
from hybrid_batch.inference.model import runtimes
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.runtimes import Segment
from tests.conftest import HANG_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "data" / "digits" / "images" / "3"


class SevenRuntime:
    name = "seven"

    def compile(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Segment:
        def segment(tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
            results = [np.zeros((len(tensors[0]), *spec.shape), np.float32) for spec in outputs]
            for result in results:
                result[..., 7 % result.shape[-1]] = 1
            return results

        return segment


def open_runtime(bundle: Bundle, *, cached: bool) -> SevenRuntime:
    return SevenRuntime()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runtimes.RUNTIMES, "seven", __name__)


def predictions(log: Path, *options: str) -> set[str]:
    assert main(["run", str(IMAGES), "--labels", "none", "--log", str(log), *options]) == 0
    return set(ds.dataset(log, partitioning=None).to_table()["prediction"].to_pylist())


def test_a_run_uses_it(registered: None, tmp_path: Path) -> None:
    assert predictions(tmp_path / "seven", "--split", "local", "--runtime", "seven") == {"7"}
    assert predictions(tmp_path / "cut", "--split", "c004", "--tail", "local", "--runtime", "seven") == {"7"}
    assert "3" in predictions(tmp_path / "default", "--split", "local")


def test_a_server_uses_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", __name__, "serve", "digits", "--runtime", "seven", "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split('"')[3]
            assert predictions(tmp_path / "log", "--split", "remote", "--tail", url) == {"7"}
        finally:
            server.terminate()
            server.wait(HANG_S)


def test_the_command_line_refuses_it_without_the_line_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(IMAGES), "--runtime", "seven"]) == 2
    assert "'seven' is not one of 'openvino', 'tensorflow'" in capsys.readouterr().err


if __name__ == "__main__":
    runtimes.RUNTIMES["seven"] = __name__
    sys.exit(main(sys.argv[1:]))
