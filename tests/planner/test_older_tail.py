"""Plans and adaptive runs with a tail of an older version, which lacks codecs of this one."""

import json
from dataclasses import replace

import pytest

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.planner.plan.accuracy_constraint import LOSSLESS, constrain
from hybrid_batch.inference.planner.plan.plan import PlanRequest, make_plan
from hybrid_batch.inference.planner.profile.profile_store import open_profile
from hybrid_batch.inference.planner.profile.target import ProfileTarget
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.protocol.wire import HEADER_LENGTH, decode_request
from hybrid_batch.inference.tails.http import HttpTransport
from hybrid_batch.inference.tails.remote import RemoteTail

OLD = ("fp32", "fp16", "int8", "image")

pytestmark = pytest.mark.slow


class OldServer(HttpTransport):
    """The real server, reduced to the codecs `OLD`: it lists no others and refuses their frames."""

    codecs = OLD

    def send(self, request: Request, limit: int) -> Reply:
        if request.path.endswith("/infer"):
            frame = decode_request(request.content, int(request.header(HEADER_LENGTH) or 0))
            used = {tensor.parameters.get("codec") for tensor in frame.tensors} - {None}
            if not used <= set(self.codecs):
                return Reply(400, {}, json.dumps({"error": f"codec {used} is not known"}).encode())
        reply = super().send(request, limit)
        if request.method != "GET" or not request.path.endswith("/digits"):
            return reply
        described = json.loads(reply.content)
        described["parameters"]["codecs"] = ",".join(self.codecs)
        return replace(reply, content=json.dumps(described).encode())


class OlderServer(OldServer):
    """Without entropy coding."""

    codecs = ("fp32", "fp16", "image")


@pytest.fixture(scope="module")
def bundle():
    return resolve_model("digits")


def target_of(bundle, server, transport=OldServer) -> ProfileTarget:
    tail = RemoteTail(transport(server.url), bundle)
    return ProfileTarget(bundle, open_runtime("openvino", bundle), tail, server.url, 8)


@pytest.mark.parametrize("transport", [OldServer, OlderServer])
def test_the_codecs_of_both_ends_are_measured(bundle, digits_server, transport, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    lines: list[str] = []
    profile = open_profile(target_of(bundle, digits_server, transport), lines.append, budget_s=0.5)
    assert [*profile.codecs] == [name for name in transport.codecs if name != "image"]
    assert not profile.tail.decodes_calibrated
    assert "does not decode" in lines[0]
    assert "q4" in lines[0]
    assert make_plan(bundle, profile, PlanRequest()).chosen.codec in ("none", "fp16", "image")
    with pytest.raises(WrongUsage, match="does not decode q4; choose one of fp32, fp16"):
        make_plan(bundle, profile, PlanRequest(codecs=("q4",)))
    request = PlanRequest(earliest_cut="c002")
    never = constrain(bundle, profile, request, [profile.tail.link], lambda cut: pytest.fail(cut.id))
    assert never == replace(request, codecs=LOSSLESS)


def test_an_updated_tail_is_measured_again_and_an_older_one_loses_codecs(bundle, digits_server, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path))
    monkeypatch.setattr("hybrid_batch.inference.planner.profile.profile_store._CHANGED_US", 100_000.0)
    lines: list[str] = []
    old, new = target_of(bundle, digits_server), target_of(bundle, digits_server, HttpTransport)
    open_profile(old, lines.append, budget_s=0.5)
    assert "q4" in open_profile(new, lines.append, budget_s=0.5).codecs
    assert any("lacks new codecs" in line for line in lines)
    measured = len(lines)
    again = open_profile(old, lines.append, budget_s=0.5)
    assert len(lines) == measured + 1
    assert "q4" not in again.codecs
    assert not again.tail.decodes_calibrated
