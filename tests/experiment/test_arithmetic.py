"""The experiment's arithmetic: percentiles, costs, and which cuts are worth measuring."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_batch.data.errors import CutNotFound
from hybrid_batch.inference.benchmark.clients import Tally
from hybrid_batch.inference.benchmark.cost import Consumed, cost_of_thousand
from hybrid_batch.inference.benchmark.crowd import Load
from hybrid_batch.inference.benchmark.lambda_start import read_start
from hybrid_batch.inference.benchmark.level import Level, LevelRow, Seen, sum_up
from hybrid_batch.inference.benchmark.percentile import Percentiles, percentile
from hybrid_batch.inference.benchmark.result import Result
from hybrid_batch.inference.benchmark.storm import Storm
from hybrid_batch.inference.benchmark.table import print_result
from hybrid_batch.inference.benchmark.way import Way, choose_split_way, choose_ways
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.planner.plan.prices import read_prices
from hybrid_batch.inference.planner.profile.device import find_device

CONSUMED = Consumed(tail_s=0.1, sent_bytes=20_000, received_bytes=4_000)
OUT = 1000 * 4_000 * 0.09 / 1e9
FUNCTION = 1000 * 0.1 * 1.769 * 0.0000166667 + 1000 * 0.20 / 1e6
MACHINE = 1000 * 0.1 / 2 * 0.08925 / 3600


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200), st.floats(0, 1))
def test_percentiles_are_numpys_by_the_inverted_distribution(values, share):
    assert percentile(values, share) == np.percentile(values, 100 * share, method="inverted_cdf")


def test_percentiles_of_a_hundred_are_what_one_counts():
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
def test_costs_are_what_the_price_list_says(address, dollars):
    assert cost_of_thousand(address, CONSUMED, read_prices()) == pytest.approx(dollars, rel=1e-9)


def test_by_default_cuts_are_measured_that_carry_less_than_all_before_them():
    bundle = open_model("digits")
    ways = choose_ways(bundle, (), "fp16")
    assert [(way.cut.id, way.codec) for way in ways] == [
        ("c000", "image"),
        ("c010", "fp16"),  # what `run` takes
        ("c015", "fp16"),  # nearest to four fifths of the work
        ("c017", "fp16"),  # the last
    ]
    assert choose_split_way(bundle, ways, "fp16").cut.id == "c010"


def test_cuts_that_are_named_are_measured_once_and_the_first_is_the_split():
    bundle = open_model("digits")
    ways = choose_ways(bundle, ("pool", "c000", "c015", "c005"), "int8")
    assert [(way.cut.id, way.codec) for way in ways] == [("c015", "int8"), ("c000", "image"), ("c005", "int8")]
    assert choose_split_way(bundle, ways, "int8").cut.id == "c015"
    assert choose_split_way(bundle, choose_ways(bundle, ("c000",), "int8"), "int8").name == "c010 int8"
    with pytest.raises(CutNotFound, match="no_such_layer"):
        choose_ways(bundle, ("no_such_layer",), "fp16")


def test_a_level_sums_up_its_turns():
    bundle = open_model("digits")
    load = Load(bundle, Way(bundle.cut("c005"), "fp16"), [])
    tallies = [
        Tally(
            [1000, 3000],
            refused=1,
            waited_us=500_000,
            sent_bytes=300,
            received_bytes=60,
            in_time=3,
            in_time_s=1.5,
            cpu_s=0.1,
        ),
        Tally(
            [2000], errors={"status 500": 2}, sent_bytes=300, received_bytes=30, in_time=1, in_time_s=2.0, cpu_s=0.04
        ),
        Tally([4000], errors={"status 500": 1}, refused=2, sent_bytes=300, received_bytes=30, cpu_s=0.1),
    ]
    seen = [Seen(tally, cpu_s, peak) for tally, cpu_s, peak in zip(tallies, (0.06, 0.02, 0.3), (5, 9, 7), strict=True)]
    row = sum_up(Level(2, seen), load)
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
    [(COLD, True), (WARM, False), (COLD + WARM, False), ("a picture: Init Duration: 3 ms\n", None), ("", None)],
)
def test_what_lambda_says_of_a_start_is_believed_and_nothing_else(log, started):
    assert read_start(base64.b64encode(log.encode()).decode()) is started


def test_a_log_that_is_none_says_nothing():
    assert read_start("not base64!") is None


def test_the_table_says_what_went_wrong(capsys):
    row = LevelRow(5, "c000", "image", 1.0, Percentiles(1, 2, 3), 9, {"status 500 [no]": 1234}, 0, 0, 1, 1, 1, 1, 1)
    storm = Storm(8, 2, 2, 10.0, 5.0, 10.0, 30, 7, 7.5, 0)
    print_result(Result("digits", "0" * 64, find_device(), 1, 3.0, [], [row], storm))
    printed = capsys.readouterr().out
    assert "5 users, c000 image: 1,234 times status 500 [no]" in printed
    assert "8 users at a server that lets 2 requests in: 7 times told to come later (429), 30 answered" in printed
