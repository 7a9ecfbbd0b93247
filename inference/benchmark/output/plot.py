"""A benchmark as one figure: the time of each tail by part, and the server's latency and CPU by number of users."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.benchmark.benchmark import BenchmarkResult
from hybrid_batch.inference.benchmark.latency.trial import TailRow
from hybrid_batch.inference.benchmark.load.level import LevelRow
from hybrid_batch.inference.planner.plan.plot import import_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = ("local", "overhead", "compute")
_LABELS = ("local: decode, head, encode", "overhead: link, waiting, server", "compute: tail")


def draw_result(result: BenchmarkResult, path: Path) -> None:
    """Write the figure in the format of the path's suffix. Raises WrongUsage if the file cannot be written,
    MissingExtra without matplotlib."""
    figure = import_figure()(
        figsize=(max(7.0, 0.5 * len(result.tails)), 9 if result.users else 4.5), layout="constrained"
    )
    if result.users:
        axes = figure.subplot_mosaic([["tails", "tails"], ["p99", "cpu"]])
        _draw_users(axes["p99"], result.users, "p99, ms", [row.latency.p99 for row in result.users])
        _draw_users(axes["cpu"], result.users, "server CPU, ms per image", [row.cpu_ms for row in result.users])
        axes["p99"].set_yscale("log")
        axes["p99"].legend()  # for both axes: they show the same splits
        axes["cpu"].set_ylim(bottom=0)
        _draw_tails(axes["tails"], result.tails)
    else:
        _draw_tails(figure.subplots(), result.tails)
    figure.suptitle(result.model)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise WrongUsage(f"Cannot draw to {path} ({error}); choose a writable file such as tails.png.") from error


def _draw_tails(axes: "Axes", rows: Sequence[TailRow]) -> None:
    low = [0.0] * len(rows)
    for part, label in zip(_PARTS, _LABELS, strict=True):
        heights = [float(getattr(row, f"{part}_ms")) for row in rows]
        axes.bar(range(len(rows)), heights, bottom=low, label=label)
        low = [before + height for before, height in zip(low, heights, strict=True)]
    names = [f"{row.tail}\n{row.cut} {row.codec}" for row in rows]
    axes.set_xticks(range(len(rows)), names, rotation=90, fontsize=7)
    axes.set_ylabel("ms per image, warm (median)")
    axes.legend()


def _draw_users(axes: "Axes", rows: Sequence[LevelRow], label: str, values: Sequence[float]) -> None:
    for split in dict.fromkeys((row.cut, row.codec) for row in rows):
        points = [(row.users, value) for row, value in zip(rows, values, strict=True) if (row.cut, row.codec) == split]
        axes.plot(*zip(*points, strict=True), marker="o", label=" ".join(split))
    axes.set_xlabel("concurrent users")
    axes.set_ylabel(label)
