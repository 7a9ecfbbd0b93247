"""Decode mutated frames in a process with little memory: `python -m tests.fuzz.mutated_frames SEED COUNT MIB`.

Prints the totals of each reader as JSON. Ends with an error at the first mutation that is answered by another exception
than those that a reader declares, by a message of several lines or without end, by status 500, or by an allocation
beyond MIB on top of what the process holds before the first mutation."""

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
import psutil

from hybrid_batch.data.aws.queue import ReceivedMessage
from hybrid_batch.data.errors import HybridBatchError, InvalidFrame
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.codecs import TENSOR_CODECS, wire_tensors
from hybrid_batch.inference.protocol.infer_response import ServerTimings, response_frame
from hybrid_batch.inference.protocol.message import parse_id, parse_reply, parse_request, reply_message, request_message
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import (
    HEADER_LENGTH,
    Body,
    Frame,
    RequestedOutput,
    encode_request,
    encode_response,
)
from hybrid_batch.inference.serving.oip import describe_model
from hybrid_batch.inference.serving.request_handler import RequestHandler
from hybrid_batch.inference.tails.remote import RemoteTail
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings
from tests.fuzz.frame_mutations import mutate

MAX_MESSAGE_CHARACTERS = 3000
SLOW_S = 20.0  # of processor time for one mutation; a busy machine does not count
CUT = "c010"
Content = tuple[bytes, int | None]
# A reader takes a body and its header length, and returns a word for the outcome.
Reader = Callable[[Random, bytes, int | None], str]


@dataclass(slots=True)
class HostileTail:
    """A transport whose tail sends any reply."""

    reply: Reply = field(default_factory=lambda: Reply(200))
    name: str = "http://hostile"
    hint: str = "check it"

    def max_content_bytes(self, request: Request) -> int | None:
        return None

    def send(self, request: Request, limit: int) -> Reply:
        if len(self.reply.content) > limit:
            raise InvalidFrame("The reply is too long.")
        return self.reply

    def close(self) -> None:
        pass


def refused(act: Callable[[], object]) -> str:
    """The outcome of a call that raises nothing but one-sentence errors of this project."""
    try:
        act()
    except HybridBatchError as error:
        message = str(error)
        assert len(message) < MAX_MESSAGE_CHARACTERS, message[:500]
        assert "\n" not in message, message
        return type(error).__name__
    return "decoded"


