"""What the cloud takes: a small table that the user may edit."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from hybrid_batch.data.errors import WrongUsage

TABLE = Path(__file__).with_name("prices.toml")


@dataclass(frozen=True, slots=True)
class Prices:
    """In US dollars; memory in GB, transfer and storage by 10^9 bytes."""

    lambda_gb_second: float
    lambda_memory_gb: float
    lambda_million_requests: float
    transfer_in_gb: float
    transfer_out_gb: float
    lambda_arm_gb_second: float
    http_api_million_requests: float
    sqs_million_requests: float
    s3_million_puts: float
    s3_million_gets: float
    s3_gb_month: float
    alarm_month: float
    worker_hour: float
    worker_arm_hour: float

    def cost(self, seconds: float, requests: float, sent_bytes: float, received_bytes: float) -> float:
        """Of so many seconds and requests in the cloud, and bytes sent to it and received from it."""
        return (
            seconds * self.lambda_memory_gb * self.lambda_gb_second
            + requests * self.lambda_million_requests / 1e6
            + sent_bytes * self.transfer_in_gb / 1e9
            + received_bytes * self.transfer_out_gb / 1e9
        )


def read_prices(path: Path = TABLE) -> Prices:
    """The prices in a TOML file. Raises WrongUsage unless it has them all, none below zero, and nothing else."""
    names = [field.name for field in fields(Prices)]
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        prices = {name: float(table[name]) for name in names}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WrongUsage(f"{path} is no table of prices ({_cause(error)}); it must have {', '.join(names)}.") from error
    if set(table) != set(names) or min(prices.values()) < 0:
        raise WrongUsage(f"{path} must have {', '.join(names)}, none below zero, and nothing else.")
    return Prices(**prices)


def _cause(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    return str(getattr(error, "strerror", None) or error)
