"""Damaged settings and totals of runs, and damaged bundles: one sentence and the exception of that file."""

import copy
import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.errors import HybridBatchError, NotABundle, NotARun
from hybrid_batch.data.log.run_list import list_run
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.run_facts import facts_of
from hybrid_batch.inference.model.bundle import Bundle, read_bundle
from hybrid_batch.inference.runner.totals import Totals
from tests.conftest import ROOT
from tests.factories.records import random_records, write_run

BUNDLE = ROOT / "data/digits/digits.bundle"
MUTATIONS = 200
SETTINGS: dict[str, Any] = {
    "format": 1,
    "bundle_name": "digits",
    "codec": "fp16",
    "created_at": "2026-11-21T21:44:17+00:00",
    "cut": "c010",
    "cut_name": "squeeze_relu",
    "identity": {"bundle": "fc94", "codec": "fp16", "engine": "openvino", "split": "c010"},
    "images": "/images",
    "labels": "folder",
    "machine": {"cores": 2, "memory_bytes": 25276510208},
    "settings": {"batch_size": 32, "earliest_cut": None},
    "shard_size": 6,
    "software": {"hybrid-batch": "0.1.0"},
    "tail": "local",
}
TOTALS: dict[str, Any] = {
    "images": 20,
    "errors": 0,
    "labelled": 20,
    "correct": 20,
    "image_bytes": 9,
    "cut_bytes": 9,
    "sent_bytes": 0,
    "received_bytes": 0,
    "active_us": [[1, 2]],
    "cuts": {"c010 fp16": 20},
    "error_reasons": {},
    "events": [],
    "reason": "one cut",
    "stages_us": {"decode": 1},
    "waits_us": {"batch_wait": 1},
    "tails": {"local": 20},
}
WRONG: list[object] = [
    None, True, -1, 0, 1.5, 10**30, "", "x", "\x1b[31m", [], [None], [[1]], {}, {"a": None}, {"a": {"a": []}},
]  # fmt: skip
RAW = [
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"[" * 200_000, b'{"format":' * 100_000, b'{"format": NaN}',
    b'{"format": 1, "shard_size": Infinity}', b'{"format": ' + b"9" * 5000 + b"}", b'{"format": 1e999}',
    b'{"format": 1, "tail": "\\ud800"}', b'{"format": 1, "tail": "\xff"}',
    b'{"format": 1} x', b'\x00{"format": 1}', b'{"format": 1,}',
]  # fmt: skip


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON document, but the whole."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutations(document: dict[str, Any], seed: int) -> Iterator[bytes]:
    """Documents with a value of another kind, without a value, and with changed, missing and repeated bytes."""
    choose = random.Random(seed)
    paths = list(places(document))
    text = json.dumps(document).encode()
    for number in range(MUTATIONS):
        if number % 2:
            changed = copy.deepcopy(document)
            *way, last = choose.choice(paths)
            owner: Any = changed
            for key in way:
                owner = owner[key]
            if choose.random() < 0.25:
                del owner[last]
            else:
                owner[last] = choose.choice(WRONG)
            yield json.dumps(changed).encode()
        else:
            start = choose.randrange(len(text))
            insert = choose.choice([b"", b"[", b"}", b'"', b"-", b"null", b"9" * 30, b"NaN", b"\\ud800", b"\0", b"1e9"])
            yield text[:start] + insert + (b"" if choose.random() < 0.2 else text[start + choose.randrange(9) :])


def read_all(folder: Path) -> None:
    """What commands read of the settings and totals of a run."""
    run = RunFolder(open_storage(str(folder)))
    list_run(run).to_dict()
    facts_of(run.uri, run.settings())
    stored = run.totals()
    if stored is not None:
        totals = Totals.from_dict(stored)
        totals.to_dict()


def check(call: Callable[[], object], kind: type[HybridBatchError]) -> bool:
    """Whether the call is refused; then by this exception, in one sentence."""
    try:
        call()
    except kind as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 700, str(error)
        str(error).encode()
        return True
    return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(str(tmp_path / "log/run=one"), random_records(20, ["a", "b"]), 6)
    folder = tmp_path / "log/run=one"
    (folder / "_run.json").write_text(json.dumps(SETTINGS))
    (folder / "_SUCCESS").write_text(json.dumps(TOTALS))
    read_all(folder)
    return folder


@pytest.mark.parametrize("name", ["_run.json", "_SUCCESS"])
def test_a_mutated_file_of_a_run_is_read_or_refused(folder: Path, name: str) -> None:
    document = SETTINGS if name == "_run.json" else TOTALS
    refused = 0
    for content in mutations(document, 7):
        (folder / name).write_bytes(content)
        refused += check(lambda: read_all(folder), NotARun)
    assert refused > MUTATIONS / 3


