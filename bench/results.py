"""Interleaved timing, printed tables and saved JSON files."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from hybrid_batch.data.terminal.numbers import format_number

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of repeated measurements."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Minimum, median and maximum."""
        return cls(min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        return f"{format_number(self.median)} ({format_number(self.least)} to {format_number(self.most)})"


def rates(functions: Mapping[str, Callable[[], int]], rounds: int = 5, seconds: float = 0.5) -> dict[str, list[float]]:
    """Return the items per second of each function, which returns the number of items of a call.

    The functions take turns, so that a slower machine slows all of them. Each turn lasts at least `seconds`; the first
    is a warm-up."""
    found: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, call in functions.items():
            start, items = time.perf_counter(), 0
            while (spent := time.perf_counter() - start) < seconds:
                items += call()
            if turn:
                found[name].append(items / spent)
    return found


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the ratios turn by turn."""
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


def report(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows as a table and save them with a description of the machine."""
    show(rows)
    save(name, rows)


def show(rows: Sequence[Mapping[str, Any]], width: int = 150) -> None:
    """Print the rows as a table."""
    table = Table(*rows[0], box=None, header_style="bold")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    Console(width=width).print(table, highlight=False)


def save(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Save the rows with a description of the machine."""
    FOLDER.mkdir(exist_ok=True)
    content = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": psutil.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "load_before": psutil.getloadavg()[0],
            "python": platform.python_version(),
        },
        "rows": [{key: _stored(value) for key, value in row.items()} for row in rows],
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    return format_number(value) if isinstance(value, float) else str(value)


def _stored(value: object) -> object:
    return {"min": value.least, "median": value.median, "max": value.most} if isinstance(value, Spread) else value
