"""A queue of Amazon SQS: messages in and out, several at a time.

Endpoint, region and credentials come from the usual AWS variables and files; nothing else is read."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from hybrid_batch.data.aws.aws_client import Api
from hybrid_batch.data.errors import AwsRefused, AwsUnreachable, QueueGone, WrongUsage

MOST_BYTES = 1 << 20  # of one message with its attributes, and of all that are sent together
MOST_TOGETHER = 10
LONGEST_WAIT_S = 20
LONGEST_NAME = 80
_SEND_S = 20  # for 1 MiB, over a link of 0.4 Mbit/s
_STRING = "String"
_ABSENT = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_AWS_URL = re.compile(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.com")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send."""

    text: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes as SQS counts them: the text, and of every attribute its name, type and value."""
        return _bytes(self.text) + sum(
            _bytes(name) + len(_STRING) + _bytes(value) for name, value in self.attributes.items()
        )


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message received: `handle` is what it is deleted by, `receipts` how often it was received until now."""

    text: str
    attributes: Mapping[str, str]
    handle: str
    receipts: int


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue; threads may use it at once. A message that is received is invisible to others for `visibility_s`.
    Every method raises AwsRefused or AwsUnreachable, and QueueGone when there is no such queue."""

    url: str
    visibility_s: int
    _api: Api = field(repr=False)

    @classmethod
    def open(cls, address: str, api: Api | None = None) -> Self:
        """The queue with this name or URL, through a door that is open already or one of its own. Raises WrongUsage for
        what is neither."""
        is_url = "://" in address
        if not is_url and not _NAME.fullmatch(address):
            raise WrongUsage(f"{address!r} is no name of a queue; that has up to {LONGEST_NAME} of A-Z a-z 0-9 _ -.")
        region = _AWS_URL.match(address)
        api = api or Api.open(
            {"sqs": "SQS"},
            "docs/queue.md",
            timeout_s=LONGEST_WAIT_S + 20,
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
        """The queue with another name, of the same account in the same place; nothing is asked."""
        return replace(self, url=f"{self.url.rpartition('/')[0]}/{name}")

    def siblings(self, prefix: str) -> Iterator[Self]:
        """The queues whose names begin so, of the same account in the same place."""
        for url in self._api.pages(
            "sqs", "list_queues", "QueueUrls", "NextToken", QueueNamePrefix=prefix, MaxResults=100
        ):
            yield replace(self, url=url)

    def create_sibling(self, name: str, retention_s: int, tags: Mapping[str, str]) -> Self:
        """A new queue, whose messages live so long."""
        made = self.sibling(name)
        attributes = {"MessageRetentionPeriod": str(retention_s), "VisibilityTimeout": str(self.visibility_s)}
        answer = made._ask("create_queue", QueueName=name, Attributes=attributes, tags=dict(tags))
        return replace(made, url=answer["QueueUrl"])

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags, or change their values."""
        self._ask("tag_queue", QueueUrl=self.url, Tags=dict(tags))

    def tags(self) -> dict[str, str]:
        return dict(self._ask("list_queue_tags", QueueUrl=self.url).get("Tags", {}))

    def check(self) -> None:
        """Make sure that it still exists."""
        self._attributes("QueueArn")

    def destroy(self) -> None:
        """Delete the queue with all that is in it."""
        self._ask("delete_queue", QueueUrl=self.url)

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages, as many together as may be. Some may have been sent when this raises."""
        while messages:
            count = together(messages)
            entries = [
                {"Id": str(number), "MessageBody": message.text, "MessageAttributes": _typed(message.attributes)}
                for number, message in enumerate(messages[:count])
            ]
            answer = self._ask("send_message_batch", QueueUrl=self.url, Entries=entries)
            for failed in answer.get("Failed", ()):
                kind = AwsRefused if failed.get("SenderFault") else AwsUnreachable
                said = failed.get("Message") or failed.get("Code") or "no reason given"
                raise kind(f"SQS does not take a message for queue {self.name!r}: {said.rstrip('.')}.")
            messages = messages[count:]

    def receive(self, most: int, wait_s: int) -> list[Incoming]:
        """Up to `most` (at most 10) messages, waiting for the first of them."""
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
        """Delete received messages; those whose handle is no longer good are passed over."""
        for entries in _entries(handles):
            self._ask("delete_message_batch", QueueUrl=self.url, Entries=entries)

    def hide(self, handles: Sequence[str], seconds: int) -> None:
        """Keep received messages from others for so long from now on, 0: give them back; those whose handle is no
        longer good are passed over."""
        for entries in _entries(handles):
            changes = [entry | {"VisibilityTimeout": seconds} for entry in entries]
            self._ask("change_message_visibility_batch", QueueUrl=self.url, Entries=changes)

    def _attributes(self, *names: str) -> dict[str, str]:
        answer = self._ask("get_queue_attributes", QueueUrl=self.url, AttributeNames=list(names))
        attributes: dict[str, str] = answer["Attributes"]
        return attributes

    def _ask(self, operation: str, **parameters: object) -> dict[str, Any]:
        try:
            return self._api.ask("sqs", operation, **parameters)
        except AwsRefused as error:
            if error.code not in _ABSENT:
                raise
            raise QueueGone(
                f"There is no queue {self.name!r} in {self._api.region}; check the name, AWS_REGION and the account.",
                error.code,
            ) from error


def together(messages: Sequence[Outgoing]) -> int:
    """How many from the front may be sent in one request: at least one, unless there is none."""
    size = 0
    for count, message in enumerate(messages[:MOST_TOGETHER]):
        size += message.size
        if count and size > MOST_BYTES:
            return count
    return min(len(messages), MOST_TOGETHER)


def _bytes(text: str) -> int:
    """In UTF-8. A megabyte of ASCII is not copied to be counted."""
    return len(text) if text.isascii() else len(text.encode())


def _typed(attributes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"DataType": _STRING, "StringValue": value} for name, value in attributes.items()}


def _entries(handles: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(handles), MOST_TOGETHER):
        some = handles[start : start + MOST_TOGETHER]
        yield [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(some)]


def _incoming(message: Mapping[str, Any]) -> Incoming:
    attributes = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
    receipts = int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1))
    return Incoming(message["Body"], attributes, message["ReceiptHandle"], receipts)
