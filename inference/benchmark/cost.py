"""The cost of 1,000 images at a tail, from measurements of one; and the bill of a benchmark before it starts.

Free tiers are not deducted.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.inference.benchmark.head_encoder import HeadEncoder, read_sample_images
from hybrid_batch.inference.benchmark.latency.target import BenchmarkContext, is_paid
from hybrid_batch.inference.cloud.estimate import QUEUE_REQUESTS, WORKER_CORES, measure_core_us
from hybrid_batch.inference.planner.plan.prices import Prices
from hybrid_batch.inference.runner.split import RemoteSplit
from hybrid_batch.inference.tails import LOCAL, S3_TRIGGER, redacted_address

_IMAGES = 1000
_AWS_DOMAINS = (".amazonaws.com", ".on.aws")


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """What one image uses: seconds of the tail, and bytes sent to it and received from it."""

    tail_s: float
    sent_bytes: float
    received_bytes: float


@dataclass(frozen=True, slots=True)
class Bill:
    """One tail's part of a benchmark: the number of requests with one image each, and their approximate cost in USD."""

    tail: str
    requests: int
    cost: float


def cost_per_1000_images(address: str, usage: ImageUsage, prices: Prices) -> float:
    """USD for 1,000 images with one image a request: for a Lambda function its run time, requests and the services
    they pass; for a server or queue worker the price of a machine that is never idle; for the local tail 0."""
    kind, _, rest = address.partition(":")
    if kind == LOCAL:
        return 0.0
    out = _IMAGES * usage.received_bytes * prices.transfer_out_gb / 1e9
    incoming = _IMAGES * usage.sent_bytes * prices.transfer_in_gb / 1e9
    function = prices.cost(_IMAGES * usage.tail_s, _IMAGES, 0, 0)
    machine = _IMAGES * usage.tail_s / WORKER_CORES * prices.worker_hour / 3600
    if kind == "lambda":
        return function + incoming + out
    if kind == S3_TRIGGER:
        return function + incoming + out + _IMAGES * 2 * (prices.s3_million_puts + prices.s3_million_gets) / 1e6
    if kind == "sqs":
        return machine + incoming + out + _IMAGES * QUEUE_REQUESTS * prices.sqs_million_requests / 1e6
    host = rest.removeprefix("//").partition("/")[0].partition(":")[0]
    if host.endswith(_AWS_DOMAINS):
        gateway = prices.http_api_million_requests if ".execute-api." in host else 0.0
        return function + incoming + out + _IMAGES * gateway / 1e6
    return machine + incoming + out


def estimate_bills(
    context: BenchmarkContext, cases: Sequence[tuple[str, RemoteSplit]], images: ImageSet, requests: int, prices: Prices
) -> list[Bill]:
    """A bill for each paid tail among `cases` (address and split), each case with `requests` requests. The tail's work
    is assumed to take as long as on one core of this machine. Raises NoImages."""
    bundle = context.bundle
    paid = [(address, split) for address, split in cases if is_paid(address)]
    if not paid:
        return []
    files = read_sample_images(bundle, images)
    whole_s = measure_core_us(bundle) / 1e6
    usages = {}
    for split in dict.fromkeys(split for _, split in paid):
        encoder = HeadEncoder(bundle, context.runtime, split)
        sent = statistics.fmean(encoder.encode(file).body(bundle).size for file in files)
        usages[split] = ImageUsage((1 - bundle.cut(split.name).head_share) * whole_s, sent, 4 * bundle.output.elements)
    bills = []
    for tail in dict.fromkeys(address for address, _ in paid):
        costs = [cost_per_1000_images(tail, usages[split], prices) for address, split in paid if address == tail]
        bills.append(Bill(redacted_address(tail), requests * len(costs), requests / _IMAGES * sum(costs)))
    return bills
