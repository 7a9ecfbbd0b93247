"""The measured rate and round trip of known links, for models with small and with large replies."""

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import numpy as np
import pytest

from bench.link import Conditions, open_link
from hybrid_batch.cli import main
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.planner.profile.remote_profiler import measure_link
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.infer_response import decode_timings
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH, Frame, decode_response, parse_header_length
from hybrid_batch.inference.serving.request_handler import RequestHandler
from hybrid_batch.inference.tails.http import open_http_tail
from hybrid_batch.inference.tails.remote import RemoteTail

LONGEST_US = 10**9


@dataclass
class KnownLink:
    """The real request handler behind a link with given times, which do not depend on this machine."""

    handler: RequestHandler
    conditions: Conditions
    name, hint = "the known link", "use another"

    def max_content_bytes(self, request: Request) -> None:
        pass

    def send(self, request: Request, limit: int) -> Reply:
        reply = self.handler.handle(request)
        frame = decode_response(reply.content, parse_header_length(reply.header(HEADER_LENGTH)))
        server_us = decode_timings(frame.parameters, LONGEST_US).server_us
        up, down = self.conditions.rate_mbit, self.conditions.down_mbit or self.conditions.rate_mbit
        link_us = 1000 * self.conditions.rtt_ms + 8 * len(request.content) / up + 8 * len(reply.content) / down
        return replace(reply, round_trip_us=server_us + round(link_us))

    def close(self) -> None:
        pass


def check(bundle: Bundle, conditions: Conditions) -> None:
    with RemoteTail(KnownLink(RequestHandler(bundle, open_runtime("openvino", bundle)), conditions), bundle) as tail:
        found = measure_link(bundle, tail)
    assert found.rate_bps == pytest.approx(conditions.rate_mbit * 1e6, rel=0.15)
    assert 0.9 * conditions.rtt_ms < found.round_trip_us / 1000 < conditions.rtt_ms + 20


@pytest.mark.parametrize("conditions", [Conditions(1.1, 50), Conditions(5.85, 5), Conditions(18.88, 20, down_mbit=100)])
def test_the_link_of_the_sample_model(conditions):
    check(resolve_model("digits"), conditions)


@pytest.mark.parametrize("conditions", [Conditions(5.85, 5), Conditions(5.85, 5, down_mbit=20)])
def test_the_link_of_a_model_with_large_replies(conditions, shared_data, tmp_path):
    bundle = str(tmp_path / "imagenet.bundle")
    model = str(shared_data / "models" / "imagenet_mobilenet_v1_025_224.keras")
    assert main(["import", model, "-o", bundle, "--scale=-1-1"]) == 0
    check(resolve_model(bundle), conditions)


def test_the_link_time_of_a_frame_is_at_least_that_of_the_real_link(digits_server):
    """The load of this machine only adds to it."""
    bundle, address = resolve_model("digits"), urlsplit(digits_server.url)
    frame = Frame(
        wire_tensors.encode(
            "fp32", bundle.cut("c004").boundary, [np.ones((64, *bundle.cut("c004").boundary[0].shape), "<f4")]
        )
    )
    with (
        open_link(address.hostname, address.port, (0, Conditions(5.85, 50))) as link,
        open_http_tail(link.url, bundle) as tail,
    ):
        tail.check("c004")
        answer = tail.infer("c004", frame)
    assert answer.link_us >= 50_000 + answer.sent_bytes * 8 / 5.85
