"""Parts that a stranger wrote: every reader refuses them with one sentence, in bounded memory."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.images.images import IMAGES_SCHEMA
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.counting import record_counter
from hybrid_batch.jobs.input.part_list import Part, count_parts
from tests.conftest import HANG_S
from tests.factories import hostile_parts
from tests.factories.hostile_parts import PARTS

MEMORY_BYTES = 2 << 30

# One process reads all of them, with a limit of its memory: a reader that allocates what a file states would fail.
READ_ALL = """
import io, json, resource, sys
from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.evaluation.comparison.comparison import build_comparison
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.jobs.compare_inline import compare
from hybrid_batch.jobs.input.comparison_input import list_comparison_input
from hybrid_batch.inference.runner.totals import Totals
from hybrid_batch.jobs.evaluate_inline import count, evaluate
from hybrid_batch.jobs.input.part_list import list_parts
from hybrid_batch.jobs.output.export import FORMATS

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), -1))
good = sys.argv[2]
READERS = {
    "evaluate": lambda uri, run: evaluate(list_parts([uri]).parts),
    "skip": lambda uri, run: evaluate(list_parts([uri]).parts, skip_unreadable=True),
    "compare": lambda uri, run: build_comparison(compare(list_comparison_input([good, uri]))),
    "resume": lambda uri, run: Totals.of_shards(run, run.parts()),
    **{name: lambda uri, run, write=write: write(run, io.BytesIO()) for name, write in FORMATS.items()},
}
for uri in sys.argv[3:]:
    results = {}
    for name, read in READERS.items():
        try:
            read(uri, RunFolder(open_storage(uri)))
            results[name] = None
        except HybridBatchError as error:
            results[name] = f"{type(error).__name__} {error}"
    print(json.dumps([uri, results]), flush=True)
"""


def write_run(folder: Path, part: bytes) -> Path:
    run = RunFolder(open_storage(str(folder)))
    run.create({"shard_size": 1000})
    images = hostile_parts.honest().select(["image"])
    sizes = hostile_parts.honest()["image_bytes"]
    run.freeze_images(
        images.append_column("label", sizes.cast("string")).append_column("size", sizes).cast(IMAGES_SCHEMA)
    )
    (folder / "part-00000.parquet").write_bytes(part)
    return folder


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str | None]]:
    """For each part, what each reader reported."""
    log = tmp_path_factory.mktemp("log")
    good = write_run(log / "good", hostile_parts.parquet(hostile_parts.honest()))
    folders = {
        str(write_run(log / f"run={place}", make())): name for place, (name, (make, _)) in enumerate(PARTS.items())
    }
    result = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(MEMORY_BYTES), str(good), *folders],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return {folders[uri]: results for uri, results in lines}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_stranger_is_refused_by_every_reader(answers: dict[str, dict[str, str | None]], name: str) -> None:
    reason, answer = PARTS[name][1], answers[name]
    assert answer.pop("skip") is None
    if reason is None:
        assert set(answer.values()) == {None}
        return
    for reader, sentence in answer.items():
        if reader in ("evaluate", "compare") or reason:
            assert sentence is not None, reader
        if sentence is not None:
            assert re.match(r"NotARun \S+/part-00000.parquet ", sentence), (reader, sentence)
            assert reason in sentence or reader in ("coco",), (reader, sentence)
            assert "\n" not in sentence


def test_a_part_that_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run=a", PARTS["a label of 80 MB"][0]())
    (run / "part-00001.parquet").write_bytes(hostile_parts.parquet(hostile_parts.honest()))
    assert main(["evaluate", str(run), "--no-files"]) == 2
    assert "leave it out with --skip-unreadable" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--no-files", "--json", "--skip-unreadable"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["coverage"]["records"] == 300
    assert [sentence.partition(" cannot")[0] for sentence in report["bad_parts"]] == [f"{run}/part-00000.parquet"]


def test_a_part_of_more_records_than_its_run_states_is_not_joined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number of buckets of a comparison, and with it the memory of a join, comes from the shard size."""
    good = write_run(tmp_path / "run=a", hostile_parts.parquet(hostile_parts.honest()))
    bad = write_run(tmp_path / "run=b", hostile_parts.parquet(hostile_parts.honest(1001)))
    assert main(["compare", str(good), str(bad)]) == 2
    assert "it has more records than the shard size of its run, 1,000" in capsys.readouterr().err
    assert main(["compare", str(bad), str(good), "--engine", "mrjob"]) == 2
    assert "it has more records than the shard size of its run, 1,000" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["inline", "mrjob"])
def test_distinct_values_are_counted_up_to_a_limit(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, limit in (("MAX_CLASSES", 200), ("MAX_LETTERS", 900), ("MAX_PERIODS", 20)):
        monkeypatch.setattr(record_counter, name, limit)
    labels = pa.array([f"c{number}" for number in range(300)])
    starts = pa.array([number * 60_000_000 for number in range(300)], pa.int64()).cast(pa.timestamp("us", "UTC"))
    run = write_run(tmp_path / "run=a", hostile_parts.parquet(hostile_parts.honest()))
    for index, columns in enumerate(({"label": labels}, {"started_at": starts}, {}), start=1):
        part = hostile_parts.parquet(hostile_parts.changed(hostile_parts.honest(), **columns))
        (run / f"part-{index:05}.parquet").write_bytes(part)
    arguments = ["evaluate", str(run), "--no-files", "--json", "--skip-unreadable", "--engine", engine]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["coverage"]["records"] == 600
    found = " ".join(report["bad_parts"])
    assert re.search(
        r"part-00001.parquet cannot be counted: with it, the records have \d+ classes, more than 200", found
    )
    assert re.search(r"part-00002.parquet cannot be counted: with it, the records have \d+ shards and minutes", found)


def test_damaged_parts_do_not_restart_the_counting_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part fails after its first batch, so that it cannot be subtracted from the counts."""
    started = 0
    add = record_counter.RecordCounter.add

    def count(self: record_counter.RecordCounter, batch: pa.RecordBatch) -> None:
        nonlocal started
        started += 1
        add(self, batch)

    monkeypatch.setattr(record_counter.RecordCounter, "add", count)
    good = hostile_parts.parquet(hostile_parts.honest())
    bad = hostile_parts.parquet(hostile_parts.changed(hostile_parts.honest(), head_us=pa.nulls(300, pa.int64())))
    run = write_run(tmp_path / "run=a", good)
    for index in range(1, 60):
        (run / f"part-{index:05}.parquet").write_bytes(bad if index % 2 else good)
    counts = count_parts([Part(str(run), index) for index in range(60)])
    assert len(counts["bad_parts"]) == 30
    assert started < 200
