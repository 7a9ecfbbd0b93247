"""Peak memory of a run over few and over many images; it must not grow with their number."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.fixtures import image_folder
from bench.results import Spread, report

_ROUNDS = 3


def main() -> None:
    """Measure and report."""
    rows = []
    with TemporaryDirectory() as folder:
        for split in ("local", "auto"):
            peaks = {}
            for count in (1_000, 20_000):
                with image_folder(count, 48, 48) as images:
                    runs = [
                        _peak_mb(images, split, Path(folder) / f"{split}-{count}-{turn}") for turn in range(_ROUNDS)
                    ]
                peaks[count] = Spread.of(runs)
            rows.append(
                {
                    "split": split,
                    **{f"MB at {count:,} images": peak for count, peak in peaks.items()},
                    "MB apart": peaks[20_000].median - peaks[1_000].median,
                }
            )
    report("memory", rows)


def _peak_mb(images: Path, split: str, log: Path) -> float:
    """Return the highest resident memory in MB, sampled every 5 ms; the system's own peak of a child includes that
    of the parent before the fork."""
    command = [sys.executable, "-m", "hybrid_batch", "run", str(images), "--split", split, "--log", str(log)]
    peak = 0
    with psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                peak = max(peak, process.memory_info().rss)
            time.sleep(0.005)
    if process.returncode:
        raise RuntimeError(f"the run ended with {process.returncode}")
    return peak / 1e6


if __name__ == "__main__":
    main()
