"""Arithmetic of the benchmark: percentiles, costs, summaries, and the choice of splits."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_batch.data.errors import CutNotFound
from hybrid_batch.inference.benchmark.benchmark import BenchmarkResult
from hybrid_batch.inference.benchmark.cost import ImageUsage, cost_per_1000_images
from hybrid_batch.inference.benchmark.latency.target import parse_cold_start
from hybrid_batch.inference.benchmark.load.client import LoadResult
from hybrid_batch.inference.benchmark.load.driver import Workload
from hybrid_batch.inference.benchmark.load.level import Level, LevelRow, LoadSample, summarize_level
from hybrid_batch.inference.benchmark.load.overload import OverloadResult
from hybrid_batch.inference.benchmark.output.terminal import print_result
from hybrid_batch.inference.benchmark.percentile import Percentiles, percentile
from hybrid_batch.inference.benchmark.splits import choose_load_split, choose_splits, split_title
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.planner.plan.prices import read_prices
from hybrid_batch.inference.planner.profile.device import find_device
from hybrid_batch.inference.runner.split import CutSplit

USAGE = ImageUsage(tail_s=0.1, sent_bytes=20_000, received_bytes=4_000)
OUT = 1000 * 4_000 * 0.09 / 1e9
FUNCTION = 1000 * 0.1 * 1.769 * 0.0000166667 + 1000 * 0.20 / 1e6
MACHINE = 1000 * 0.1 / 2 * 0.08925 / 3600


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200), st.floats(0, 1))
def test_percentiles_equal_numpys_inverted_cdf(values, share):
    assert percentile(values, share) == np.percentile(values, 100 * share, method="inverted_cdf")


def test_percentiles_of_one_to_a_hundred():
    assert Percentiles.of_us([1000 * n for n in range(100, 0, -1)]) == Percentiles(50, 95, 99)
    assert Percentiles.of_us([]) == Percentiles(0, 0, 0)


@pytest.mark.parametrize(
    ("address", "dollars"),
    [
        ("local", 0),
        ("serve", MACHINE + OUT),
        ("http://10.0.0.1:8000", MACHINE + OUT),
        ("https://tails.example.org/x", MACHINE + OUT),
        ("lambda:digits", FUNCTION + OUT),
        ("https://a1.lambda-url.eu-west-1.on.aws", FUNCTION + OUT),
        ("https://a1.execute-api.eu-west-1.amazonaws.com/x", FUNCTION + OUT + 1000 * 1.00 / 1e6),
        ("sqs:work", MACHINE + OUT + 6000 * 0.40 / 1e6),
        ("s3-trigger:s3://bucket/x", FUNCTION + OUT + 1000 * (2 * 5.00 + 2 * 0.40) / 1e6),
    ],
)
def test_costs_follow_the_price_table(address, dollars):
    assert cost_per_1000_images(address, USAGE, read_prices()) == pytest.approx(dollars, rel=1e-9)


def test_default_cuts_have_smaller_boundaries_than_all_earlier_cuts():
    bundle = resolve_model("digits")
    splits = choose_splits(bundle, (), "fp16")
    assert [(split.name, split.codec) for split in splits] == [
        ("c000", "image"),
        ("c010", "fp16"),  # the early cut
        ("c015", "fp16"),  # nearest to four fifths of the work
        ("c017", "fp16"),  # the last
    ]
    assert choose_load_split(bundle, splits, "fp16").cut.id == "c010"


def test_named_cuts_are_measured_once_and_the_first_is_the_load_split():
    bundle = resolve_model("digits")
    splits = choose_splits(bundle, ("pool", "c000", "c015", "c005"), "int8")
    assert [(split.name, split.codec) for split in splits] == [("c015", "int8"), ("c000", "image"), ("c005", "int8")]
    assert choose_load_split(bundle, splits, "int8").cut.id == "c015"
    assert split_title(choose_load_split(bundle, choose_splits(bundle, ("c000",), "int8"), "int8")) == "c010 int8"
    with pytest.raises(CutNotFound, match="no_such_layer"):
        choose_splits(bundle, ("no_such_layer",), "fp16")


def test_a_level_summarizes_its_samples():
    bundle = resolve_model("digits")
    workload = Workload(bundle, CutSplit(bundle.cut("c005"), "fp16"), [])
    results = [
        LoadResult(
            [1000, 3000],
            refused=1,
            waited_us=500_000,
            sent_bytes=300,
            received_bytes=60,
            in_time=3,
            in_time_s=1.5,
            cpu_s=0.1,
        ),
        LoadResult(
            [2000], errors={"status 500": 2}, sent_bytes=300, received_bytes=30, in_time=1, in_time_s=2.0, cpu_s=0.04
        ),
        LoadResult([4000], errors={"status 500": 1}, refused=2, sent_bytes=300, received_bytes=30, cpu_s=0.1),
    ]
    samples = [
        LoadSample(result, cpu_s, peak)
        for result, cpu_s, peak in zip(results, (0.06, 0.02, 0.3), (5, 9, 7), strict=True)
    ]
    row = summarize_level(Level(2, samples), workload)
    assert (row.users, row.cut, row.codec, row.answered) == (2, "c005", "fp16", 4)
    assert row.rate == 0.5
    assert row.latency == Percentiles(2, 4, 4)
    assert (row.errors, row.failed, row.refused, row.waited_s) == ({"status 500": 3}, 3, 3, 0.5)
    assert (row.cpu_ms, row.client_cpu_ms, row.memory_bytes) == (pytest.approx(30), pytest.approx(50), 9)
    assert (row.sent_bytes, row.received_bytes) == (225, 30)


COLD = (
    "START RequestId: 1 Version: $LATEST\nEND RequestId: 1\nREPORT RequestId: 1\tDuration: 2.1 ms\tBilled Duration: "
    "900 ms\tMemory Size: 1769 MB\tMax Memory Used: 300 MB\tInit Duration: 897.14 ms\t\n"
)
WARM = "REPORT RequestId: 2\tDuration: 2.10 ms\tBilled Duration: 3 ms\tMemory Size: 1769 MB\t\n"


@pytest.mark.parametrize(
    ("log", "started"),
    [(COLD, True), (WARM, False), (COLD + WARM, False), ("an image: Init Duration: 3 ms\n", None), ("", None)],
)
def test_the_last_report_of_a_log_decides_on_a_cold_start(log, started):
    assert parse_cold_start(base64.b64encode(log.encode()).decode()) is started


def test_an_unreadable_log_reports_neither():
    assert parse_cold_start("not base64!") is None


def test_the_table_lists_errors_by_cause(capsys):
    row = LevelRow(5, "c000", "image", 1.0, Percentiles(1, 2, 3), 9, {"status 500 [no]": 1234}, 0, 0, 1, 1, 1, 1, 1)
    overload = OverloadResult(8, 2, 2, 10.0, 5.0, 10.0, 30, 7, 7.5, 0)
    print_result(BenchmarkResult("digits", "0" * 64, find_device(), 1, 3.0, [], [row], overload))
    printed = capsys.readouterr().out
    assert "5 users, c000 image: 1,234 times status 500 [no]" in printed
    assert "8 users at a server that admits 2 requests: 7 refused (429), 30 answered" in printed
