"""A row of the table of tails: what the turns of one tail and way have shown, summed up."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_batch.inference.benchmark.cost import Consumed, cost_of_thousand
from hybrid_batch.inference.benchmark.percentile import Percentiles
from hybrid_batch.inference.benchmark.trial import Trial
from hybrid_batch.inference.planner.plan.prices import Prices


@dataclass(frozen=True, slots=True)
class TailRow:
    """One tail with one way. Times are in ms: of the first answers the median, `first` being what they include;
    `warm` of all others, `here_ms`, `compute_ms` and `overhead_ms` their medians. Bytes are an image's, means; `cost`
    is USD for 1,000 images; `agree` the share of answers with the class that the whole model gives here."""

    tail: str
    cut: str
    name: str
    codec: str
    first: str
    cold_ms: float
    warm: Percentiles
    here_ms: float
    overhead_ms: float
    compute_ms: float
    sent_bytes: float
    received_bytes: float
    cost: float
    agree: float
    requests: int


def sum_up(trial: Trial, name: str, prices: Prices) -> TailRow:
    """A trial as a row; `name` is the tail's address as it may be shown."""
    answers = trial.answers
    sent, received = (
        statistics.fmean(one.sent_bytes for one in answers),
        statistics.fmean(one.received_bytes for one in answers),
    )
    tail_s = statistics.median(one.tail_us for one in answers) / 1e6
    kinds = {kind for kind, _ in trial.colds_us}
    return TailRow(
        name,
        trial.way.cut.id,
        trial.way.cut.name,
        trial.way.codec,
        kinds.pop() if len(kinds) == 1 else "/".join(sorted(kinds)),
        statistics.median(us for _, us in trial.colds_us) / 1000,
        Percentiles.of_us([one.latency_us for one in answers]),
        _median_ms([one.here_us for one in answers]),
        _median_ms([one.overhead_us for one in answers]),
        _median_ms([one.compute_us for one in answers]),
        sent,
        received,
        cost_of_thousand(trial.address, Consumed(tail_s, sent, received), prices),
        statistics.fmean(one.agrees for one in answers),
        len(answers),
    )


def _median_ms(values_us: Sequence[float]) -> float:
    return statistics.median(values_us) / 1000
