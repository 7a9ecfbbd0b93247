"""A request received from a work queue, and the message of its reply."""

from dataclasses import dataclass
from http import HTTPStatus

from hybrid_batch.data.aws.queue import MAX_BATCH_BYTES, OutgoingMessage, ReceivedMessage
from hybrid_batch.data.errors import InvalidFrame, StorageFailed
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.message import (
    REPLY_TO,
    is_reply_queue_name,
    parse_id,
    parse_request,
    reply_message,
)
from hybrid_batch.inference.protocol.spill import Spill, is_spilled
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import BUNDLE
from hybrid_batch.inference.serving.executor import bundle_mismatch
from hybrid_batch.inference.serving.replies import HttpError, error_reply


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """A message decoded into a request. `receipt_handle` and `receive_count` are those of the message, `request_id` is
    the id that the reply must carry, and `reply_to` the name of the queue to which the reply is sent. `parsed` is the
    request, or the reply with the error if the message holds no valid request for this worker."""

    receipt_handle: str
    receive_count: int
    request_id: str
    reply_to: str
    parsed: Request | Reply

    @classmethod
    def parse(cls, message: ReceivedMessage, work_queue: str, bundle: Bundle) -> "QueuedRequest":
        """Decode a message of a work queue, received by a worker with this bundle. Raises InvalidFrame if it cannot be
        answered: it has no id, or its `reply_to` is not the reply queue of a client of this work queue."""
        request_id = parse_id(message)
        reply_to = message.attributes.get(REPLY_TO, "")
        if not is_reply_queue_name(work_queue, reply_to):
            raise InvalidFrame(
                f"A message has {reply_to[:80]!r} as {REPLY_TO}, which is not a reply queue of {work_queue!r}."
            )
        sha256 = message.attributes.get(BUNDLE, bundle.sha256)
        try:
            parsed = parse_request(message) if sha256 == bundle.sha256 else error_reply(bundle_mismatch(sha256, bundle))
        except InvalidFrame as error:
            parsed = error_reply(error)
        return cls(message.receipt_handle, message.receive_count, request_id, reply_to, parsed)

    @property
    def needs_other_bundle(self) -> bool:
        """Whether only a worker with another bundle can answer it."""
        return isinstance(self.parsed, Reply) and self.parsed.status == HTTPStatus.CONFLICT

    @property
    def is_inline(self) -> bool:
        """Whether the message holds the body; otherwise S3 does."""
        return isinstance(self.parsed, Reply) or not is_spilled(self.parsed)

    def encode_reply(self, reply: Reply, spill: Spill | None) -> OutgoingMessage:
        """The message of the reply. A body too large for a message is stored in `spill`; without it the message is an
        error instead."""
        message = reply_message(reply, self.request_id)
        if message.size <= MAX_BATCH_BYTES or isinstance(self.parsed, Reply):
            return message
        if spill is None:
            text = f"The reply of {len(reply.content)} bytes is too large for a queue; send fewer images at once."
            too_large = HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
            return reply_message(error_reply(too_large), self.request_id)
        try:
            return reply_message(spill.put_reply(reply, self.parsed), self.request_id)
        except (InvalidFrame, StorageFailed) as error:
            failed = HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return reply_message(error_reply(failed), self.request_id)
