"""Prices of the cloud, from a small table that users may replace by their own."""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.storage.text_file import read_text_file

DEFAULT_PRICES = Path(__file__).with_name("prices.toml")
Usd = Annotated[float, msgspec.Meta(ge=0)]


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices in US dollars; memory is in GB, transfer and storage in units of 10^9 bytes."""

    lambda_gb_second: Usd
    lambda_memory_gb: Annotated[float, msgspec.Meta(ge=0)]
    lambda_million_requests: Usd
    transfer_in_gb: Usd
    transfer_out_gb: Usd
    lambda_arm_gb_second: Usd
    http_api_million_requests: Usd
    sqs_million_requests: Usd
    s3_million_puts: Usd
    s3_million_gets: Usd
    s3_gb_month: Usd
    alarm_month: Usd
    logs_gb: Usd
    worker_hour: Usd
    worker_arm_hour: Usd

    def cost(self, seconds: float, requests: float, sent_bytes: float, received_bytes: float) -> float:
        """US dollars for Lambda's compute time and requests, and for bytes sent to and received from the cloud."""
        return (
            seconds * self.lambda_memory_gb * self.lambda_gb_second
            + requests * self.lambda_million_requests / 1e6
            + sent_bytes * self.transfer_in_gb / 1e9
            + received_bytes * self.transfer_out_gb / 1e9
        )


def read_prices(path: Path = DEFAULT_PRICES) -> Prices:
    """Read a TOML file. Raises WrongUsage unless it has all prices, none below zero, and nothing else."""
    try:
        return msgspec.convert(tomllib.loads(read_text_file(path, "prices")), Prices)
    except ValueError as error:
        names = ", ".join(Prices.__struct_fields__)
        raise WrongUsage(f"{path} is not a price table ({error}); define {names}, none below zero.") from error
