"""The full report of a large log: our engines against DuckDB, Polars and scikit-learn. `--scale 1` is 100 million
records, 5 GB; the default, 0.01, is a million."""

import argparse
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.evaluation_contenders import CONTENDERS
from bench.made_log import count_log, make_log
from bench.results import Spread, report

_SKLEARN_AT_MOST = 20_000_000  # records; it takes 15 times as long as the whole report


def main(arguments: list[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.evaluation")
    parser.add_argument("--scale", type=float, default=1e-2)
    parser.add_argument(
        "--log", type=Path, metavar="FOLDER", help="the log made in FOLDER before, or else now, and kept"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(CONTENDERS))
    options = parser.parse_args(arguments or [])
    with TemporaryDirectory(prefix="hybrid-batch-bench-") as place:
        folder = (options.log or Path(place)) / "run=made"
        records = count_log(folder) if folder.exists() else make_log(folder, options.scale)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{records:,} records, {size / 1e6:,.0f} MB")
        names = [name for name in options.only or CONTENDERS if name != "sklearn" or records <= _SKLEARN_AT_MOST]
        found: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in names}
        for _ in range(options.rounds):
            for name in names:  # in turns, so that a machine that slows down slows all
                found[name].append(_run(name, folder))
    base = Spread.of([work for work, *_ in found.get("duckdb", next(iter(found.values())))]).median
    rows = []
    for name, runs in found.items():
        work, processor, start, memory = (Spread.of(values) for values in zip(*runs, strict=True))
        rows.append(
            {
                "engine": name,
                "seconds": work,
                "million records/s": records / work.median / 1e6,
                "of duckdb's time": work.median / base,
                "processor seconds": processor,
                "start and end, s": start,
                "peak MB": memory,
            }
        )
    report(f"evaluation-{records}", rows)


def _run(name: str, folder: Path) -> tuple[float, float, float, float]:
    """Seconds of work, processor seconds in all, seconds of starting and ending, and peak memory in MB of a process
    and all its own. Processor seconds are what a machine that others use too still measures well."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.evaluation_contenders", name, str(folder)], stdout=subprocess.PIPE, text=True
    )
    peak = 0
    while process.poll() is None:
        with suppress(psutil.Error):
            own = psutil.Process(process.pid)
            peak = max(peak, sum(_resident(one) for one in [own, *own.children(recursive=True)]))
        time.sleep(0.02)
    spent = time.perf_counter() - begun
    work = float(process.communicate()[0].split()[-1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return work, processor, spent - work, peak / 1e6


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])
