"""Segments: equal results from any thread and batch, constant memory, and a cache that survives damage."""

import gc
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest

import hybrid_batch
from hybrid_batch.data.errors import ModelRefused, WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cache import prune
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_traceable_model
from hybrid_batch.inference.model.importing.traceable_model import wrap_keras_model
from hybrid_batch.inference.model.runtimes import RUNTIMES, Runtime, compile_head, compile_tail, open_runtime
from hybrid_batch.inference.model.runtimes.openvino import OpenVinoRuntime
from hybrid_batch.inference.model.runtimes.verify import synthetic_images
from tests.conftest import HANG_S
from tests.inference.keras_models import BODIES, classifier

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(keras: ModuleType, tmp_path: Path, suppressed_output: None) -> Bundle:
    model = classifier(keras, BODIES["dense_blocks"])
    return import_traceable_model(wrap_keras_model(model), "made", tmp_path / "made.bundle", ImportSettings()).bundle


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, bundle: Bundle) -> Runtime:
    return open_runtime(request.param, bundle)


def test_results_do_not_depend_on_threads_and_batches(runtime: Runtime, bundle: Bundle) -> None:
    images = synthetic_images(bundle, 64)
    cut = bundle.cuts[len(bundle.cuts) // 2]
    head, tail = compile_head(runtime, bundle, cut), compile_tail(runtime, bundle, cut)
    expected = np.concatenate([tail(head([images[i : i + 1]]))[0] for i in range(64)])

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(40):
            size = rng.choice([1, 2, 3, 7, 16, 33])
            start = rng.randrange(64 - size)
            (scores,) = tail(head([images[start : start + size]]))
            if runtime.name == "openvino":
                assert scores.tobytes() == expected[start : start + size].tobytes()
            else:  # chooses its algorithms by the batch size
                np.testing.assert_allclose(scores, expected[start : start + size], rtol=0, atol=1e-6)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_the_caller_owns_results_and_inputs_are_not_changed(runtime: Runtime, bundle: Bundle) -> None:
    images = synthetic_images(bundle, 4)
    images.flags.writeable = False  # as a received tensor
    before = images.copy()
    whole = compile_tail(runtime, bundle, bundle.input_cut)
    (first,) = whole([images])
    kept = first.copy()
    whole([images[::-1]])  # not contiguous
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(whole([images])[0], kept)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_allclose(whole([images[::-1]])[0], kept[::-1], rtol=0, atol=1e-6)


def test_memory_does_not_grow(runtime: Runtime, bundle: Bundle) -> None:
    images = synthetic_images(bundle, 8)
    whole = compile_tail(runtime, bundle, bundle.input_cut)
    process = psutil.Process()

    def grown(calls: int) -> int:
        before = process.memory_info().rss
        for number in range(calls):
            whole([images[: 1 + number % 8]])
        gc.collect()
        return process.memory_info().rss - before

    grown(2000)
    assert grown(4000) < 4 << 20


def test_an_unknown_runtime(bundle: Bundle) -> None:
    with pytest.raises(WrongUsage, match="No runtime named 'torch'; choose one of openvino, tensorflow"):
        open_runtime("torch", bundle)


# The segment cache


def scores(bundle: Bundle) -> np.ndarray:
    runtime = open_runtime("openvino", bundle)
    cut = bundle.cuts[2]
    crossing = compile_head(runtime, bundle, cut)([synthetic_images(bundle, 4)])
    return compile_tail(runtime, bundle, cut)(crossing)[0]


def forbid_conversion(patch: pytest.MonkeyPatch) -> None:
    """Let every conversion of a graph fail."""

    def fail(*_: object) -> None:
        raise AssertionError("a part that is in the cache was converted again")

    patch.setattr(OpenVinoRuntime, "_convert", fail)


def test_the_second_start_reads_the_cached_conversion(bundle: Bundle, cache: Path) -> None:
    expected = scores(bundle)
    assert len(list((cache / "segments").iterdir())) == 2
    with pytest.MonkeyPatch.context() as patch:
        forbid_conversion(patch)
        np.testing.assert_array_equal(scores(bundle), expected)
    shutil.rmtree(cache)
    np.testing.assert_array_equal(scores(bundle), expected)


def test_a_cached_part_of_a_graph_that_is_refused_is_not_opened(bundle: Bundle, cache: Path) -> None:
    """An earlier version may have cached it, when more ops were accepted."""
    scores(bundle)
    bundle.graph_path.write_bytes(bundle.graph_path.read_bytes() + b"\x0a\x0c\x0a\x01p\x12\x07PrintV2")
    with pytest.raises(ModelRefused, match="holds the op PrintV2"):
        scores(bundle)


@pytest.mark.parametrize("name", ["segment.xml", "segment.bin"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.9, None])
def test_a_damaged_cache_is_repaired(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, part: float | None
) -> None:
    expected = scores(bundle)
    for path in (cache / "segments").glob(f"*/{name}"):
        content = path.read_bytes()
        if part is None:
            path.unlink()
        else:
            path.write_bytes(content[: int(part * len(content))])
    np.testing.assert_array_equal(scores(bundle), expected)
    forbid_conversion(monkeypatch)
    np.testing.assert_array_equal(scores(bundle), expected)  # repaired


def test_an_unwritable_cache_is_not_an_error(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scores(bundle)
    (tmp_path / "taken").touch()
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "taken"))
    np.testing.assert_array_equal(scores(bundle), expected)


def test_concurrent_processes_fill_the_cache(bundle: Bundle, cache: Path) -> None:
    program = """
import sys
from pathlib import Path
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.model.runtimes.openvino import OpenVinoRuntime
from hybrid_batch.inference.model.runtimes.verify import verify_cuts
bundle = read_bundle(Path(sys.argv[1]))
for _ in range(3):
    assert all(check.passed for check in verify_cuts(bundle, open_runtime('openvino', bundle), bundle.cuts))
"""
    command = [sys.executable, "-c", program, str(bundle.path)]
    folder = Path(hybrid_batch.__file__).parents[1]
    started = [subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE) for _ in range(3)]
    assert [(process.communicate(timeout=HANG_S)[1], process.returncode) for process in started] == [(b"", 0)] * 3
    assert sorted({file.name for file in (cache / "segments").glob("*/*")}) == ["segment.bin", "segment.xml"]
    assert not list((cache / "segments").glob(".*"))


def test_prune_deletes_the_least_recently_used(tmp_path: Path) -> None:
    for age in range(6):
        path = tmp_path / f"made{age}"
        path.mkdir()
        for name in ("segment.xml", "segment.bin"):
            (path / name).write_bytes(bytes(50))
            os.utime(path / name, (1e9 - age, 1e9 - age))
    prune(tmp_path, 100 * 6)
    assert len(list(tmp_path.iterdir())) == 6
    prune(tmp_path, 100 * 3 + 99)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made0", "made1", "made2"]