@pytest.mark.parametrize("name", ["_run.json", "_SUCCESS"])
@pytest.mark.parametrize("content", RAW, ids=lambda content: repr(content[:24]))
def test_a_damaged_file_of_a_run_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    refused = check(lambda: read_all(folder), NotARun)
    assert refused or name == "_SUCCESS"  # which has no version


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("_run.json", {"shard_size": 0}),
        ("_run.json", {"shard_size": -3}),
        ("_run.json", {"shard_size": 1 << 80}),
        ("_run.json", {"shard_size": "6"}),
        ("_run.json", {"identity": []}),
        ("_run.json", {"identity": {"split": {}}}),
        ("_run.json", {"cut": ["c001"]}),
        ("_run.json", {"created_at": 5}),
        ("_run.json", {"settings": "x"}),
        ("_SUCCESS", {"images": -1}),
        ("_SUCCESS", {"labelled": "0"}),
        ("_SUCCESS", {"correct": None}),
        ("_SUCCESS", {"cuts": ["c001"]}),
        ("_SUCCESS", {"tails": {"local": "x"}}),
        ("_SUCCESS", {"active_us": [[1]]}),
        ("_SUCCESS", {"stages_us": {"decode": 10**30}}),
    ],
)
def test_commands_end_with_one_sentence(
    folder: Path, name: str, changes: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    document = SETTINGS if name == "_run.json" else TOTALS
    (folder / name).write_text(json.dumps(document | changes))
    with pytest.raises(NotARun, match=next(iter(changes))):
        read_all(folder)
    assert main(["runs", str(folder)]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


def seal(content: bytes, graph: Path) -> bytes:
    """The description with the hash that belongs to it, as an attacker would write it; unchanged if it is not JSON."""
    try:
        stored = json.loads(content)
        covered = {key: stored[key] for key in ("input", "output", "preparation", "labels", "output_kind", "cuts")}
        text = json.dumps(covered, sort_keys=True, separators=(",", ":")).encode()
        stored["sha256"] = hashlib.sha256(text + graph.read_bytes()).hexdigest()
        return json.dumps(stored).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return content


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(BUNDLE, tmp_path / "digits.bundle")
    return tmp_path / "digits.bundle"


def describe(path: Path) -> Bundle:
    """What commands read of a bundle without its graph."""
    bundle = read_bundle(path)
    assert bundle.input_cut.id == "c000"
    assert [cut.elements + cut.head_share for cut in bundle.cuts]
    str((bundle.reference, bundle.random_weights_note, bundle.output.elements)).encode()
    return bundle


def test_a_mutated_description_of_a_bundle_is_read_or_refused(copied: Path) -> None:
    stored = json.loads((copied / "bundle.json").read_bytes())
    refused = 0
    for content in mutations(stored, 3):
        (copied / "bundle.json").write_bytes(seal(content, copied / "graph.pb"))
        refused += check(lambda: describe(copied), NotABundle)
    assert refused > MUTATIONS / 3


@pytest.mark.parametrize("content", RAW, ids=lambda content: repr(content[:24]))
def test_a_damaged_description_of_a_bundle_is_refused(copied: Path, content: bytes) -> None:
    (copied / "bundle.json").write_bytes(content)
    assert check(lambda: describe(copied), NotABundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.update(cuts=[]),
        lambda stored: stored["cuts"].pop(0),
        lambda stored: stored["cuts"].append(stored["cuts"][3]),
        lambda stored: stored["cuts"][0].update(boundary=[]),
        lambda stored: stored["cuts"][2].update(head_macs=-1),
        lambda stored: stored["cuts"][2].update(head_macs=10**40),
        lambda stored: stored["cuts"][2]["boundary"][0].update(shape=[1 << 30] * 3),
        lambda stored: stored["input"].update(datatype="FP31"),
        lambda stored: stored["input"].update(shape=["8", 8, 1]),
        lambda stored: stored["input"].update(shape=[-8, 8, 1]),
        lambda stored: stored["input"].update(shape=[8.0, 8, 1]),
        lambda stored: stored["output"].update(name=[]),
        lambda stored: stored.update(labels="0123456789"),
        lambda stored: stored.update(labels=[]),
        lambda stored: stored.update(labels=["0", "1"]),
        lambda stored: stored.update(labels=[1] * 10),
        lambda stored: stored.update(output_kind="both"),
        lambda stored: stored.update(name=""),
        lambda stored: stored.update(name={"a": 1}),
        lambda stored: stored["preparation"].update(height="8"),
        lambda stored: stored["preparation"].update(colour=[]),
        lambda stored: stored.update(preparation=None),
    ],
)
def test_a_description_of_other_types_is_refused_although_its_hash_fits(
    copied: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    stored = json.loads((copied / "bundle.json").read_bytes())
    change(stored)
    (copied / "bundle.json").write_bytes(seal(json.dumps(stored).encode(), copied / "graph.pb"))
    assert check(lambda: describe(copied), NotABundle)


def test_a_mutated_graph_is_not_that_of_the_bundle(copied: Path) -> None:
    content = (copied / "graph.pb").read_bytes()
    choose = random.Random(5)
    for _ in range(50):
        start = choose.randrange(len(content))
        changed = content[:start] + choose.randbytes(3) + content[start + choose.randrange(3, 9) :]
        (copied / "graph.pb").write_bytes(changed)
        assert changed == content or check(lambda: describe(copied), NotABundle)
