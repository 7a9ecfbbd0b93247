"""A message whose sender can be answered, and the answer: what a worker makes of what lies in its queue."""

import json
from dataclasses import dataclass
from http import HTTPStatus

from hybrid_batch.data.aws.queue import MOST_BYTES, Incoming, Outgoing
from hybrid_batch.data.errors import BadFrame, StorageFailed
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.message import (
    BUNDLE,
    REPLY_TO,
    is_replies_name,
    read_id,
    read_request,
    write_reply,
)
from hybrid_batch.inference.protocol.spill import Spill, spilled
from hybrid_batch.inference.protocol.transport import Reply, Request


@dataclass(frozen=True, slots=True)
class Letter:
    """`handle` and `receipts` are the message's. `number` is the id that the reply must bear, `reply_to` the name of
    the queue it goes to; `asked` is the request, or the reply that says what is wrong with it."""

    handle: str
    receipts: int
    number: str
    reply_to: str
    asked: Request | Reply

    @classmethod
    def read(cls, message: Incoming, work: str, bundle: Bundle) -> "Letter":
        """The letter in a message of a work queue to a worker with this bundle. Raises BadFrame if it cannot be
        answered: it has no id, or asks for the reply to be sent elsewhere than to a client of this queue."""
        number = read_id(message)
        reply_to = message.attributes.get(REPLY_TO, "")
        if not is_replies_name(work, reply_to):
            raise BadFrame(f"A message asks for its reply at {reply_to[:80]!r}, which is no client's of {work!r}.")
        meant = message.attributes.get(BUNDLE, bundle.sha256)
        try:
            asked = read_request(message) if meant == bundle.sha256 else refuse_bundle(meant, bundle)
        except BadFrame as error:
            asked = refusal(HTTPStatus.BAD_REQUEST, str(error))
        return cls(message.handle, message.receipts, number, reply_to, asked)

    @property
    def is_for_others(self) -> bool:
        """Whether a worker with another bundle must answer."""
        return isinstance(self.asked, Reply) and self.asked.status == HTTPStatus.CONFLICT

    @property
    def is_light(self) -> bool:
        """Whether all of it is here, and not in S3."""
        return isinstance(self.asked, Reply) or not spilled(self.asked)

    def answer(self, reply: Reply, spill: Spill | None) -> Outgoing:
        """The message of the reply; one too large goes through S3, where there is a place for that."""
        message = write_reply(reply, self.number)
        if message.size <= MOST_BYTES or isinstance(self.asked, Reply):
            return message
        if spill is None:
            said = f"The reply of {len(reply.content)} bytes is too large for a queue; send fewer images at once."
            return write_reply(refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said), self.number)
        try:
            return write_reply(spill.stow(reply, self.asked), self.number)
        except (BadFrame, StorageFailed) as error:
            return write_reply(refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)), self.number)


def refuse_bundle(meant: str, bundle: Bundle) -> Reply:
    """The reply that says that the request is for a bundle with another hash."""
    return refusal(
        HTTPStatus.CONFLICT,
        f"The request is for bundle {meant[:12]}, but {bundle.name} here is {bundle.sha256[:12]}; serve the bundle "
        "that the client runs.",
    )


def refusal(status: int, message: str) -> Reply:
    """The reply that says what is wrong."""
    return Reply(status, {"Content-Type": "application/json"}, json.dumps({"error": message}).encode())
