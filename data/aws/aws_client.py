"""A client of AWS services that retries safe requests and reports every rejection in one sentence."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hybrid_batch.data.aws.session import aws_session
from hybrid_batch.data.aws.temporary_errors import is_temporary, is_throttled
from hybrid_batch.data.backoff import AWS_ATTEMPTS, AWS_BACKOFF
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, one_line

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_EXPIRED = {"ExpiredToken", "ExpiredTokenException"}
_BAD_CREDENTIALS = {
    *_EXPIRED, "RequestExpired", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
    "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken", "InvalidAccessKeyId", "InvalidToken",
}  # fmt: skip
_DENIED = {"AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "403"}
_PLACES = ("ClusterId", "applicationId", "StackName", "Bucket", "QueueName", "QueueUrl", "FunctionName")


@dataclass(frozen=True, slots=True)
class AwsCall:
    """One request to AWS: service and operation as boto3 names them, and parameters."""

    service: str
    operation: str
    parameters: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        return {"do": f"{self.service}.{self.operation}", "with": self.parameters}


@dataclass(frozen=True, slots=True)
class AwsClient:
    """Clients of AWS services, with region and credentials from the AWS variables and files. `service_names` maps
    boto3's service names to those in messages; `policy_file` lists the required IAM permissions."""

    region: str
    service_names: Mapping[str, str]
    policy_file: str
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
    ) -> "AwsClient":
        """Create the clients without contacting AWS.

        `send_s` limits connecting and sending each, because botocore has one timeout for both; `timeout_s` limits the
        wait for the response. `connections` is the number of concurrent threads. `region` overrides the settings.
        Raises AwsRefused for invalid AWS settings."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        # Retries are decided in this class: botocore would repeat a request that starts a cluster.
        config = Config(
            connect_timeout=send_s,
            read_timeout=timeout_s,
            retries={"total_max_attempts": 1},
            max_pool_connections=connections,
        )
        first = next(iter(names.values()))
        try:
            session = aws_session()
            # boto3's type stubs have one overload per service and none for a variable.
            clients: dict[str, Any] = {name: session.client(name, region, config=config) for name in names}  # type: ignore[call-overload]
        except (BotoCoreError, ValueError) as error:
            raise AwsRefused(
                f"Cannot use {first}: {one_line(error)}; set AWS_REGION, or call `aws configure`."
            ) from error
        return cls(str(next(iter(clients.values())).meta.region_name), names, rights, clients)

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()

    def call(self, service: str, operation: str, **parameters: object) -> dict[str, Any]:
        """Send a request that is safe to repeat, with retries, and return the response. Raises AwsRefused and
        AwsUnreachable."""
        for is_last in AWS_BACKOFF.attempts(AWS_ATTEMPTS):
            try:
                return self.call_once(AwsCall(service, operation, parameters))
            except AwsUnreachable:
                if is_last:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def pages(self, service: str, operation: str, items: str, token: str, **parameters: object) -> Iterator[Any]:
        """Yield the items of a paginated listing; `token` is the name of the pagination parameter."""
        while True:
            answer = self.call(service, operation, **parameters)
            yield from answer.get(items, ())
            if not answer.get(token):
                return
            parameters[token] = answer[token]

    def call_once(self, call: AwsCall) -> dict[str, Any]:
        """Send a request once and return the response. Raises AwsRefused, or AwsUnreachable if AWS may have executed
        it."""
        from botocore import exceptions

        name = self.service_names[call.service]
        try:
            answer: dict[str, Any] = getattr(self._clients[call.service], call.operation)(**call.parameters)
        except exceptions.ClientError as error:
            raise self._refusal(call, error) from error
        except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
            raise AwsUnreachable(
                f"{name} in {self.region} does not respond to {call.operation} ({one_line(error)}); check the network "
                "and the region (AWS_REGION)."
            ) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise AwsRefused(
                "AWS credentials are missing; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
            ) from error
        except exceptions.BotoCoreError as error:
            raise AwsRefused(f"Cannot send {call.operation} to {name}: {one_line(error)}.") from error
        return answer

    def _refusal(self, call: AwsCall, error: "ClientError") -> AwsRefused | AwsUnreachable:
        name, answer = self.service_names[call.service], error.response["Error"]
        code, said = answer.get("Code", ""), answer.get("Message", "").rstrip(".")
        if is_throttled(error):
            return AwsUnreachable(f"{name} rejects {call.operation} with {code} after all retries; try again later.")
        if is_temporary(error):
            return AwsUnreachable(f"{name} fails to execute {call.operation} ({code} {said}); try again later.")
        if code in _BAD_CREDENTIALS:
            expired = f"The AWS credentials have expired ({name} rejects {call.operation} with {code}); renew them."
            refused = f"{name} does not accept the AWS credentials ({code}); renew or correct them."
            return AwsRefused(expired if code in _EXPIRED else refused, code)
        if code in _DENIED:
            return AwsRefused(
                f"{name} denies {call.operation} ({said or code}); {self.policy_file} lists the required permissions.",
                code,
            )
        place = next((call.parameters[key] for key in _PLACES if key in call.parameters), None)
        if code == "ResourceNotFoundException" or (code == "InvalidRequestException" and "is not valid" in said):
            return AwsRefused(
                f"{name} in {self.region} cannot find {place}: {said}; check the name and AWS_REGION.", code
            )
        return AwsRefused(f"{name} rejects {call.operation}: {said or code}.", code)
