"""The experiment as one picture: where the time of each tail goes, and what many users do to a server."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_batch.data.errors import MissingExtra, WrongUsage
from hybrid_batch.inference.benchmark.level import LevelRow
from hybrid_batch.inference.benchmark.result import Result
from hybrid_batch.inference.benchmark.tail_row import TailRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = ("here", "overhead", "compute")
_LABELS = ("here: decode, head, encode", "link, waiting, server", "the tail's work")


def draw_result(result: Result, path: Path) -> None:
    """Write the picture; its suffix says the format. Raises WrongUsage if the file cannot be written, MissingExtra."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("--plot needs matplotlib: pip install matplotlib.") from error

    figure = Figure(figsize=(max(7.0, 0.5 * len(result.tails)), 9 if result.users else 4.5), layout="constrained")
    if result.users:
        axes = figure.subplot_mosaic([["tails", "tails"], ["p99", "cpu"]])
        _draw_users(axes["p99"], result.users, "p99, ms", [row.latency.p99 for row in result.users])
        _draw_users(axes["cpu"], result.users, "server's CPU, ms an image", [row.cpu_ms for row in result.users])
        axes["p99"].set_yscale("log")
        axes["p99"].legend()  # both have the same lines
        axes["cpu"].set_ylim(bottom=0)
        _draw_tails(axes["tails"], result.tails)
    else:
        _draw_tails(figure.subplots(), result.tails)
    figure.suptitle(result.model)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise WrongUsage(f"Cannot draw to {path} ({error}); give a file that can be written, as tails.png.") from error


def _draw_tails(axes: "Axes", rows: Sequence[TailRow]) -> None:
    low = [0.0] * len(rows)
    for part, label in zip(_PARTS, _LABELS, strict=True):
        heights = [float(getattr(row, f"{part}_ms")) for row in rows]
        axes.bar(range(len(rows)), heights, bottom=low, label=label)
        low = [before + height for before, height in zip(low, heights, strict=True)]
    names = [f"{row.tail}\n{row.cut} {row.codec}" for row in rows]
    axes.set_xticks(range(len(rows)), names, rotation=90, fontsize=7)
    axes.set_ylabel("ms a picture, warm (medians)")
    axes.legend()


def _draw_users(axes: "Axes", rows: Sequence[LevelRow], label: str, values: Sequence[float]) -> None:
    for way in dict.fromkeys((row.cut, row.codec) for row in rows):
        points = [(row.users, value) for row, value in zip(rows, values, strict=True) if (row.cut, row.codec) == way]
        axes.plot(*zip(*points, strict=True), marker="o", label=" ".join(way))
    axes.set_xlabel("users at once")
    axes.set_ylabel(label)
