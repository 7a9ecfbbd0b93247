"""The table of the kinds of tails: each entry opens, and a new kind needs nothing but an entry."""

from typing import Self

import pytest

from hybrid_batch.cli import main
from hybrid_batch.data.errors import HybridBatchError, WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime
from hybrid_batch.inference.protocol.infer_response import InferResponse, ServerTimings
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.serving.executor import TailExecutor
from hybrid_batch.inference.tails import LOCAL, TAIL_KINDS, TailKind, check_address, open_tail, tail_kind
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import ROOT
from tests.run_logs import read_records

pytestmark = pytest.mark.slow

IMAGES = ROOT / "data" / "digits" / "images" / "0"
ADDRESSES = {
    LOCAL: LOCAL,
    "http": "http://127.0.0.1:1",
    "https": "https://127.0.0.1:1",
    "lambda": "lambda:function",
    "sqs": "sqs:queue",
    "s3-trigger": "s3-trigger:s3://bucket/prefix",
}


class ToyTail:
    """A tail of a new kind, which counts its frames."""

    max_frame_bytes = None
    codecs = ("fp32", "fp16")

    def __init__(self, address: str, bundle: Bundle, runtime: Runtime, settings: TailSettings) -> None:
        self.address, self.settings, self.frames, self.closed = address, settings, 0, False
        self._executor = TailExecutor(bundle, runtime)

    def check(self, cut_id: str) -> None:
        self._executor.bundle.cut(cut_id)

    def infer(self, cut_id: str, frame: Frame) -> InferResponse:
        self.frames += 1
        cut = self._executor.bundle.cut(cut_id)
        batch = self._executor.decode(cut, frame)
        scores = batch.scatter(self._executor.run(cut, batch.tensors))
        return InferResponse(scores, batch.errors, ServerTimings(), 1, 1, 1)

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def predictions(log: str) -> list[tuple[str, str, float]]:
    return [(one["image"], one["prediction"], one["confidence"]) for one in read_records(log)]


def test_a_run_uses_a_new_kind_that_is_one_entry_in_the_table(monkeypatch, tmp_path):
    opened: list[ToyTail] = []

    def open_toy_tail(address: str, bundle: Bundle, runtime: Runtime, settings: TailSettings) -> ToyTail:
        opened.append(ToyTail(address, bundle, runtime, settings))
        return opened[-1]

    monkeypatch.setitem(TAIL_KINDS, "toy", TailKind(open_toy_tail, default_in_flight=3))
    for address in ("toy:box", LOCAL):
        log = str(tmp_path / address.partition(":")[0])
        assert main(["run", str(IMAGES), "--split", "c004", "--tail", address, "--log", log]) == 0
    (tail,) = opened
    assert (tail.address, tail.settings.in_flight, tail.closed) == ("toy:box", 3, True)
    assert tail.frames > 0
    assert {one["tail"] for one in read_records(str(tmp_path / "toy"))} == {"toy:box"}
    assert predictions(str(tmp_path / "toy")) == predictions(str(tmp_path / "local"))


def test_a_new_kind_that_accepts_only_images_is_wrong_usage_with_tensors(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(TAIL_KINDS, "toy", TailKind(ToyTail, accepts_only_images=True))
    assert main(["run", str(IMAGES), "--split", "c004", "--tail", "toy:box", "--log", str(tmp_path)]) == 2
    assert "--split remote" in capsys.readouterr().err


def test_the_error_of_an_unknown_kind_lists_all_kinds(monkeypatch):
    monkeypatch.setitem(TAIL_KINDS, "toy", TailKind(ToyTail))
    with pytest.raises(WrongUsage, match=r"No tail at 'toys:box'; give local, .*sqs:…, s3-trigger:…, toy:…"):
        check_address("toys:box")


@pytest.mark.parametrize("address", ["", "http", "local:", "local:x", "Local", "host:8000"])
def test_an_address_needs_a_colon_unless_it_is_local(address):
    with pytest.raises(WrongUsage):
        tail_kind(address)


@pytest.mark.parametrize("kind", TAIL_KINDS)
def test_every_kind_opens(aws, bundle, runtime, kind):
    with open_tail(ADDRESSES[kind], bundle, runtime) as tail:
        assert tail.max_frame_bytes is None or tail.max_frame_bytes > 0
        with pytest.raises(HybridBatchError):
            tail.check("no-such-cut")
