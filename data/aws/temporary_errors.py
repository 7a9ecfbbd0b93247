"""Responses of AWS that a later attempt may not get: throttling and failures of the service."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

THROTTLED = frozenset(
    (
        *("ThrottlingException", "Throttling", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
        *("TooManyRequestsException", "TooManyRequests", "RequestLimitExceeded", "BandwidthLimitExceeded", "SlowDown"),
        *("ProvisionedThroughputExceededException", "OperationAborted", "PriorRequestNotComplete", "429"),
    )
)
_FAILED = frozenset(("RequestTimeout", "RequestTimeoutException", "InternalError", "ServiceUnavailable"))


def is_throttled(error: "ClientError") -> bool:
    """Whether AWS asks for fewer requests."""
    return _code(error) in THROTTLED or _status(error) == 429


def is_temporary(error: "ClientError") -> bool:
    """Whether the same request may succeed later."""
    return is_throttled(error) or _code(error) in _FAILED or _status(error) >= 500


def _code(error: "ClientError") -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: "ClientError") -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
