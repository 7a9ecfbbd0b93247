"""Compiled cuts: their memory has a limit, those in use stay, and a client that goes through all delays no other."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from hybrid_batch.data.errors import TailRefused
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import Segment, compile_tail
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.wire import Frame, encode_request
from hybrid_batch.inference.serving.executor import TailExecutor
from hybrid_batch.inference.serving.http.compile_queue import CompileQueue
from hybrid_batch.inference.serving.replies import Overloaded
from hybrid_batch.inference.serving.segment_cache import SegmentCache
from hybrid_batch.inference.tails.http import open_http_tail
from tests.conftest import HANG_S
from tests.remote.conftest import Server

pytestmark = pytest.mark.slow

CUT_BYTES = 8 << 20  # of each cut of the built-in model, nearly: it has few weights
LIMIT = int(2.5 * CUT_BYTES)


@pytest.fixture
def segments(runtime, bundle):
    """Compiled tails of the built-in model in the memory of two."""
    return SegmentCache(lambda cut: compile_tail(runtime, bundle, cut), CUT_BYTES, LIMIT)


def compiled(segments: SegmentCache, bundle) -> set[str]:
    return {cut.id for cut in bundle.cuts if segments.find(cut, computes=False)}


def body_of(bundle, pixels, cut_id, heads):
    cut = bundle.cut(cut_id)
    tensors = [pixels[:2]] if cut_id == "c000" else heads(cut_id)([pixels[:2]])
    return encode_request(Frame(wire_tensors.encode("fp32", cut.boundary, tensors)))


def test_all_cuts_fit_into_the_limit_one_after_the_other(segments, bundle):
    for cut in bundle.cuts[:6]:
        segments.get(cut).release()
        assert segments.state.held_bytes <= LIMIT
    assert segments.state.cuts == 2
    assert segments.state.evictions == 4


def test_a_cut_that_computes_outlives_checks_of_all_others(segments, bundle):
    used = bundle.cuts[3]
    for cut in bundle.cuts[:6]:
        segments.get(used).release()
        segments.get(cut, computes=False).release()
        assert segments.find(used, computes=False) is not None


def test_a_segment_in_use_is_not_evicted_and_leaves_no_room_for_others(segments, bundle):
    first, second, third = bundle.cuts[:3]
    with segments.get(first) as one, segments.get(second):
        with pytest.raises(Overloaded, match="--max-compiled-mb"):
            segments.get(third)
        assert compiled(segments, bundle) == {first.id, second.id}
        (scores,) = one.segment([np.zeros((1, *first.boundary[0].shape), np.float32)])
        assert scores.shape == (1, 10)


def test_a_cut_above_the_limit_is_served_alone(runtime, bundle):
    executor = TailExecutor(bundle, runtime, max_compiled_bytes=1)
    for cut in bundle.cuts[:3]:
        tensors = [np.zeros((3, *tensor.shape), np.float32) for tensor in cut.boundary]
        assert executor.run(cut, tensors).shape == (3, 10)  # one image in a call
    assert executor.segments.state.cuts == 1


def test_a_call_in_parts_gives_the_same_bits(runtime, bundle, pixels):
    whole = TailExecutor(bundle, runtime).run(bundle.input_cut, [pixels])
    parts = TailExecutor(bundle, runtime, max_compiled_bytes=1).run(bundle.input_cut, [pixels])
    np.testing.assert_array_equal(whole, parts)


def test_threads_that_use_and_evict_get_right_scores(runtime, bundle, pixels, heads):
    executor = TailExecutor(bundle, runtime, LIMIT)
    cuts = [cut for cut in bundle.cuts[1:6] if len(cut.boundary) == 1]
    expected = TailExecutor(bundle, runtime).run(bundle.input_cut, [pixels])
    sent = {cut.id: heads(cut.id)([pixels]) for cut in cuts}

    def work(seed: int) -> None:
        for step in range(4):
            cut = cuts[(seed + step) % len(cuts)]
            try:
                scores = executor.run(cut, sent[cut.id])
            except Overloaded:  # others are in use: a client would send the request again
                continue
            np.testing.assert_allclose(scores, expected, atol=1e-5)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert executor.segments.state.held_bytes <= LIMIT + executor.segments.state.cuts * 1000


class SlowCompiler:
    """Compiles when the test allows it, and counts what it was given."""

    def __init__(self, runtime, bundle):
        self.may_compile = threading.Event()
        self.cuts: list[str] = []
        self._runtime, self._bundle = runtime, bundle

    def __call__(self, cut: Cut) -> Segment:
        self.cuts.append(cut.id)
        assert self.may_compile.wait(HANG_S)
        return compile_tail(self._runtime, self._bundle, cut)


@pytest.fixture
def compiler(runtime, bundle):
    return SlowCompiler(runtime, bundle)


def test_the_queue_of_the_compiler_is_bounded_and_compiled_cuts_do_not_wait(compiler, bundle):
    segments = SegmentCache(compiler, CUT_BYTES, 100 * CUT_BYTES)
    queue = CompileQueue(segments)

    async def flood() -> None:
        compiler.may_compile.set()
        (await queue.lease(bundle.cuts[0])).release()
        compiler.may_compile.clear()
        checks = [asyncio.ensure_future(queue.lease(cut, is_check=True)) for cut in bundle.cuts[1:]]
        await asyncio.sleep(0)
        refused = [check for check in checks if check.done()]
        assert len(refused) == len(checks) - 2  # one in the compiler, one waits
        assert all(isinstance(check.exception(), Overloaded) for check in refused)
        assert "--cuts" in str(refused[0].exception())
        (await queue.lease(bundle.cuts[0])).release()  # at once, while the compiler is busy
        urgent = [asyncio.ensure_future(queue.lease(bundle.cuts[-1])) for _ in range(50)]  # one place for all
        await asyncio.sleep(0)
        assert not any(one.done() for one in urgent)
        with pytest.raises(Overloaded):
            await queue.lease(bundle.cuts[-2])
        compiler.may_compile.set()
        for lease in await asyncio.gather(*(check for check in checks if check not in refused), *urgent):
            lease.release()

    asyncio.run(flood())
    queue.close()
    assert len(compiler.cuts) == 4


def test_a_client_that_leaves_keeps_no_cut_in_use(compiler, bundle):
    segments = SegmentCache(compiler, CUT_BYTES, CUT_BYTES + 1000)
    queue = CompileQueue(segments)

    async def leave() -> None:
        gone = asyncio.ensure_future(queue.lease(bundle.cuts[0]))
        await asyncio.sleep(0)
        gone.cancel()
        compiler.may_compile.set()
        (await queue.lease(bundle.cuts[1])).release()  # evicts the first, which nobody uses

    asyncio.run(leave())
    queue.close()
    assert segments.find(bundle.cuts[0]) is None
    assert segments.state.cuts == 1


@pytest.mark.parametrize("fails", [False, True])
def test_the_first_call_of_a_cut_is_part_of_its_compilation(runtime, bundle, fails):
    executor, computed = TailExecutor(bundle, runtime, LIMIT), []
    executor.segments.get(bundle.cuts[3]).release()

    def warm_up(cut: Cut) -> None:
        computed.append((cut.id, threading.current_thread().name))
        executor.warm_up(cut)
        if fails:
            raise MemoryError

    queue = CompileQueue(executor.segments, warm_up)

    async def lease() -> None:
        if fails:
            with pytest.raises(MemoryError):
                await queue.lease(bundle.cuts[2], is_check=True)
        for _ in range(2):
            (await queue.lease(bundle.cuts[2], is_check=True)).release()
        executor.segments.get(bundle.cuts[0]).release()  # evicts the second, which nobody used

    asyncio.run(lease())
    queue.close()
    assert computed == [(bundle.cuts[2].id, "compile_0")]
    assert compiled(executor.segments, bundle) == {bundle.cuts[3].id, bundle.cuts[0].id}


def test_a_compilation_that_fails_blocks_nothing(runtime, bundle):
    failing = [True]

    def compile_cut(cut: Cut) -> Segment:
        if failing.pop():
            raise MemoryError
        return compile_tail(runtime, bundle, cut)

    queue = CompileQueue(SegmentCache(compile_cut, CUT_BYTES, LIMIT))

    async def twice() -> None:
        with pytest.raises(MemoryError):
            await queue.lease(bundle.cuts[0])
        failing.append(False)
        (await queue.lease(bundle.cuts[0])).release()

    asyncio.run(twice())
    queue.close()


@pytest.fixture(scope="module")
def small_server():
    """A server in whose memory two cuts fit."""
    server = Server("digits", "--max-compiled-mb", str(LIMIT >> 20))
    yield server
    assert server.stop()[0] == 0


def metric(server, name: str) -> float:
    lines = httpx.get(f"{server.url}/metrics", trust_env=False, timeout=HANG_S).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_a_client_is_answered_while_another_goes_through_all_cuts(small_server, bundle, digits, pixels, heads):
    """As long as it may: at most 2 s for each answer. The limit of this test is generous."""
    over = threading.Event()
    statuses: set[int] = set()

    def cycle() -> None:
        with httpx.Client(base_url=small_server.url, trust_env=False, timeout=HANG_S) as client:
            while not over.is_set():
                for cut in bundle.cuts:
                    statuses.add(client.get(f"/v2/models/digits/versions/{cut.id}/ready").status_code)

    body = body_of(bundle, pixels, "c004", heads)
    slowest = 0.0
    with ThreadPoolExecutor(3) as pool:
        attackers = [pool.submit(cycle) for _ in range(3)]
        try:
            with httpx.Client(base_url=small_server.url, trust_env=False, timeout=HANG_S) as client:
                for _ in range(20):
                    start = time.monotonic()
                    reply = client.post(
                        "/v2/models/digits/versions/c004/infer", content=body.join(), headers=body.headers
                    )
                    while reply.status_code == 429:
                        time.sleep(0.05)
                        reply = client.post(
                            "/v2/models/digits/versions/c004/infer", content=body.join(), headers=body.headers
                        )
                    assert reply.status_code == 200, reply.text
                    slowest = max(slowest, time.monotonic() - start)
        finally:
            over.set()
        for attacker in attackers:
            attacker.result(HANG_S)
    print(f"slowest answer: {slowest:.2f} s")  # noqa: T201
    assert slowest < 10
    assert statuses <= {200, 429}
    assert metric(small_server, "hybrid_batch_evictions_total") > 0
    assert metric(small_server, "hybrid_batch_compiled_bytes") <= LIMIT + 2 * CUT_BYTES


def test_only_the_chosen_cuts_are_served(serve, bundle):
    server = serve("--cuts", "c004, c000")
    with httpx.Client(base_url=server.url, trust_env=False, timeout=HANG_S) as client:
        assert client.get("/v2/models/digits").json()["versions"] == ["c004", "c000"]
        assert metric(server, "hybrid_batch_compiled_cuts") == 2
        name = bundle.cut("c004").name
        assert client.get(f"/v2/models/digits/versions/{name.replace('/', '%2F')}/ready").status_code == 200
        # The same cut by another form of its name, an escape, a case, a space; and cuts that are not served.
        other = bundle.cut("c005")
        for version in ("c005", other.name.replace("/", "%2F"), "%6300%35", "C004", "c004%20", "c004%00", "0", "-1"):
            reply = client.get(f"/v2/models/digits/versions/{version}/ready")
            assert reply.status_code == 404, version
            assert "--cuts" in reply.json()["error"]
            assert client.post(f"/v2/models/digits/versions/{version}/infer", content=b"{}").status_code == 404
        assert metric(server, "hybrid_batch_compiled_cuts") == 2


def test_a_server_without_the_whole_model_serves_a_run_and_refuses_images(serve, bundle, local, heads, pixels):
    server = serve("--cuts", "c004")
    with httpx.Client(base_url=server.url, trust_env=False, timeout=HANG_S) as client:
        assert client.get("/v2/models/digits").json()["versions"] == ["c004"]
        for reply in (client.get("/v2/models/digits/ready"), client.post("/v2/models/digits/infer", content=b"{}")):
            assert reply.status_code == 404
            assert "this server has c004, chosen by --cuts" in reply.json()["error"]
    frame = Frame(wire_tensors.encode("fp32", bundle.cut("c004").boundary, heads("c004")([pixels[:4]])))
    with open_http_tail(server.url, bundle) as tail:
        tail.check("c004")
        np.testing.assert_array_equal(tail.infer("c004", frame).scores, local.infer("c004", frame).scores)
        with pytest.raises(TailRefused, match="--cuts"):
            tail.check("c005")


@pytest.mark.parametrize(("cuts", "message"), [("c099", "No cut named 'c099'"), (" , ", "names no cut")])
def test_an_unknown_cut_is_refused_before_listening(capfd, cuts, message):
    from hybrid_batch.cli import main

    assert main(["serve", "digits", "--port", "0", "--cuts", cuts]) == 2
    assert message in capfd.readouterr().err


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_all_cuts_of_mobilenet_stay_below_a_gigabyte(tmp_path: Path):
    """With three clients that go through all cuts, by checks and by inference, and one that uses one cut."""
    from hybrid_batch.cli import main
    from hybrid_batch.inference.model.bundle import read_bundle

    path = tmp_path / "mobilenet.bundle"
    assert main(["import", "app:MobileNetV2", "-o", str(path)]) == 0
    bundle = read_bundle(path)
    server, over = Server(str(path)), threading.Event()
    process, peak, slowest = psutil.Process(server.process.pid), 0, 0.0
    model = f"{server.url}/v2/models/{bundle.name}"

    def post(client: httpx.Client, cut: Cut) -> int:
        frame = Frame(
            wire_tensors.encode("fp32", cut.boundary, [np.zeros((1, *t.shape), np.float32) for t in cut.boundary])
        )
        body = encode_request(frame)
        url = f"{model}/versions/{cut.id}/infer"
        return client.post(url, content=body.join(), headers=body.headers).status_code

    def cycle(number: int) -> None:
        with httpx.Client(trust_env=False, timeout=HANG_S) as client:
            while not over.is_set():
                for cut in bundle.cuts:
                    if number % 2:
                        post(client, cut)
                    else:
                        client.get(f"{model}/versions/{cut.id}/ready")

    with ThreadPoolExecutor(3) as pool, httpx.Client(trust_env=False, timeout=HANG_S) as client:
        used = bundle.cuts[40]
        assert post(client, used) == 200
        attackers = [pool.submit(cycle, number) for number in range(3)]
        end = time.monotonic() + 90
        times = []
        while time.monotonic() < end:
            start = time.monotonic()
            while post(client, used) == 429:
                time.sleep(0.1)
            times.append(time.monotonic() - start)
            slowest, peak = max(slowest, times[-1]), max(peak, process.memory_info().rss)
            time.sleep(0.2)
        over.set()
        for attacker in attackers:
            attacker.result(HANG_S)
    evictions = metric(server, "hybrid_batch_evictions_total")
    print(  # noqa: T201
        f"{len(bundle.cuts)} cuts, {evictions:.0f} evictions, peak RSS {peak / 1e6:.0f} MB, "
        f"{len(times)} answers, median {np.median(times):.2f} s, slowest {slowest:.2f} s"
    )
    server.stop()
    assert evictions > 20
    assert peak < 1e9
