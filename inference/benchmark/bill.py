"""What the experiment would send to tails that cost money, before it does."""

import statistics
from dataclasses import dataclass

from hybrid_batch.inference.benchmark.cost import IMAGES, Consumed, cost_of_thousand
from hybrid_batch.inference.benchmark.experiment import Experiment
from hybrid_batch.inference.benchmark.head import Head
from hybrid_batch.inference.benchmark.pictures import read_pictures
from hybrid_batch.inference.benchmark.site import is_paid
from hybrid_batch.inference.cloud.estimate import measure_core_us
from hybrid_batch.inference.tails import public_address


@dataclass(frozen=True, slots=True)
class Bill:
    """For one tail: pictures to be sent, each in a request of its own, and about what that costs, in USD."""

    tail: str
    requests: int
    cost: float


def estimate_bills(experiment: Experiment) -> list[Bill]:
    """One for each tail that may cost money. Its work is taken to last as long as on one core here."""
    kit = experiment.kit
    paid = [tail for tail in dict.fromkeys(experiment.tails) if is_paid(tail)]
    if not paid:
        return []
    files = read_pictures(kit.bundle, experiment.images)
    whole_s = measure_core_us(kit.bundle) / 1e6
    each = experiment.rounds * (experiment.requests + 1)
    consumed = {}
    for way in experiment.ways:
        head = Head(kit.bundle, kit.engine, way)
        sent = statistics.fmean(head.prepare(file).body(kit.bundle).size for file in files)
        share = 1 - way.cut.head_share
        consumed[way] = Consumed(share * whole_s, sent, 4 * kit.bundle.output.elements)
    return [
        Bill(
            public_address(tail),
            each * sum(address == tail for address, _ in experiment.pairs),
            sum(
                each / IMAGES * cost_of_thousand(tail, consumed[way], experiment.prices)
                for address, way in experiment.pairs
                if address == tail
            ),
        )
        for tail in paid
    ]
