"""The one door to EMR and EMR Serverless: asks again where that is safe, and tells every refusal in one sentence."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from data.aws import aws_session
from data.errors import EmrRefused, EmrUnreachable
from emr.plan import Call

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

ATTEMPTS = 5
_PAUSE_S = 0.2
_BUSY = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
_BAD_CREDENTIALS = {
    "ExpiredTokenException", "ExpiredToken", "RequestExpired", "UnrecognizedClientException", "InvalidClientTokenId",
    "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken",
}  # fmt: skip
_DENIED = {"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"}


@dataclass(frozen=True, slots=True)
class Api:
    """EMR in the region and with the credentials that the AWS variables and files name."""

    region: str
    _clients: dict[str, Any] = field(repr=False)

    @classmethod
    def open(cls, timeout_s: float = 30) -> "Api":
        """Clients that wait `timeout_s` for an answer. Nothing is contacted yet. Raises EmrRefused when the AWS
        settings make no client."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        # Whether a request may be sent again is decided here: botocore would repeat one that starts a cluster.
        config = Config(connect_timeout=5, read_timeout=timeout_s, retries={"total_max_attempts": 1})
        try:
            session = aws_session()
            # boto3's types know each service by its own package, and these two have the same door here.
            clients: dict[str, Any] = {name: session.client(name, config=config) for name in ("emr", "emr-serverless")}
        except (BotoCoreError, ValueError) as error:
            raise EmrRefused(f"Cannot use EMR: {_one_line(error)}; set AWS_REGION and the other settings.") from error
        return cls(str(clients["emr"].meta.region_name), clients)

    def ask(self, service: str, operation: str, **parameters: object) -> dict[str, Any]:
        """The answer to a request that may be repeated. Raises EmrRefused, EmrUnreachable."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return self.send(Call(service, operation, parameters))
            except EmrUnreachable:
                pause(attempt)
        return self.send(Call(service, operation, parameters))

    def pages(self, service: str, operation: str, items: str, token: str, **parameters: object) -> Iterator[Any]:
        """The items of a listing that comes in pages, `token` being the name of the parameter for the next."""
        while True:
            answer = self.ask(service, operation, **parameters)
            yield from answer.get(items, ())
            if not answer.get(token):
                return
            parameters[token] = answer[token]

    def send(self, call: Call) -> dict[str, Any]:
        """The answer to a request sent once. Raises EmrRefused, or EmrUnreachable when it may have been acted on."""
        from botocore import exceptions

        try:
            answer: dict[str, Any] = getattr(self._clients[call.service], call.operation)(**call.parameters)
        except exceptions.ClientError as error:
            raise self._refusal(call, error) from error
        except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
            raise EmrUnreachable(
                f"EMR in {self.region} does not answer {call.operation} ({_one_line(error)}); check the network, "
                "and that the region (AWS_REGION) exists."
            ) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise EmrRefused(
                "There are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
            ) from error
        except exceptions.BotoCoreError as error:
            raise EmrRefused(f"EMR cannot be asked for {call.operation}: {_one_line(error)}.") from error
        return answer

    def _refusal(self, call: Call, error: "ClientError") -> EmrRefused | EmrUnreachable:
        answer = error.response["Error"]
        code, said = answer.get("Code", ""), answer.get("Message", "").rstrip(".")
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in _BUSY:
            return EmrUnreachable(f"EMR answers {call.operation} with {code} however often asked; try again later.")
        if status >= 500:
            return EmrUnreachable(f"EMR fails at {call.operation} ({code} {said}); try again later.")
        if code in _BAD_CREDENTIALS:
            return EmrRefused(f"EMR does not accept the AWS credentials ({code}); renew or correct them.")
        if code in _DENIED:
            return EmrRefused(
                f"EMR denies {call.operation} ({said or code}); the rights that are needed are in emr/policy.json."
            )
        place = call.parameters.get("ClusterId", call.parameters.get("applicationId"))
        if code == "ResourceNotFoundException" or (code == "InvalidRequestException" and "is not valid" in said):
            return EmrRefused(f"EMR in {self.region} knows no such thing in {place}: {said}; check it and AWS_REGION.")
        return EmrRefused(f"EMR refuses {call.operation}: {said or code}.")


def pause(attempt: int) -> None:
    """Wait before the next attempt: longer each time, and not all at once."""
    time.sleep(random.uniform(0, _PAUSE_S * 2**attempt))  # noqa: S311 - jitter, not a secret


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
