"""Bundles: reproducible, written atomically, and protected by their hash."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import hybrid_batch
from hybrid_batch.cli import main
from hybrid_batch.data.errors import CutNotFound, NotABundle, StorageFailed, WrongUsage
from hybrid_batch.inference.model.bundle import Bundle, read_bundle, write_bundle
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_traceable_model
from hybrid_batch.inference.model.importing.traceable_model import wrap_keras_model
from tests.inference.keras_models import classifier, convolution

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(keras: ModuleType, tmp_path: Path, suppressed_output: None) -> Bundle:
    model = classifier(keras, convolution)
    return import_traceable_model(
        wrap_keras_model(model), "made.keras", tmp_path / "made.bundle", ImportSettings(scale="-1-1")
    ).bundle


def altered(bundle: Bundle, change: Callable[[dict], object]) -> Path:  # type: ignore[type-arg]
    path = bundle.path / "bundle.json"
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))
    return bundle.path


def test_a_bundle_is_read_as_it_was_written(bundle: Bundle) -> None:
    assert read_bundle(bundle.path) == bundle
    assert bundle.preprocessing.scale == "-1-1"
    assert bundle.input_cut is bundle.cut("c000") is bundle.cuts[0]
    assert sorted(file.name for file in bundle.path.iterdir()) == ["bundle.json", "graph.pb"]


def test_ids_of_cuts_of_several_tensors_are_read(bundle: Bundle) -> None:
    path = altered(bundle, lambda stored: stored["cuts"][1].update(id="f000"))
    with pytest.raises(NotABundle, match="was altered after import"):  # by the hash alone: the form is right
        read_bundle(path)


def test_a_bundle_can_be_moved(bundle: Bundle, tmp_path: Path) -> None:
    moved = shutil.move(bundle.path, tmp_path / "other.bundle")
    assert read_bundle(Path(moved)) == replace(bundle, path=tmp_path / "other.bundle")


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_a_changed_byte_of_the_graph_is_detected(bundle: Bundle, position: int) -> None:
    graph = bytearray(bundle.graph_path.read_bytes())
    graph[position] ^= 1
    bundle.graph_path.write_bytes(graph)
    with pytest.raises(NotABundle, match=r"was altered after import \(its hash differs\); import the model again\.$"):
        read_bundle(bundle.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored["labels"].reverse(),
        lambda stored: stored["preparation"].update(scale="0-1"),
        lambda stored: stored["cuts"].pop(),
        lambda stored: stored["cuts"][1].update(head_macs=1),
        lambda stored: stored.update(output_kind="logits"),
    ],
)
def test_a_changed_value_of_the_description_is_detected(bundle: Bundle, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    with pytest.raises(NotABundle, match="was altered after import"):
        read_bundle(altered(bundle, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.pop("cuts"),
        lambda stored: stored.update(cuts=None),
        lambda stored: stored.update(cuts=["c000"]),
        lambda stored: stored["input"].update(shape="wide"),
        lambda stored: stored.update(labels=7),
        lambda stored: stored["labels"].__setitem__(1, stored["labels"][0]),
        lambda stored: stored["labels"].__setitem__(1, ""),
        lambda stored: stored["labels"].__setitem__(1, "a\n c999 *  fake"),
        lambda stored: stored["labels"].__setitem__(1, "a" * 1025),
        lambda stored: stored.update(source="x; touch y\u2028Note: trusted."),
        lambda stored: stored.update(name="made\nhybrid-batch: all good"),
        lambda stored: stored["cuts"][1].update(id="c1;touch y"),
        lambda stored: stored["cuts"][1].update(id="local"),
        lambda stored: stored.update(cuts=[stored["cuts"][0] | {"id": f"c{i:03}"} for i in range(4097)]),
    ],
)
def test_a_description_of_the_wrong_form_is_damaged(bundle: Bundle, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    with pytest.raises(NotABundle, match=r"bundle\.json is damaged .*; import the model again\.$"):
        read_bundle(altered(bundle, change))


def test_other_formats_and_missing_parts(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(NotABundle, match="has bundle format 99, but this version reads 1; import the model again"):
        read_bundle(altered(bundle, lambda stored: stored.update(format=99)))
    path = bundle.path / "bundle.json"
    for content in (path.read_bytes()[:100], b"[]", b"", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(NotABundle, match="is damaged"):
            read_bundle(bundle.path)
    path.unlink()
    with pytest.raises(NotABundle, match="is not a bundle: No such file"):
        read_bundle(bundle.path)


def test_the_command_reports_damage_and_unknown_cuts_in_one_sentence(
    bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CutNotFound, match="No cut named 'frist' in made; did you mean 'first'"):
        bundle.cut("frist")
    bundle.graph_path.write_bytes(b"")
    assert main(["cuts", str(bundle.path)]) == 2
    assert capfd.readouterr().err.endswith("(its hash differs); import the model again.\n")


def test_write_replaces_only_a_bundle(bundle: Bundle, tmp_path: Path) -> None:
    again = write_bundle(replace(bundle, labels=tuple("abcde")), bundle.graph_path.read_bytes())
    assert read_bundle(bundle.path).labels == tuple("abcde")
    assert again.sha256 != bundle.sha256
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(WrongUsage, match="holds other files"):
        write_bundle(replace(bundle, path=tmp_path / "mine"), b"graph")
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="Cannot write the bundle"):
        write_bundle(replace(bundle, path=tmp_path / "file" / "x.bundle"), b"graph")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "made.bundle", "mine"]


def test_every_process_imports_the_same_bundle(keras: ModuleType, tmp_path: Path, suppressed_output: None) -> None:
    model = classifier(keras, convolution)
    model.save(tmp_path / "made.keras")
    made = []
    for number in range(2):
        arguments = ["import", str(tmp_path / "made.keras"), "--json", "-o", str(tmp_path / f"{number}.bundle")]
        program = "import sys; from hybrid_batch.cli import main; sys.exit(main(sys.argv[1:]))"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(hybrid_batch.__file__).parents[1],
        )
        made.append(json.loads(done.stdout)["sha256"])
        assert done.stderr.splitlines() == [
            "Note: no pixel scale is known, so 0-1 is assumed (--scale sets it; a run on labelled images checks it)",
            "Note: no class names are given, so the classes are called 0 to 4 (--classes FILE names them)",
        ], "TensorFlow's output must be suppressed"
    assert made[0] == made[1]
