"""Bundles: the same twice, whole or not at all, and true to their hash."""

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
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_source
from hybrid_batch.inference.model.importing.traceable_model import trace
from tests.inference.made_models import classifier, convolution


@pytest.fixture
def bundle(keras: ModuleType, tmp_path: Path, quietly: None) -> Bundle:
    model = classifier(keras, convolution)
    return import_source(trace(model), "made.keras", tmp_path / "made.bundle", ImportSettings(scale="-1-1")).bundle


def altered(bundle: Bundle, change: Callable[[dict], object]) -> Path:  # type: ignore[type-arg]
    place = bundle.path / "bundle.json"
    stored = json.loads(place.read_text())
    change(stored)
    place.write_text(json.dumps(stored))
    return bundle.path


def test_what_is_read_is_what_was_written(bundle: Bundle) -> None:
    assert read_bundle(bundle.path) == bundle
    assert bundle.preparation.scale == "-1-1"
    assert bundle.whole is bundle.cut("c000") is bundle.cuts[0]
    assert sorted(file.name for file in bundle.path.iterdir()) == ["bundle.json", "graph.pb"]


def test_a_bundle_can_be_moved(bundle: Bundle, tmp_path: Path) -> None:
    moved = shutil.move(bundle.path, tmp_path / "other.bundle")
    assert read_bundle(Path(moved)) == replace(bundle, path=tmp_path / "other.bundle")


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_one_byte_of_the_graph_matters(bundle: Bundle, position: int) -> None:
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
def test_every_word_that_changes_predictions_matters(bundle: Bundle, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
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
    ],
)
def test_a_description_of_the_wrong_form_is_damaged(bundle: Bundle, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    with pytest.raises(NotABundle, match=r"bundle\.json is damaged .*; import the model again\.$"):
        read_bundle(altered(bundle, change))


def test_other_formats_and_missing_parts(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(NotABundle, match="is of bundle format 99, this software reads 1; import it again"):
        read_bundle(altered(bundle, lambda stored: stored.update(format=99)))
    place = bundle.path / "bundle.json"
    for content in (place.read_bytes()[:100], b"[]", b"", b"\xff"):
        place.write_bytes(content)
        with pytest.raises(NotABundle, match="is damaged"):
            read_bundle(bundle.path)
    place.unlink()
    with pytest.raises(NotABundle, match="is no bundle: No such file"):
        read_bundle(bundle.path)


def test_the_command_answers_damage_and_unknown_cuts_with_a_sentence(
    bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CutNotFound, match="No cut named 'frist' in made; did you mean 'first'"):
        bundle.cut("frist")
    bundle.graph_path.write_bytes(b"")
    assert main(["cuts", str(bundle.path)]) == 2
    assert capfd.readouterr().err.endswith("(its hash differs); import the model again.\n")


def test_writing_replaces_a_bundle_and_nothing_else(bundle: Bundle, tmp_path: Path) -> None:
    again = write_bundle(replace(bundle, labels=tuple("abcde")), bundle.graph_path.read_bytes())
    assert read_bundle(bundle.path).labels == tuple("abcde")
    assert again.sha256 != bundle.sha256
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(WrongUsage, match="holds something else"):
        write_bundle(replace(bundle, path=tmp_path / "mine"), b"graph")
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="Cannot write the bundle"):
        write_bundle(replace(bundle, path=tmp_path / "file" / "x.bundle"), b"graph")
    assert sorted(place.name for place in tmp_path.iterdir()) == ["file", "made.bundle", "mine"]


def test_imports_are_the_same_in_every_process(keras: ModuleType, tmp_path: Path, quietly: None) -> None:
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
            "Note: assumed pixels from 0 to 1 (state it with --scale)",
            "Note: named the classes 0 to 4 (name them with --classes FILE)",
        ], "TensorFlow's chatter belongs to nobody"
    assert made[0] == made[1]
