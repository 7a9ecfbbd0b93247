"""The door to AWS's services: asks again where that is safe, and tells every refusal in one sentence."""

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hybrid_batch.data.aws.session import aws_session
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

ATTEMPTS = 5
_PAUSE_S = 0.2
_BUSY = {
    "ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown",
    "OperationAborted", "RequestThrottled",
}  # fmt: skip
_EXPIRED = {"ExpiredToken", "ExpiredTokenException"}
_BAD_CREDENTIALS = {
    *_EXPIRED, "RequestExpired", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
    "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken", "InvalidAccessKeyId", "InvalidToken",
}  # fmt: skip
_DENIED = {"AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "403"}
_PLACES = ("ClusterId", "applicationId", "StackName", "Bucket", "QueueName", "QueueUrl", "FunctionName")


@dataclass(frozen=True, slots=True)
class Call:
    """One request to AWS: boto3's name of the service and of the operation, and its parameters."""

    service: str
    operation: str
    parameters: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        return {"do": f"{self.service}.{self.operation}", "with": self.parameters}


@dataclass(frozen=True, slots=True)
class Api:
    """Services in the region and with the credentials that the AWS variables and files name. `names` is what
    messages call each service, `rights` the file that lists the rights they need."""

    region: str
    names: Mapping[str, str]
    rights: str
    _clients: dict[str, Any] = field(repr=False)

    @classmethod
    def open(
        cls,
        names: Mapping[str, str],
        rights: str,
        timeout_s: float = 30,
        *,
        region: str | None = None,
        connections: int = 10,
        send_s: float = 5,
    ) -> "Api":
        """Clients that wait `send_s` to connect, and as long until a request is sent, for botocore knows one limit for
        both; then `timeout_s` for an answer; `connections` threads at once, in another region if one is given. Nothing
        is contacted yet. Raises AwsRefused when the AWS settings make no client."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        # Whether a request may be sent again is decided here: botocore would repeat one that starts a cluster.
        config = Config(
            connect_timeout=send_s,
            read_timeout=timeout_s,
            retries={"total_max_attempts": 1},
            max_pool_connections=connections,
        )
        first = next(iter(names.values()))
        try:
            session = aws_session()
            # boto3's types know each service by its own package, and all have the same door here.
            clients: dict[str, Any] = {name: session.client(name, region, config=config) for name in names}  # type: ignore[call-overload]
        except (BotoCoreError, ValueError) as error:
            raise AwsRefused(
                f"Cannot use {first}: {one_line(error)}; set AWS_REGION and the other settings."
            ) from error
        return cls(str(next(iter(clients.values())).meta.region_name), names, rights, clients)

    def close(self) -> None:
        """Let go of connections."""
        for client in self._clients.values():
            client.close()

    def ask(self, service: str, operation: str, **parameters: object) -> dict[str, Any]:
        """The answer to a request that may be repeated. Raises AwsRefused, AwsUnreachable."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return self.send(Call(service, operation, parameters))
            except AwsUnreachable:
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
        """The answer to a request sent once. Raises AwsRefused, or AwsUnreachable when it may have been acted on."""
        from botocore import exceptions

        name = self.names[call.service]
        try:
            answer: dict[str, Any] = getattr(self._clients[call.service], call.operation)(**call.parameters)
        except exceptions.ClientError as error:
            raise self._refusal(call, error) from error
        except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
            raise AwsUnreachable(
                f"{name} in {self.region} does not answer {call.operation} ({one_line(error)}); check the network, "
                "and that the region (AWS_REGION) exists."
            ) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise AwsRefused(
                "There are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
            ) from error
        except exceptions.BotoCoreError as error:
            raise AwsRefused(f"{name} cannot be asked for {call.operation}: {one_line(error)}.") from error
        return answer

    def _refusal(self, call: Call, error: "ClientError") -> AwsRefused | AwsUnreachable:
        name, answer = self.names[call.service], error.response["Error"]
        code, said = answer.get("Code", ""), answer.get("Message", "").rstrip(".")
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in _BUSY:
            return AwsUnreachable(f"{name} answers {call.operation} with {code} however often asked; try again later.")
        if status >= 500:
            return AwsUnreachable(f"{name} fails at {call.operation} ({code} {said}); try again later.")
        if code in _BAD_CREDENTIALS:
            expired = f"The AWS credentials have expired ({name} answers {call.operation} with {code}); renew them."
            refused = f"{name} does not accept the AWS credentials ({code}); renew or correct them."
            return AwsRefused(expired if code in _EXPIRED else refused, code)
        if code in _DENIED:
            return AwsRefused(
                f"{name} denies {call.operation} ({said or code}); the rights that are needed are in {self.rights}.",
                code,
            )
        place = next((call.parameters[key] for key in _PLACES if key in call.parameters), None)
        if code == "ResourceNotFoundException" or (code == "InvalidRequestException" and "is not valid" in said):
            return AwsRefused(
                f"{name} in {self.region} knows no such thing in {place}: {said}; check it and AWS_REGION.", code
            )
        return AwsRefused(f"{name} refuses {call.operation}: {said or code}.", code)


def pause(attempt: int) -> None:
    """Wait before the next attempt: longer each time, and not all at once."""
    time.sleep(random.uniform(0, _PAUSE_S * 2**attempt))  # noqa: S311 - jitter, not a secret


def one_line(error: Exception) -> str:
    """What an error of a library says, to stand inside a sentence."""
    return " ".join(str(error).split()).rstrip(".")
