"""Profiles, plans and adaptive runs over a queue."""

import json

from hybrid_batch.cli import main
from tests.conftest import ROOT
from tests.run_logs import read_records

IMAGES = ROOT / "data" / "digits" / "images" / "0"


def test_a_queue_is_profiled_planned_and_used_adaptively(work_queue, start_worker, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))
    start_worker(work_queue)
    tail = f"sqs:{work_queue.name}"
    assert main(["profile", "digits", "--tail", tail, "--batch-size", "8", "--json"]) == 0
    profiled = json.loads(capsys.readouterr().out)["tail"]
    assert profiled["address"] == tail
    assert profiled["link"]["rate_bps"] > 0
    assert 700_000 < profiled["max_frame_bytes"] < 1 << 20
    assert main(["plan", "digits", "--tail", tail, "--batch-size", "8", "--json"]) == 0
    assert any(one["cut"] == "c004" for one in json.loads(capsys.readouterr().out)["candidates"])
    log = str(tmp_path / "log")
    assert main(["run", str(IMAGES), "--tail", tail, "--batch-size", "8", "--log", log]) == 0
    records = read_records(log)
    assert {one["tail"] for one in records} <= {tail, "local"}
    assert all(one["error"] is None for one in records)
    assert work_queue.replies() == []
