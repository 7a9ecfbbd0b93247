"""What a deployment will cost: by the month while it is idle, and for a thousand images by each way in."""

import time
from dataclasses import dataclass

import numpy as np

from hybrid_batch.inference.cloud.deployment_spec import CORE_MB, Wanted
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.datatypes import NUMPY
from hybrid_batch.inference.planner.plan.prices import Prices

_IMAGES = 1000
_RUNS = 20
_ALARMS = {"function": 2, "queue": 2, "workers": 2 + 2 * 2}  # metrics watched: the workers' alarms see two each
QUEUE_REQUESTS = 6  # to send, receive and delete the request and the reply, each by itself
WORKER_CORES = 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """In US dollars. `core_us` is what an image takes of one core when all of the model is tail."""

    month: float
    thousand: dict[str, float]
    core_us: float
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people."""
        each = ", ".join(f"{way} {dollars:.4f}" for way, dollars in self.thousand.items())
        return [
            f"costs: {self.month:.2f} USD a month while idle; {self.notes[0]}",
            f"costs: USD for 1,000 images, one a request, all of the model there: {each}; an image takes "
            f"{self.core_us / 1000:.2f} ms of a core here",
            *(f"costs: {note}" for note in self.notes[1:]),
        ]

    def describe(self) -> dict[str, object]:
        """As JSON."""
        return {
            "currency": "USD",
            "idle_month": self.month,
            "thousand_images": self.thousand,
            "core_us_per_image": self.core_us,
            "notes": list(self.notes),
        }


def estimate(wanted: Wanted, package_bytes: int, core_us: float, prices: Prices) -> Estimate:
    """Costs at these prices, without free tiers; each image a request of its own, all of the model in the cloud."""
    alarms = _ALARMS["function"] * wanted.has_function + _ALARMS["queue"] * wanted.has("queue")
    alarms += _ALARMS["workers"] * wanted.has_workers
    month = alarms * prices.alarm_month + package_bytes / 1e9 * prices.s3_gb_month
    notes = [f"that is the storage of the package and alarms on {alarms} metrics"]
    if wanted.has_workers:
        hour = prices.worker_arm_hour if wanted.is_arm else prices.worker_hour
        notes.append(f"each of 0 to {wanted.max_workers} workers {hour:.4f} USD an hour, disk and address apart")
    return Estimate(month, _ways(wanted, core_us / 1e6, prices), core_us, tuple(notes))


def measure_core_us(bundle: Bundle) -> float:
    """Microseconds of one core that an image takes on this machine, all of the model; the median of some."""
    from hybrid_batch.inference.model.runtimes import compile_tail, open_engine

    segment = compile_tail(open_engine("openvino", bundle), bundle, bundle.whole)
    image = [np.zeros((1, *bundle.input.shape), NUMPY[bundle.input.datatype])]
    segment(image)
    taken = []
    for _ in range(_RUNS):
        began = time.process_time()  # of all cores together, however many the engine uses
        segment(image)
        taken.append((time.process_time() - began) * 1e6)
    return float(np.median(taken))


def _ways(wanted: Wanted, core_s: float, prices: Prices) -> dict[str, float]:
    gb_second = prices.lambda_arm_gb_second if wanted.is_arm else prices.lambda_gb_second
    # AWS gives a function cores in proportion to its memory.
    billed_s = core_s * CORE_MB / wanted.memory_mb
    function = _IMAGES * (billed_s * wanted.memory_mb / 1024 * gb_second + prices.lambda_million_requests / 1e6)
    hour = prices.worker_arm_hour if wanted.is_arm else prices.worker_hour
    storage = (2 * prices.s3_million_puts + 2 * prices.s3_million_gets) / 1e6
    every = {
        "lambda": function,
        "api": function + _IMAGES * prices.http_api_million_requests / 1e6,
        "url": function,
        "trigger": function + _IMAGES * storage,
        "queue": _IMAGES * QUEUE_REQUESTS * prices.sqs_million_requests / 1e6
        + wanted.has_workers * _IMAGES * core_s / WORKER_CORES * hour / 3600,
    }
    return {way: dollars for way, dollars in every.items() if wanted.has(way)}
