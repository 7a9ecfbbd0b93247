"""From a model's name to its bundle: once, whatever happens to the cache."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import hybrid_batch
from hybrid_batch.data.errors import NotABundle, StorageFailed
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.model.importing.resolve_model import open_model
from tests.conftest import HANG_S
from tests.inference.made_models import classifier, convolution

ROOT = Path(hybrid_batch.__file__).parents[1]


@pytest.fixture
def file(keras: ModuleType, tmp_path: Path, quietly: None) -> Path:
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
from hybrid_batch.inference.model.importing.resolve_model import open_model
said = []
bundle = open_model(sys.argv[1], said.append)
print(bundle.sha256, len(said), 'tensorflow' in sys.modules)
"""


def test_processes_at_once_import_once(file: Path) -> None:
    started = [python(OPEN, file) for _ in range(4)]
    results = [process.communicate(timeout=HANG_S) for process in started]
    assert [process.returncode for process in started] == [0] * 4, results
    assert [err for _, err in results] == [""] * 4
    words = [out.split() for out, _ in results]
    assert len({sha for sha, _, _ in words}) == 1
    assert sorted(imported for _, _, imported in words) == ["False", "False", "False", "True"]
    assert sorted(int(said) for _, said, _ in words) == [0, 0, 0, 3]


def test_a_model_is_known_by_its_content(file: Path, cache: Path) -> None:
    first = open_model(str(file))
    said: list[str] = []
    other = file.rename(file.with_name("made.copy.keras"))
    assert open_model(str(other), said.append).sha256 == first.sha256
    assert first.name == "made"
    assert len(list((cache / "bundles").iterdir())) == 1
    other.write_bytes(other.read_bytes() + b" ")  # another file to the cache, the same archive to Keras
    assert open_model(str(other), said.append).sha256 == first.sha256
    assert len(list((cache / "bundles").iterdir())) == 2


def test_a_damaged_cache_is_imported_again(file: Path) -> None:
    bundle = open_model(str(file))
    description = bundle.path / "bundle.json"
    damages: list[Callable[[], object]] = [
        lambda: bundle.graph_path.write_bytes(b"short"),
        lambda: description.write_bytes(b"{"),
        bundle.graph_path.unlink,
        description.unlink,  # caches are cleaned file by file
    ]
    for damage in damages:
        damage()
        said: list[str] = []
        assert open_model(str(file), said.append).sha256 == bundle.sha256
        assert said[:2] == [
            f"The imported {file} in the cache is damaged.",
            f"Importing {file} into the cache, once …",
        ]
        assert read_bundle(bundle.path).sha256 == bundle.sha256


def test_a_cache_that_cannot_be_written_is_named(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "taken"))
    with pytest.raises(StorageFailed, match=r"Cannot keep imported models in .*: Not a directory; import the model"):
        open_model(str(file))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotABundle, match=r"No model at gone\.keras; give a bundle, a model file"):
        open_model("gone.keras")
    with pytest.raises(NotABundle, match="neither a bundle"):
        open_model(str(tmp_path))


def test_a_run_on_a_bundle_never_imports_tensorflow(file: Path) -> None:
    bundle = open_model(str(file)).path
    program = """
import sys
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.model.runtimes.verify import verify_cuts
bundle = open_model(sys.argv[1])
engine = open_engine('openvino', bundle)
assert all(found.holds for found in verify_cuts(bundle, engine, bundle.cuts))
print(sorted({'tensorflow', 'keras', 'tf_keras', 'h5py', 'torch', 'pandas'} & set(sys.modules)))
"""
    process = python(program, bundle)
    out, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, out, err) == (0, "[]\n", "")


def test_digits_is_built_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = open_model("digits")
    assert (bundle.name, bundle.labels, bundle.output_kind) == ("digits", tuple("0123456789"), "probabilities")
