"""S3 events: the whole model classifies each image uploaded to PREFIX/in/ID, and the reply is stored at PREFIX/out/ID.

The object is the reply's body; the metadata of the object hold the reply's status and the length of its header.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeGuard
from urllib.parse import quote, unquote_plus

from hybrid_batch.data.errors import InvalidFrame, TooLarge
from hybrid_batch.data.storage.s3_storage import S3Storage
from hybrid_batch.data.terminal.escapes import write_line
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import BUNDLE, HEADER_LENGTH, Frame, encode_request
from hybrid_batch.inference.serving.oip import MAX_REQUEST_BYTES
from hybrid_batch.inference.serving.replies import HttpError, error_reply
from hybrid_batch.inference.serving.request_handler import RequestHandler

IN, OUT = "/in/", "/out/"
STATUS = "status"


@dataclass(frozen=True, slots=True)
class UploadedImage:
    """An image at `key` in `bucket`."""

    bucket: str
    key: str

    @property
    def reply_key(self) -> str:
        """The key of the reply."""
        prefix, _, name = f"/{self.key}".rpartition(IN)
        return f"{prefix}{OUT}{name}"[1:]


def is_s3_event(event: object) -> TypeGuard[dict[str, Any]]:
    """Whether an event is a notification of S3."""
    records = event.get("Records") if isinstance(event, dict) else None
    return isinstance(records, list) and bool(records) and all(isinstance(r, dict) and "s3" in r for r in records)


def decode_s3_event(event: Mapping[str, Any]) -> list[UploadedImage]:
    """The images in an event. Raises InvalidFrame for objects outside a folder `in/`: their replies could trigger this
    function again, without end."""
    try:
        found = [
            UploadedImage(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))
            for record in event["Records"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidFrame(f"The event names no objects in S3 ({error!r}).") from error
    for image in found:
        if IN not in f"/{image.key}" or image.key.endswith("/"):
            raise InvalidFrame(f"{image.key!r} is not in a folder in/; trigger this function for PREFIX/in/ only.")
    return found


def answer_images(handler: RequestHandler, images: Iterable[UploadedImage]) -> list[str]:
    """Classify images and store the replies; returns their keys. Raises StorageFailed, or botocore's error."""
    replied = []
    for image in images:
        storage = _bucket(image.bucket)
        try:
            file, metadata = storage.read_with_metadata(image.key, MAX_REQUEST_BYTES)
            reply = handler.handle(_request(handler.bundle, file, metadata.get(BUNDLE)))
        except FileNotFoundError:  # the client gave up and deleted the image
            write_line(sys.stderr, f"{image.key} is no longer in {image.bucket}.")
            continue
        except TooLarge as error:
            reply = error_reply(HttpError(413, str(error)))
        _store(storage, image, reply)
        replied.append(image.reply_key)
    return replied


@cache
def _bucket(name: str) -> S3Storage:
    return S3Storage.open(f"s3://{name}")


def _request(bundle: Bundle, file: bytes, expected_sha256: str | None) -> Request:
    """A request with one image file; `expected_sha256` is the hash of the client's bundle, if it sent one."""
    parameters = {BUNDLE: expected_sha256} if expected_sha256 else {}
    body = encode_request(Frame(wire_tensors.encode_images(bundle.input, [file]), parameters=parameters))
    return Request("POST", f"/v2/models/{quote(bundle.name, safe='')}/infer", body.headers, body.join())


def _store(storage: S3Storage, image: UploadedImage, reply: Reply) -> None:
    metadata = {STATUS: str(reply.status)}
    if (length := reply.header(HEADER_LENGTH)) is not None:
        metadata[HEADER_LENGTH.lower()] = length
    storage.client.put_object(
        Bucket=image.bucket,
        Key=image.reply_key,
        Body=reply.content,
        ContentType=reply.header("Content-Type") or "application/octet-stream",
        Metadata=metadata,
    )
