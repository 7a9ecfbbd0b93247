"""Pictures put into S3: each at PREFIX/in/ID is answered by the whole model, and the reply is put at PREFIX/out/ID.

The reply's body is the object; its status and the length of its header are the object's metadata.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeGuard
from urllib.parse import quote, unquote_plus

from hybrid_batch.data.errors import BadFrame, TooLarge
from hybrid_batch.data.storage.s3_storage import S3Storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH, Frame, encode_request
from hybrid_batch.inference.serving import oip as protocol
from hybrid_batch.inference.serving.executor import BUNDLE
from hybrid_batch.inference.serving.request_handler import Endpoint, refusal

IN, OUT = "/in/", "/out/"
STATUS = "status"


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that was put at `key` of `bucket`."""

    bucket: str
    key: str

    @property
    def reply_key(self) -> str:
        """Where the reply to it belongs."""
        prefix, _, name = f"/{self.key}".rpartition(IN)
        return f"{prefix}{OUT}{name}"[1:]


def is_upload(event: object) -> TypeGuard[dict[str, Any]]:
    """Whether an event tells of objects put into S3."""
    records = event.get("Records") if isinstance(event, dict) else None
    return isinstance(records, list) and bool(records) and all(isinstance(r, dict) and "s3" in r for r in records)


def read_uploads(event: Mapping[str, Any]) -> list[Upload]:
    """What an event tells of. Raises BadFrame for objects that do not lie below an `in/`: answers to those could
    call this function again, without end."""
    try:
        found = [
            Upload(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))
            for record in event["Records"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise BadFrame(f"The event tells of no objects in S3 ({error!r}).") from error
    for upload in found:
        if IN not in f"/{upload.key}" or upload.key.endswith("/"):
            raise BadFrame(f"{upload.key!r} does not lie in a folder in/; trigger this function for PREFIX/in/ alone.")
    return found


def answer_uploads(endpoint: Endpoint, uploads: Iterable[Upload]) -> list[str]:
    """Answer each picture, and give the keys of the replies. Raises StorageFailed, or botocore's error."""
    replied = []
    for upload in uploads:
        storage = _bucket(upload.bucket)
        try:
            picture, told = storage.read_described(upload.key, protocol.MAX_REQUEST_BYTES)
            reply = endpoint.answer(_request(endpoint.bundle, picture, told.get(BUNDLE)))
        except FileNotFoundError:  # whoever asked has given up and taken the picture away
            print(f"There is no {upload.key} in {upload.bucket} any more.", file=sys.stderr)  # noqa: T201 - its log
            continue
        except TooLarge as error:
            reply = refusal(protocol.Refused(413, str(error)))
        _put(storage, upload, reply)
        replied.append(upload.reply_key)
    return replied


@cache
def _bucket(name: str) -> S3Storage:
    return S3Storage.open(f"s3://{name}")


def _request(bundle: Bundle, picture: bytes, meant: str | None) -> Request:
    """`meant` is the hash of the bundle that whoever put the picture has, if it was told."""
    parameters = {BUNDLE: meant} if meant else {}
    body = encode_request(Frame(codecs.encode_pictures(bundle.input, [picture]), parameters=parameters))
    return Request("POST", f"/v2/models/{quote(bundle.name, safe='')}/infer", body.headers, body.join())


def _put(storage: S3Storage, upload: Upload, reply: Reply) -> None:
    metadata = {STATUS: str(reply.status)}
    if (length := reply.header(HEADER_LENGTH)) is not None:
        metadata[HEADER_LENGTH.lower()] = length
    storage.client.put_object(
        Bucket=upload.bucket,
        Key=upload.reply_key,
        Body=reply.content,
        ContentType=reply.header("Content-Type") or "application/octet-stream",
        Metadata=metadata,
    )
