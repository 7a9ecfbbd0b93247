"""`import BUNDLE` sets preparation and class names anew, without TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_batch.cli import main
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH

SCRIPT = (
    "import sys; from hybrid_batch.cli import main; code = main(); print('tensorflow' in sys.modules); sys.exit(code)"
)


def test_scale_and_names_are_set_anew(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("".join(f"digit {number}\n" for number in range(10)))
    words = ["import", str(BUILT_IN_PATH), "--scale", "-1-1", "--classes", "names.txt", "-o", "mine.bundle"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "False"
    before, after = read_bundle(BUILT_IN_PATH), read_bundle(tmp_path / "mine.bundle")
    assert after.labels[3] == "digit 3"
    assert (after.preprocessing.scale, after.preprocessing.colour) == ("-1-1", before.preprocessing.colour)
    assert after.cuts == before.cuts
    assert after.graph_path.read_bytes() == before.graph_path.read_bytes()
    assert after.sha256 != before.sha256


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--size", "9x9"), "keeps its size and weights; import the model again to change them."),
        (("--colour", "rgb"), "The model takes 1 channel, which does not match --colour rgb."),
    ],
)
def test_what_the_graph_decides_cannot_be_changed(
    option: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(BUILT_IN_PATH), *option, "-o", str(tmp_path / "x.bundle")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.bundle").exists()
