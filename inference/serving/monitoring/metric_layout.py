"""The counts of a server, and the position of each in a row of numbers."""

from collections.abc import Sequence
from enum import StrEnum


class Refusal(StrEnum):
    """Why a request or a connection was refused."""

    PENDING = "pending"
    BYTES = "bytes"
    COMPILATION = "compilation"
    SHUTDOWN = "shutdown"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    RATE = "rate"
    UNAUTHORISED = "unauthorised"
    CONNECTIONS = "connections"
    MALFORMED = "malformed"
    NOT_FOUND = "not_found"
    FAILED = "failed"
    OTHER = "other"


class Stage(StrEnum):
    """The stages of an inference request."""

    READ = "read"
    COMPILE = "compile"
    DECODE = "decode"
    QUEUE = "queue"
    COMPUTE = "compute"
    ENCODE = "encode"


class Gauge(StrEnum):
    """Present values of one process."""

    PID = "pid"  # the first number of a row: not zero as soon as a process has it
    PENDING = "pending"
    HELD_BYTES = "held_bytes"
    CONNECTIONS = "connections"
    COMPILED_CUTS = "compiled_cuts"
    COMPILED_BYTES = "compiled_bytes"


class Total(StrEnum):
    """Counts of one process that have no label."""

    COMPILATIONS = "compilations"
    EVICTIONS = "evictions"
    RECEIVED_BYTES = "received_bytes"
    SENT_BYTES = "sent_bytes"


class CutTotal(StrEnum):
    """Counts for each cut, named as in Triton's statistics; the times are in seconds."""

    IMAGES = "images"
    EXECUTIONS = "executions"
    SUCCESSES = "successes"
    SUCCESS_S = "success_s"
    FAILURES = "failures"
    FAILURE_S = "failure_s"
    QUEUE_S = "queue_s"
    DECODE_S = "decode_s"
    COMPUTE_S = "compute_s"
    ENCODE_S = "encode_s"
    LAST_AT_S = "last_at_s"


OPERATIONS = (
    *("server_metadata", "server_live", "server_ready", "model_metadata", "model_ready", "infer", "metrics"),
    *("repository_index", "model_config", "statistics", "unknown"),
)
STATUSES = (200, 400, 401, 403, 404, 405, 408, 409, 411, 413, 415, 429, 431, 500, 503, 0)  # 0: any other
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
NUMBERS_PER_STAGE = len(BUCKETS_S) + 2  # the buckets, the one above them, and the sum


class MetricLayout:
    """Positions of all numbers in a row, for a server of the cuts with these ids: first the gauges, then the totals."""

    def __init__(self, cut_ids: Sequence[str]) -> None:
        self.cut_ids = tuple(cut_ids)
        self.gauges = {gauge: index for index, gauge in enumerate(Gauge)}
        self.totals = {total: len(Gauge) + index for index, total in enumerate(Total)}
        at = len(Gauge) + len(Total)
        self.operations = {name: at + index * len(STATUSES) for index, name in enumerate(OPERATIONS)}
        at += len(OPERATIONS) * len(STATUSES)
        self.refusals = {reason: at + index for index, reason in enumerate(Refusal)}
        at += len(Refusal)
        self.stages = {stage: at + index * NUMBERS_PER_STAGE for index, stage in enumerate(Stage)}
        at += len(Stage) * NUMBERS_PER_STAGE
        self.cuts = {cut_id: at + index * len(CutTotal) for index, cut_id in enumerate(self.cut_ids)}
        self.cut_totals = {total: index for index, total in enumerate(CutTotal)}
        self.size = at + len(self.cut_ids) * len(CutTotal)
        self._statuses = {status: index for index, status in enumerate(STATUSES)}

    def request(self, operation: str, status: int) -> int:
        """The position of the number of replies of an operation with a status."""
        return self.operations[operation] + self._statuses.get(status, len(STATUSES) - 1)
