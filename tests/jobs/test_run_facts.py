import json
from pathlib import Path

from hybrid_batch.jobs.input.run_facts import read_run_facts

SETTINGS = {
    "format": 1,
    "identity": {"bundle": "f" * 64},
    "bundle_name": "digits",
    "images": "/images",
    "labels": "folder",
    "machine": {"platform": "Linux-6.1.0-x86_64", "processor": "x86_64", "cores": 1, "memory_bytes": 8_000_000_000},
    "created_at": "2026-11-21T20:00:00+00:00",
    "cut": "c010",
    "cut_name": "squeeze_relu",
    "codec": "int8",
    "tail": "http://tail",
    "weights": "random",
}


def write(folder: Path, settings: object) -> str:
    folder.mkdir()
    (folder / "_run.json").write_text(json.dumps(settings))
    return str(folder)


def test_the_facts_of_a_run_are_those_of_its_settings(tmp_path: Path) -> None:
    run = write(tmp_path / "run=abc", SETTINGS)
    (facts,) = read_run_facts([run, run])
    assert (facts.run, facts.run_id, facts.model, facts.bundle) == (run, "abc", "digits", "f" * 64)
    assert (facts.images, facts.labels, facts.created_at) == ("/images", "folder", "2026-11-21T20:00:00+00:00")
    assert facts.machine == "x86_64, 1 core, 8 GB, Linux 6.1.0"
    assert (facts.cut, facts.codec, facts.tail, facts.weights) == ("squeeze_relu", "int8", "http://tail", "random")


def test_facts_that_are_missing_or_of_another_type_are_unknown(tmp_path: Path) -> None:
    old = write(tmp_path / "run=old", {"format": 1, "identity": {"bundle": "e"}, "shard_size": 10})
    odd = write(tmp_path / "odd", {"format": 1, "identity": [], "machine": "x", "cut": 5, "images": ["a"], "tail": ""})
    first, second, third = read_run_facts([old, odd, str(tmp_path / "absent")])
    assert (first.run_id, first.bundle, first.machine, first.cut) == ("old", "e", None, None)
    assert {getattr(second, name) for name in second.__slots__} == {odd, None}
    assert (third.run, third.model) == (str(tmp_path / "absent"), None)
