"""The full report of a large log: our engines, DuckDB, Polars and scikit-learn; and the time of the intervals.

`python -m bench evaluation --scale 1` takes 100 million records, 5 GB; the default, 0.01, a million.
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

from bench.evaluation_baselines import BASELINES
from bench.evaluation_intervals import intervals
from bench.results import Spread, report
from bench.synthetic_log import count_log, write_log

_MAX_SKLEARN_RECORDS = 20_000_000  # it takes 15 times as long as the whole report


@dataclass(frozen=True, slots=True)
class Measurement:
    """Seconds of the evaluation, of start and end, and of processors; and the peak memory."""

    work_s: float
    start_and_end_s: float
    processor_s: float
    peak_mb: float


def main(arguments: list[str] | None = None) -> None:
    """Measure and report. Without arguments it reads the command line, ignoring the options of `python -m bench`."""
    parser = argparse.ArgumentParser(prog="python -m bench evaluation")
    parser.add_argument("--scale", type=float, default=1e-2)
    parser.add_argument("--log", type=Path, metavar="FOLDER", help="use the log in FOLDER, or write and keep it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(BASELINES))
    parser.add_argument("--limit", type=float, default=900, metavar="S", help="stop an engine after S seconds")
    options = parser.parse_known_args()[0] if arguments is None else parser.parse_args(arguments)
    with TemporaryDirectory(prefix="hybrid-batch-bench-") as place:
        folder = (options.log or Path(place)) / "run=made"
        records = count_log(folder) if folder.exists() else write_log(folder, options.scale)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{records:,} records, {size / 1e6:,.0f} MB")
        names = [name for name in options.only or BASELINES if name != "sklearn" or records <= _MAX_SKLEARN_RECORDS]
        report(f"evaluation-{records}", _rows(names, folder, records, options.rounds, options.limit))
    print()
    report("evaluation-intervals", intervals(options.rounds))


def _rows(names: list[str], folder: Path, records: int, rounds: int, limit_s: float) -> list[dict[str, object]]:
    found: dict[str, list[Measurement]] = {name: [] for name in names}
    ended: dict[str, str] = {}
    for _ in range(rounds):
        for name in names:  # in turns: a machine that slows down slows all of them
            measured = ended.get(name) or _run(name, folder, limit_s)
            if isinstance(measured, str):
                ended[name] = measured
            else:
                found[name].append(measured)
    medians = {name: Spread.of([run.work_s for run in runs]).median for name, runs in found.items() if runs}
    return [
        {
            "engine": name,
            "seconds": Spread.of([run.work_s for run in runs]) if runs else ended[name],
            "million records/s": records / medians[name] / 1e6 if runs else "",
            "of duckdb's time": medians[name] / medians["duckdb"] if runs and "duckdb" in medians else "",
            "processor seconds": Spread.of([run.processor_s for run in runs]) if runs else "",
            "start and end, s": Spread.of([run.start_and_end_s for run in runs]) if runs else "",
            "peak MB": Spread.of([run.peak_mb for run in runs]) if runs else "",
        }
        for name, runs in found.items()
    ]


def _run(name: str, folder: Path, limit_s: float) -> Measurement | str:
    """The measurement of a process with its children, or the reason why it failed.

    Processor seconds are comparable even on a shared machine.
    """
    started = time.perf_counter()
    process = psutil.Popen(
        [sys.executable, "-m", "bench.evaluation_baselines", name, str(folder)], stdout=subprocess.PIPE, text=True
    )
    peak, processor = 0, 0.0
    while process.poll() is None:
        with suppress(psutil.Error):
            processes = [process, *process.children(recursive=True)]
            peak = max(peak, sum(map(_resident, processes)))
            processor = max(processor, sum(map(_processor_s, processes)))
            if time.perf_counter() - started > limit_s:
                for one in processes:
                    one.kill()
                process.communicate()
                return f"stopped after {limit_s:,.0f} s, at {peak / 1e6:,.0f} MB"
        time.sleep(0.02)
    spent = time.perf_counter() - started
    output = process.communicate()[0]
    if process.returncode:
        return f"ended with {process.returncode}, at {peak / 1e6:,.0f} MB"
    work = float(output.split()[-1])
    return Measurement(work, spent - work, processor, peak / 1e6)


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _processor_s(process: psutil.Process) -> float:
    """Seconds of the process and of its children that have ended."""
    with suppress(psutil.Error):
        return sum(process.cpu_times()[:4])
    return 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
