"""From a model reference to its bundle: imported once, and again if the cache is damaged."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import hybrid_batch
from hybrid_batch.data.errors import NotABundle
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from tests.conftest import HANG_S
from tests.inference.keras_models import classifier, convolution

pytestmark = pytest.mark.slow

ROOT = Path(hybrid_batch.__file__).parents[1]


@pytest.fixture
def file(keras: ModuleType, tmp_path: Path, suppressed_output: None) -> Path:
    classifier(keras, convolution).save(tmp_path / "made.keras")
    return tmp_path / "made.keras"


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


OPEN = """
import sys
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
messages = []
bundle = resolve_model(sys.argv[1], messages.append)
print(bundle.sha256, len(messages), 'tensorflow' in sys.modules)
"""


def test_concurrent_processes_import_once(file: Path) -> None:
    started = [python(OPEN, file) for _ in range(4)]
    results = [process.communicate(timeout=HANG_S) for process in started]
    assert [process.returncode for process in started] == [0] * 4, results
    assert [err for _, err in results] == [""] * 4
    fields = [out.split() for out, _ in results]
    assert len({sha for sha, _, _ in fields}) == 1
    assert {imported for _, _, imported in fields} == {"False"}  # TensorFlow runs in a process of its own
    assert sorted(int(messages) for _, messages, _ in fields) == [0, 0, 0, 4]


def test_the_cache_identifies_a_model_by_its_content(file: Path, cache: Path) -> None:
    first = resolve_model(str(file))
    messages: list[str] = []
    other = file.rename(file.with_name("made.copy.keras"))
    assert resolve_model(str(other), messages.append).sha256 == first.sha256
    assert first.name == "made"
    assert len(list((cache / "bundles").iterdir())) == 1
    other.write_bytes(other.read_bytes() + b" ")  # another file to the cache, the same archive to Keras
    assert resolve_model(str(other), messages.append).sha256 == first.sha256
    assert len(list((cache / "bundles").iterdir())) == 2


def test_a_damaged_cache_is_imported_again(file: Path) -> None:
    bundle = resolve_model(str(file))
    description = bundle.path / "bundle.json"
    damages: list[Callable[[], object]] = [
        lambda: bundle.graph_path.write_bytes(b"short"),
        lambda: description.write_bytes(b"{"),
        bundle.graph_path.unlink,
        description.unlink,  # caches are cleaned file by file
    ]
    for damage in damages:
        damage()
        messages: list[str] = []
        assert resolve_model(str(file), messages.append).sha256 == bundle.sha256
        assert messages[:2] == [
            f"The cached import of {file} is damaged.",
            f"Importing {file} into the cache, once …",
        ]
        assert read_bundle(bundle.path).sha256 == bundle.sha256


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotABundle, match=r"No model at gone\.keras; give a bundle, a model file"):
        resolve_model("gone.keras")
    with pytest.raises(NotABundle, match="neither a bundle"):
        resolve_model(str(tmp_path))


def test_a_run_on_a_bundle_never_imports_tensorflow(file: Path) -> None:
    bundle = resolve_model(str(file)).path
    program = """
import sys
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.model.runtimes.verify import verify_cuts
bundle = resolve_model(sys.argv[1])
runtime = open_runtime('openvino', bundle)
assert all(check.passed for check in verify_cuts(bundle, runtime, bundle.cuts))
print(sorted({'tensorflow', 'keras', 'tf_keras', 'h5py', 'torch', 'pandas'} & set(sys.modules)))
"""
    process = python(program, bundle)
    out, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, out, err) == (0, "[]\n", "")


def test_digits_is_built_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = resolve_model("digits")
    assert (bundle.name, bundle.labels, bundle.output_kind) == ("digits", tuple("0123456789"), "probabilities")
