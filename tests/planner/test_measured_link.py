"""The rate and the round trip found of a link that is known, for models of few outputs and of many."""

from urllib.parse import urlsplit

import pytest

import hybrid_batch
from bench.link import Conditions, open_link
from inference.models import open_model
from inference.planner.there import measure_link
from inference.tails.http import http_tail

ATTEMPTS = 5  # a busy machine delays what it measures


def check(model: str, url: str, conditions: Conditions) -> None:
    bundle, address = open_model(model), urlsplit(url)
    with open_link(address.hostname, address.port, (0, conditions)) as link, http_tail(link.url, bundle) as tail:
        for left in reversed(range(ATTEMPTS)):
            found = measure_link(bundle, tail)
            if found.rate_bps == pytest.approx(conditions.rate_mbit * 1e6, rel=0.15) or not left:
                break
    assert found.rate_bps == pytest.approx(conditions.rate_mbit * 1e6, rel=0.15)
    assert 0.9 * conditions.rtt_ms < found.round_trip_us / 1000 < conditions.rtt_ms + 20


@pytest.mark.parametrize("conditions", [Conditions(1.1, 50), Conditions(5.85, 5), Conditions(18.88, 20, down_mbit=100)])
def test_of_the_sample_model(conditions, digits_server):
    check("digits", digits_server.url, conditions)


@pytest.mark.parametrize("conditions", [Conditions(5.85, 5), Conditions(5.85, 5, down_mbit=20)])
def test_of_a_model_whose_replies_are_large(conditions, shared_data, tmp_path, serve):
    bundle = str(tmp_path / "imagenet.bundle")
    model = str(shared_data / "models" / "imagenet_mobilenet_v1_025_224.keras")
    assert hybrid_batch.run(["import", model, "-o", bundle, "--scale=-1-1"]) == 0
    check(bundle, serve(bundle).url, conditions)
