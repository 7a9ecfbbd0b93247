"""Seconds from process start to the first record in the log, and to the end of `--help`."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.fixtures import image_folder, import_bundle, keras_models
from bench.results import Spread, report

_ROUNDS = 5
_COMMAND = [sys.executable, "-m", "hybrid_batch"]


def main() -> None:
    """Measure and report."""
    rows = [{"what": "--help", "seconds": Spread.of([_seconds(["--help"]) for _ in range(_ROUNDS)])}]
    with TemporaryDirectory() as folder, image_folder(64, 240, 320) as images:
        bundles = {name: import_bundle(model, Path(folder)).path for name, model in keras_models().items()}
        for name, model in {"digits": "digits", **bundles}.items():
            for split in ("local", "auto"):
                arguments = ["run", str(images), "--model", str(model), "--split", split, "--shard-size", "1"]
                command = [*_COMMAND, *arguments, "--batch-size", "1", "--log", f"{folder}/log"]
                seconds = [_first_record(command, Path(folder) / "log") for _ in range(_ROUNDS + 1)]
                rows.append({"what": f"first record, {name}, {split}", "seconds": Spread.of(seconds[1:])})
    report("start", rows)


def _seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([*_COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _first_record(command: list[str], log: Path) -> float:
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not any(log.glob("run=*/part-*")):
            if process.poll() is not None:
                raise RuntimeError(f"the run ended with {process.returncode} before its first record")
            time.sleep(0.002)
        spent = time.perf_counter() - start
    shutil.rmtree(log)
    return spent


if __name__ == "__main__":
    main()
