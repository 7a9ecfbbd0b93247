"""An Amazon SQS queue with batched requests.

Endpoint, region and credentials come from the standard AWS variables and files only."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from hybrid_batch.data.aws.aws_client import AwsClient
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, QueueNotFound, WrongUsage

MAX_BATCH_BYTES = 1 << 20  # one message with its attributes, and all messages of one request
MAX_BATCH_ENTRIES = 10
MAX_WAIT_S = 20
MAX_NAME_LENGTH = 80
_SEND_S = 20  # for 1 MiB, over a link of 0.4 Mbit/s
_STRING = "String"
_ABSENT = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_AWS_URL = re.compile(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.com")


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to send."""

    text: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The size in bytes as SQS counts it: the text, and each attribute's name, type and value."""
        return _bytes(self.text) + sum(
            _bytes(name) + len(_STRING) + _bytes(value) for name, value in self.attributes.items()
        )


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A received message; `receive_count` includes this receipt."""

    text: str
    attributes: Mapping[str, str]
    receipt_handle: str
    receive_count: int


@dataclass(frozen=True, slots=True)
class SqsQueue:
    """A queue. Methods are thread-safe. A received message is invisible to other receivers for `visibility_s`.
    Every method raises AwsRefused, AwsUnreachable and QueueNotFound."""

    url: str
    visibility_s: int
    _api: AwsClient = field(repr=False)

    @classmethod
    def open(cls, address: str, api: AwsClient | None = None) -> Self:
        """Open the queue with this name or URL, with the given client or a new one. Raises WrongUsage for an invalid
        address."""
        is_url = "://" in address
        if not is_url and not _NAME.fullmatch(address):
            raise WrongUsage(f"{address!r} is not a queue name; use 1 to {MAX_NAME_LENGTH} of A-Z a-z 0-9 _ -.")
        region = _AWS_URL.match(address)
        api = api or AwsClient.open(
            {"sqs": "SQS"},
            "docs/queue.md",
            timeout_s=MAX_WAIT_S + 20,
            region=region.group(1) if region else None,
            send_s=_SEND_S,
        )
        queue = cls(address, 0, api)
        if not is_url:
            queue = replace(queue, url=queue._ask("get_queue_url", QueueName=address)["QueueUrl"])
        return replace(queue, visibility_s=int(queue._attributes("VisibilityTimeout")["VisibilityTimeout"]))

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    def sibling(self, name: str) -> Self:
        """Return the queue with another name in the same account and region, without contacting SQS."""
        return replace(self, url=f"{self.url.rpartition('/')[0]}/{name}")

    def siblings(self, prefix: str) -> Iterator[Self]:
        """Yield the queues of the same account and region whose names start with `prefix`."""
        for url in self._api.pages(
            "sqs", "list_queues", "QueueUrls", "NextToken", QueueNamePrefix=prefix, MaxResults=100
        ):
            yield replace(self, url=url)

    def create_sibling(self, name: str, retention_s: int, tags: Mapping[str, str]) -> Self:
        """Create a queue whose messages are retained for `retention_s` seconds."""
        made = self.sibling(name)
        attributes = {"MessageRetentionPeriod": str(retention_s), "VisibilityTimeout": str(self.visibility_s)}
        answer = made._ask("create_queue", QueueName=name, Attributes=attributes, tags=dict(tags))
        return replace(made, url=answer["QueueUrl"])

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags or change their values."""
        self._ask("tag_queue", QueueUrl=self.url, Tags=dict(tags))

    def tags(self) -> dict[str, str]:
        return dict(self._ask("list_queue_tags", QueueUrl=self.url).get("Tags", {}))

    def check(self) -> None:
        """Raise QueueNotFound unless the queue exists."""
        self._attributes("QueueArn")

    def delete_queue(self) -> None:
        """Delete the queue and its messages."""
        self._ask("delete_queue", QueueUrl=self.url)

    def send(self, messages: Sequence[OutgoingMessage]) -> None:
        """Send messages in as few requests as possible. Some may have been sent when this raises."""
        while messages:
            count = batch_length(messages)
            entries = [
                {"Id": str(number), "MessageBody": message.text, "MessageAttributes": _typed(message.attributes)}
                for number, message in enumerate(messages[:count])
            ]
            answer = self._ask("send_message_batch", QueueUrl=self.url, Entries=entries)
            for failed in answer.get("Failed", ()):
                kind = AwsRefused if failed.get("SenderFault") else AwsUnreachable
                said = failed.get("Message") or failed.get("Code") or "no reason given"
                raise kind(f"SQS rejects a message for queue {self.name!r}: {said.rstrip('.')}.")
            messages = messages[count:]

    def receive(self, most: int, wait_s: int) -> list[ReceivedMessage]:
        """Receive up to `most` (at most 10) messages; wait up to `wait_s` seconds for the first."""
        answer = self._ask(
            "receive_message",
            QueueUrl=self.url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait_s,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [_incoming(message) for message in answer.get("Messages", ())]

    def delete(self, handles: Sequence[str]) -> None:
        """Delete received messages; invalid receipt handles are ignored."""
        for entries in _entries(handles):
            self._ask("delete_message_batch", QueueUrl=self.url, Entries=entries)

    def change_visibility(self, handles: Sequence[str], seconds: int) -> None:
        """Hide received messages from other receivers for `seconds` from now; 0 returns them to the queue. Invalid
        receipt handles are ignored."""
        for entries in _entries(handles):
            changes = [entry | {"VisibilityTimeout": seconds} for entry in entries]
            self._ask("change_message_visibility_batch", QueueUrl=self.url, Entries=changes)

    def _attributes(self, *names: str) -> dict[str, str]:
        answer = self._ask("get_queue_attributes", QueueUrl=self.url, AttributeNames=list(names))
        attributes: dict[str, str] = answer["Attributes"]
        return attributes

    def _ask(self, operation: str, **parameters: object) -> dict[str, Any]:
        try:
            return self._api.call("sqs", operation, **parameters)
        except AwsRefused as error:
            if error.code not in _ABSENT:
                raise
            raise QueueNotFound(
                f"Queue {self.name!r} does not exist in {self._api.region}; "
                "check its name, AWS_REGION and the account.",
                error.code,
            ) from error


def batch_length(messages: Sequence[OutgoingMessage]) -> int:
    """Return how many of the first messages fit into one request; at least one if there are any."""
    size = 0
    for count, message in enumerate(messages[:MAX_BATCH_ENTRIES]):
        size += message.size
        if count and size > MAX_BATCH_BYTES:
            return count
    return min(len(messages), MAX_BATCH_ENTRIES)


def _bytes(text: str) -> int:
    """Return the size in UTF-8. ASCII, up to a megabyte, is not copied to count it."""
    return len(text) if text.isascii() else len(text.encode())


def _typed(attributes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"DataType": _STRING, "StringValue": value} for name, value in attributes.items()}


def _entries(handles: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(handles), MAX_BATCH_ENTRIES):
        some = handles[start : start + MAX_BATCH_ENTRIES]
        yield [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(some)]


def _incoming(message: Mapping[str, Any]) -> ReceivedMessage:
    attributes = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
    receipts = int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1))
    return ReceivedMessage(message["Body"], attributes, message["ReceiptHandle"], receipts)