class Readers:
    """What reads bodies of strangers, each with valid bodies to mutate."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.cut = bundle, bundle.cut(CUT)
        self.handler = RequestHandler(bundle, open_runtime("openvino", bundle))
        self.transport = HostileTail()
        retries = RetryPolicy(attempts=1, first_pause_s=0.0)
        self.tail = RemoteTail(self.transport, bundle, TailSettings(retries=retries))
        self.frame = self._frame("fp32")

    def _frame(self, codec: str, batch: int = 2) -> Frame:
        values = np.random.default_rng(5)
        boundary = self.cut.boundary
        tensors = [values.normal(size=(batch, *one.shape)).astype(np.float32) for one in boundary]
        return Frame(wire_tensors.encode(codec, boundary, tensors), "id", {"bundle": self.bundle.sha256})

    def requests(self) -> list[Content]:
        bodies = [encode_request(self._frame(codec)) for codec in TENSOR_CODECS]
        values = [round(0.25 * number, 2) for number in range(int(np.prod(self.cut.boundary[0].shape)))]
        tensor = {"name": self.cut.boundary[0].name, "datatype": "FP32", "shape": [1, *self.cut.boundary[0].shape]}
        outputs = [{"name": self.bundle.output.name, "parameters": {"binary_data": False}}]
        text = json.dumps({"id": "j", "inputs": [{**tensor, "data": values}], "outputs": outputs}).encode()
        return [*map(_content, bodies), (text, None)]

    def replies(self) -> list[Content]:
        scores = np.full((2, *self.bundle.output.shape), 0.1, np.float32)
        found = []
        for errors in ((None, None), ("not an image", None)):
            frame = response_frame(self.bundle.output, scores, errors, ServerTimings(1, 2, 3, 4))
            outputs = tuple(RequestedOutput(one.name, binary=True) for one in frame.tensors)
            for binary in (outputs, ()):
                request = Frame((), requested_outputs=binary)
                found.append(_content(encode_response(frame, request, self.bundle.name, CUT)))
        return found

    def messages(self) -> list[Content]:
        body, header_bytes = self.requests()[0]
        request = Request("POST", f"/v2/models/digits/versions/{CUT}/infer", {HEADER_LENGTH: str(header_bytes)}, body)
        reply = Reply(200, {HEADER_LENGTH: "10"}, self.replies()[0][0])
        texts = (request_message(request, "0" * 32, "q-replies-0123456789ab").text, reply_message(reply, "0" * 32).text)
        return [(text.encode(), None) for text in texts]

    def documents(self) -> list[Content]:
        model = describe_model(self.bundle, self.cut, "openvino", 1 << 20)
        errors = [{"error": "overloaded"}, {"message": "Internal server error"}]
        return [(json.dumps(one).encode(), None) for one in (model, *errors)]

    def serve(self, chance: Random, body: bytes, header_bytes: int | None) -> str:
        headers = {} if header_bytes is None else {HEADER_LENGTH: str(header_bytes)}
        reply = self.handler.handle(Request("POST", f"/v2/models/digits/versions/{CUT}/infer", headers, body))
        assert reply.status != 500, reply.content
        assert reply.status == 200 or len(reply.content) < MAX_MESSAGE_CHARACTERS, reply.content[:500]
        return str(reply.status)

    def receive(self, chance: Random, body: bytes, header_bytes: int | None) -> str:
        headers = {} if header_bytes is None else {HEADER_LENGTH: str(header_bytes)}
        status = chance.choice((200,) * 30 + (400, 409, 429, 500, 503))
        if chance.random() < 0.02:
            headers[chance.choice((HEADER_LENGTH, "Retry-After", "x-hybrid-batch-spill"))] = chance.choice(
                ("", "-1", "9" * 30, "\u0661", "s3://other/x", "1e3", "nan")
            )
        self.transport.reply = Reply(status, headers, body, 1000)
        return refused(lambda: self.tail.infer(CUT, self.frame))

    def check(self, chance: Random, body: bytes, header_bytes: int | None) -> str:
        self.transport.reply = Reply(chance.choice((200, 200, 200, 404, 401, 500)), {}, body, 1000)
        return refused(lambda: self.tail.check(CUT))

    def read_message(self, chance: Random, body: bytes, header_bytes: int | None) -> str:
        text = body.decode(errors=chance.choice(("replace", "surrogateescape", "ignore")))
        attributes = {"id": text[:32] if chance.random() < 0.1 else "0" * 32}
        message = ReceivedMessage(text, attributes, "handle", 1)
        parse = chance.choice((parse_request, lambda one: parse_reply(one, 1)))
        return refused(lambda: (parse_id(message), parse(message)))


def _content(body: Body) -> Content:
    return body.join(), body.header_bytes


def main(arguments: Sequence[str]) -> None:
    """Mutate and decode, and print the totals."""
    seed, count, mib = map(int, arguments)
    readers, chance = Readers(resolve_model("digits")), Random(seed)
    table: list[tuple[str, Reader, list[Content]]] = [
        ("requests", readers.serve, readers.requests()),
        ("replies", readers.receive, readers.replies()),
        ("queue messages", readers.read_message, readers.messages()),
        ("documents of a tail", readers.check, readers.documents()),
    ]
    for _, read, contents in table:  # imports, caches and the compilation of the first call
        for content in contents:
            for _ in range(3):
                read(Random(seed), *content)
    held = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (held + (mib << 20),) * 2)
    outcomes: dict[str, Counter[str]] = {name: Counter() for name, _, _ in table}
    slowest_s, began = 0.0, time.process_time()
    for number in range(count):
        name, read, contents = chance.choices(table, (5, 4, 2, 1))[0]
        body, header_bytes = mutate(chance, *chance.choice(contents))
        before = time.thread_time()
        try:
            outcomes[name][read(chance, body, header_bytes)] += 1
        except BaseException:
            print(f"seed {seed}, mutation {number}, {name}: {body[:2000]!r}, {header_bytes}", file=sys.stderr)  # noqa: T201
            raise
        slowest_s = max(slowest_s, time.thread_time() - before)
        assert slowest_s < SLOW_S, f"seed {seed}, mutation {number} took {slowest_s} s"
    totals = {
        "seed": seed,
        "mutations": count,
        "outcomes": {name: dict(found) for name, found in outcomes.items()},
        "slowest_ms": round(1000 * slowest_s, 1),
        "cpu_s": round(time.process_time() - began, 1),
    }
    print(json.dumps(totals))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
