"""Images/s of the runner against a bare loop with as many decoding threads, the same runtime and batch, and no log."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.fixtures import image_folder, import_bundle, keras_models
from bench.results import Spread, ratios, report
from hybrid_batch.data.images.decode import decode
from hybrid_batch.data.images.images import find_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime, Segment, compile_tail, open_runtime
from hybrid_batch.inference.runner.routing import FixedRouter
from hybrid_batch.inference.runner.runner import Concurrency, RunSpec, run_shards
from hybrid_batch.inference.runner.split import LocalSplit
from hybrid_batch.inference.tails import open_tail

_IMAGES = {"MobileNetV2": (1000, 240, 320), "ResNet50": (200, 240, 320), "emotions": (5000, 48, 48)}
_ROUNDS = 4


def main() -> None:
    """Measure and report."""
    rows = []
    with TemporaryDirectory() as folder:
        for name, model in keras_models().items():
            bundle = import_bundle(model, Path(folder))
            runtime = open_runtime("openvino", bundle, cached=False)
            segment = compile_tail(runtime, bundle, bundle.input_cut)
            count, height, width = _IMAGES[name]
            with image_folder(count, height, width) as images:
                for batch in (1, 8, 32):
                    ours, bare = [], []
                    for turn in range(_ROUNDS + 1):
                        mine, loop = (
                            count / _run(bundle, runtime, images, Path(folder) / "log", batch),
                            count / _bare_loop(bundle, segment, images, batch),
                        )
                        if turn:
                            ours.append(mine)
                            bare.append(loop)
                    rows.append(
                        {
                            "model": name,
                            "batch": batch,
                            "runner images/s": Spread.of(ours),
                            "bare loop images/s": Spread.of(bare),
                            "runner / bare loop": ratios(ours, bare),
                        }
                    )
    report("runner", rows)


def _run(bundle: Bundle, runtime: Runtime, images: Path, log: Path, batch: int) -> float:
    """Return the seconds of a run, from listing the folder to `_SUCCESS`, with a compiled model."""
    with open_tail("local", bundle, runtime) as tail:
        start = time.perf_counter()
        found = find_images(str(images))
        folder = RunFolder(open_storage(str(log)))
        router = FixedRouter(LocalSplit(), batch)
        run_shards(RunSpec(bundle, router, runtime, tail, "local", found, folder, 512), lambda _: None)
        spent = time.perf_counter() - start
    shutil.rmtree(log)
    return spent


def _bare_loop(bundle: Bundle, segment: Segment, images: Path, batch: int) -> float:
    start = time.perf_counter()
    files = sorted(images.iterdir())
    groups = [files[at : at + batch] for at in range(0, len(files), batch)]
    decoders = Concurrency().decoders

    def load(group: list[Path]) -> np.ndarray:
        return np.stack([decode(file.read_bytes(), bundle.preprocessing) for file in group])

    def ahead(pool: ThreadPoolExecutor) -> Iterator[np.ndarray]:
        waiting = [pool.submit(load, group) for group in groups[: decoders + 1]]
        for group in [*groups[decoders + 1 :], *[None] * len(waiting)]:
            yield waiting.pop(0).result()
            if group is not None:
                waiting.append(pool.submit(load, group))

    with ThreadPoolExecutor(decoders) as pool:
        for pixels in ahead(pool):
            segment([pixels])[0].argmax(axis=1)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
