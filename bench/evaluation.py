"""The full report of a large log: our engines against DuckDB, Polars and scikit-learn, and what its intervals add.

`python -m bench evaluation --scale 1` is 100 million records, 5 GB; the default, 0.01, is a million.
"""

import argparse
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.evaluation_contenders import CONTENDERS
from bench.evaluation_intervals import intervals
from bench.made_log import count_log, make_log
from bench.results import Spread, report

_SKLEARN_AT_MOST = 20_000_000  # records; it takes 15 times as long as the whole report


@dataclass(frozen=True, slots=True)
class Took:
    """What a contender took: seconds of work, of starting and ending, of processors; its memory at the most."""

    work_s: float
    around_s: float
    processor_s: float
    peak_mb: float


def main(arguments: list[str] | None = None) -> None:
    """Measure and report; without arguments, those of the command line, where `python -m bench` has its own too."""
    parser = argparse.ArgumentParser(prog="python -m bench evaluation")
    parser.add_argument("--scale", type=float, default=1e-2)
    parser.add_argument(
        "--log", type=Path, metavar="FOLDER", help="the log made in FOLDER before, or else now, and kept"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(CONTENDERS))
    parser.add_argument("--limit", type=float, default=900, metavar="S", help="a contender is stopped after S seconds")
    options = parser.parse_known_args()[0] if arguments is None else parser.parse_args(arguments)
    with TemporaryDirectory(prefix="hybrid-batch-bench-") as place:
        folder = (options.log or Path(place)) / "run=made"
        records = count_log(folder) if folder.exists() else make_log(folder, options.scale)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{records:,} records, {size / 1e6:,.0f} MB")
        names = [name for name in options.only or CONTENDERS if name != "sklearn" or records <= _SKLEARN_AT_MOST]
        report(f"evaluation-{records}", _rows(names, folder, records, options.rounds, options.limit))
    print()
    report("evaluation-intervals", intervals(options.rounds))


def _rows(names: list[str], folder: Path, records: int, rounds: int, limit_s: float) -> list[dict[str, object]]:
    found: dict[str, list[Took]] = {name: [] for name in names}
    ended: dict[str, str] = {}
    for _ in range(rounds):
        for name in names:  # in turns, so that a machine that slows down slows all
            took = ended.get(name) or _run(name, folder, limit_s)
            if isinstance(took, str):
                ended[name] = took
            else:
                found[name].append(took)
    medians = {name: Spread.of([one.work_s for one in runs]).median for name, runs in found.items() if runs}
    return [
        {
            "engine": name,
            "seconds": Spread.of([took.work_s for took in runs]) if runs else ended[name],
            "million records/s": records / medians[name] / 1e6 if runs else "",
            "of duckdb's time": medians[name] / medians["duckdb"] if runs and "duckdb" in medians else "",
            "processor seconds": Spread.of([took.processor_s for took in runs]) if runs else "",
            "start and end, s": Spread.of([took.around_s for took in runs]) if runs else "",
            "peak MB": Spread.of([took.peak_mb for took in runs]) if runs else "",
        }
        for name, runs in found.items()
    ]


def _run(name: str, folder: Path, limit_s: float) -> Took | str:
    """What a process took, with all its own; how it ended when not well. Processor seconds are what a machine that
    others use too still measures well."""
    begun = time.perf_counter()
    process = psutil.Popen(
        [sys.executable, "-m", "bench.evaluation_contenders", name, str(folder)], stdout=subprocess.PIPE, text=True
    )
    peak, processor = 0, 0.0
    while process.poll() is None:
        with suppress(psutil.Error):
            together = [process, *process.children(recursive=True)]
            peak = max(peak, sum(map(_resident, together)))
            processor = max(processor, sum(map(_processor_s, together)))
            if time.perf_counter() - begun > limit_s:
                for one in together:
                    one.kill()
                process.communicate()
                return f"stopped after {limit_s:,.0f} s, at {peak / 1e6:,.0f} MB"
        time.sleep(0.02)
    spent = time.perf_counter() - begun
    said = process.communicate()[0]
    if process.returncode:
        return f"ended with {process.returncode}, at {peak / 1e6:,.0f} MB"
    work = float(said.split()[-1])
    return Took(work, spent - work, processor, peak / 1e6)


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _processor_s(process: psutil.Process) -> float:
    """Its own, and those of its children that have ended."""
    with suppress(psutil.Error):
        return sum(process.cpu_times()[:4])
    return 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
