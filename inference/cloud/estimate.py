"""The cost of a deployment in USD: per month while idle, and per 1,000 images by entry point."""

import time
from dataclasses import dataclass

import numpy as np

from hybrid_batch.inference.cloud.deployment_spec import CORE_MB, DeploymentSpec
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES
from hybrid_batch.inference.planner.plan.prices import Prices

_IMAGES = 1000
_RUNS = 20
_LIBRARIES_BYTES = 60_000_000  # compressed, about; 10 MB more cost 0.0002 USD a month
_ALARMS = {"function": 2, "queue": 2, "workers": 2 + 2 * 2}  # metrics of the alarms; each alarm of the workers has two
_API_LOG_BYTES = 400  # a line of the API's access log
_S3_LOG_BYTES = 700  # a line of the bucket's access log; S3 charges only for storing it
_S3_LOG_MONTHS = 3
QUEUE_REQUESTS = 6  # send, receive and delete the request and the reply, unbatched
WORKER_CORES = 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost in USD, by entry point for images. `core_us` is the CPU time in µs of the whole model for one image."""

    usd_per_month: float
    usd_per_1000_images: dict[str, float]
    core_us: float
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The estimate as lines of text."""
        images = ", ".join(f"{entry} {usd:.4f}" for entry, usd in self.usd_per_1000_images.items())
        return [
            f"cost: {self.usd_per_month:.2f} USD per month while idle ({self.notes[0]})",
            f"cost: USD per 1,000 images with the whole model in the cloud, one image per request: {images} (measured: "
            f"{self.core_us / 1000:.2f} ms of one core per image)",
            *(f"cost: {note}" for note in self.notes[1:]),
        ]

    def describe(self) -> dict[str, object]:
        """The estimate as JSON types."""
        return {
            "currency": "USD",
            "usd_per_month": self.usd_per_month,
            "usd_per_1000_images": self.usd_per_1000_images,
            "core_us_per_image": self.core_us,
            "notes": list(self.notes),
        }


def estimate(spec: DeploymentSpec, bundle: Bundle, core_us: float, prices: Prices) -> Estimate:
    """Estimate the cost at these prices, with one image per request and the whole model in the cloud, before the
    package is built. Free tiers are not deducted."""
    package_bytes = _LIBRARIES_BYTES + bundle.graph_path.stat().st_size
    alarms = _ALARMS["function"] * spec.has_function + _ALARMS["queue"] * spec.has("queue")
    alarms += _ALARMS["workers"] * spec.has_workers
    month = alarms * prices.alarm_month + package_bytes / 1e9 * prices.s3_gb_month
    notes = [f"storage of the package and alarms on {alarms} metrics"]
    if spec.has_workers:
        hour = prices.worker_arm_hour if spec.is_arm else prices.worker_hour
        notes.append(f"each of 0 to {spec.max_workers} workers {hour:.4f} USD per hour, without disk and address")
    return Estimate(month, _usd_per_1000_images(spec, core_us / 1e6, prices), core_us, tuple(notes))


def measure_core_us(bundle: Bundle) -> float:
    """Measure the CPU time in µs of the whole model for one image on this machine: the median of 20 runs."""
    from hybrid_batch.inference.model.runtimes import compile_tail, open_runtime

    segment = compile_tail(open_runtime("openvino", bundle), bundle, bundle.input_cut)
    image = [np.zeros((1, *bundle.input.shape), NUMPY_DTYPES[bundle.input.datatype])]
    segment(image)
    times_us = []
    for _ in range(_RUNS):
        began = time.process_time()  # CPU time of all cores that the runtime uses
        segment(image)
        times_us.append((time.process_time() - began) * 1e6)
    return float(np.median(times_us))


def _usd_per_1000_images(spec: DeploymentSpec, core_s: float, prices: Prices) -> dict[str, float]:
    gb_second = prices.lambda_arm_gb_second if spec.is_arm else prices.lambda_gb_second
    # Lambda allocates cores in proportion to memory.
    billed_s = core_s * CORE_MB / spec.memory_mb
    function = _IMAGES * (billed_s * spec.memory_mb / 1024 * gb_second + prices.lambda_million_requests / 1e6)
    hour = prices.worker_arm_hour if spec.is_arm else prices.worker_hour
    # Two writes and two reads, of the image and the reply; a line of the access log each.
    storage = (2 * prices.s3_million_puts + 2 * prices.s3_million_gets) / 1e6
    storage += 4 * _S3_LOG_BYTES / 1e9 * prices.s3_gb_month * _S3_LOG_MONTHS
    log = _API_LOG_BYTES / 1e9 * prices.logs_gb
    by_entry_point = {
        "lambda": function,
        "api": function + _IMAGES * (prices.http_api_million_requests / 1e6 + log),
        "url": function,
        "trigger": function + _IMAGES * storage,
        "queue": _IMAGES * QUEUE_REQUESTS * prices.sqs_million_requests / 1e6
        + spec.has_workers * _IMAGES * core_s / WORKER_CORES * hour / 3600,
    }
    return {name: usd for name, usd in by_entry_point.items() if spec.has(name)}
