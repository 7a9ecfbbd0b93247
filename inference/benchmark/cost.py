"""What 1,000 images cost at a tail, by what was measured of one; without free tiers."""

from dataclasses import dataclass

from hybrid_batch.inference.cloud.estimate import QUEUE_REQUESTS, WORKER_CORES
from hybrid_batch.inference.planner.plan.prices import Prices
from hybrid_batch.inference.tails import LOCAL, S3_TRIGGER

IMAGES = 1000
_AWS = (".amazonaws.com", ".on.aws")


@dataclass(frozen=True, slots=True)
class Consumed:
    """By one image: seconds of the tail, and bytes to it and back."""

    tail_s: float
    sent_bytes: float
    received_bytes: float


def cost_of_thousand(address: str, consumed: Consumed, prices: Prices) -> float:
    """In US dollars, one image a request. In a function the tail's own time is charged, with the requests and what they
    pass through; on a server or worker the price of the machine while it is never idle; at home nothing."""
    kind, _, place = address.partition(":")
    if kind == LOCAL:
        return 0.0
    out = IMAGES * consumed.received_bytes * prices.transfer_out_gb / 1e9
    incoming = IMAGES * consumed.sent_bytes * prices.transfer_in_gb / 1e9
    function = prices.cost(IMAGES * consumed.tail_s, IMAGES, 0, 0)
    machine = IMAGES * consumed.tail_s / WORKER_CORES * prices.worker_hour / 3600
    if kind == "lambda":
        return function + incoming + out
    if kind == S3_TRIGGER:
        return function + incoming + out + IMAGES * 2 * (prices.s3_million_puts + prices.s3_million_gets) / 1e6
    if kind == "sqs":
        return machine + incoming + out + IMAGES * QUEUE_REQUESTS * prices.sqs_million_requests / 1e6
    host = place.removeprefix("//").partition("/")[0].partition(":")[0]
    if host.endswith(_AWS):
        gateway = prices.http_api_million_requests if ".execute-api." in host else 0.0
        return function + incoming + out + IMAGES * gateway / 1e6
    return machine + incoming + out
