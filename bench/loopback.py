"""Split inference over loopback HTTP against the same split in one process, per cut: the cost of the wire protocol."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.fixtures import image_folder, import_bundle, keras_models
from bench.results import Spread, ratios, report
from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.log.runs import RunFolder
from hybrid_batch.data.storage.open_storage import open_storage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.model.runtimes import Runtime, open_runtime
from hybrid_batch.inference.runner.routing import FixedRouter
from hybrid_batch.inference.runner.runner import RunSpec, run_shards
from hybrid_batch.inference.runner.split import choose_split
from hybrid_batch.inference.tails import Tail, open_tail

_COUNT, _BATCH, _ROUNDS, _CUTS = 640, 32, 3, 8


def main() -> None:
    """Measure and report."""
    rows = []
    with TemporaryDirectory() as folder, image_folder(_COUNT, 240, 320) as images:
        os.environ["HYBRID_BATCH_CACHE"] = folder
        bundle = import_bundle(keras_models()["MobileNetV2"], Path(folder))
        runtime = open_runtime("openvino", bundle)
        context = _Context(bundle, runtime, find_images(str(images)), Path(folder))
        command = [sys.executable, "-m", "hybrid_batch", "serve", str(bundle.path), "--port", "0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None  # noqa: S101
            url = json.loads(server.stdout.readline())["url"]
            try:
                with open_tail("local", bundle, runtime) as near, open_tail(url, bundle, runtime) as far:
                    for cut in _choose_cuts(bundle):
                        rows.append(_row(context, cut, {"local": near, "http": far}))
            finally:
                server.terminate()
    report("loopback", rows)


@dataclass(frozen=True, slots=True)
class _Context:
    bundle: Bundle
    runtime: Runtime
    images: ImageSet
    folder: Path


def _choose_cuts(bundle: Bundle) -> list[Cut]:
    """Return some single-tensor cuts, evenly spaced from the first to the last."""
    cuts = [cut for cut in bundle.cuts if not cut.is_multi_tensor]
    return [cuts[round(at * (len(cuts) - 1) / (_CUTS - 1))] for at in range(_CUTS)]


def _row(context: _Context, cut: Cut, tails: dict[str, Tail]) -> dict[str, object]:
    bundle, folder = context.bundle, context.folder
    split = choose_split(bundle, cut.id, "fp16")
    rate: dict[str, list[float]] = {name: [] for name in tails}
    sent = 0
    for turn in range(_ROUNDS + 1):
        for name, tail in tails.items():
            log = folder / "log"
            start = time.perf_counter()
            run = RunFolder(open_storage(str(log)))
            job = RunSpec(bundle, FixedRouter(split, _BATCH), context.runtime, tail, name, context.images, run, 512)
            totals = run_shards(job, lambda _: None)
            if turn:
                rate[name].append(totals.images / (time.perf_counter() - start))
            sent = totals.sent_bytes // totals.images
            shutil.rmtree(log)
    return {
        "cut": f"{cut.id} {cut.name}",
        "head's work": f"{cut.head_share:.0%}",
        "bytes an image": sent,
        "local images/s": Spread.of(rate["local"]),
        "http images/s": Spread.of(rate["http"]),
        "http / local": ratios(rate["http"], rate["local"]),
    }


if __name__ == "__main__":
    main()
