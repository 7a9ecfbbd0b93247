"""A chart of a plan: the stages of each candidate as stacked bars, the bottleneck outlined."""

from collections.abc import Sequence
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_batch.data.errors import MissingExtra, WrongUsage
from hybrid_batch.data.terminal.numbers import format_number
from hybrid_batch.inference.planner.plan.candidates import STAGES, Candidate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_WIDTH = 300.0  # inches, within the limit of an image's size


def draw_plan(candidates: Sequence[Candidate], path: Path, title: str) -> None:
    """Write the chart in the format of the path's suffix: one bar for each candidate, in their order.

    The first candidate is the chosen one, whose name is bold. `title` names model, machine and link. Raises WrongUsage
    if the file cannot be written, MissingExtra without matplotlib."""
    figure_class = import_figure()
    width = min(_MAX_WIDTH, max(6.0, 0.28 * len(candidates)))
    figure = figure_class(figsize=(width, 6), layout="constrained")
    axes = figure.subplots()
    bottoms = [0.0] * len(candidates)
    for stage in STAGES:
        heights = [candidate.times.of(stage) / 1000 for candidate in candidates]
        edges = ["black" if candidate.bottleneck == stage else "none" for candidate in candidates]
        axes.bar(range(len(candidates)), heights, bottom=bottoms, label=stage, edgecolor=edges, linewidth=1.5)
        bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    axes.set_xticks(range(len(candidates)), [label(candidate) for candidate in candidates], rotation=90, fontsize=7)
    axes.get_xticklabels()[0].set_fontweight("bold")
    axes.set_ylabel("ms per image")
    axes.set_ylim(0, max(1.1 * bottoms[0], 3 * sorted(bottoms)[len(bottoms) // 2]) or 1.0)
    axes.set_title(f"{title}\nchosen: {label(candidates[0])} (outlined: the bottleneck)", fontsize=9)
    axes.legend(fontsize=8)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise WrongUsage(f"Cannot draw to {path} ({error}); choose a writable file such as plan.png.") from error


def import_figure() -> "type[Figure]":
    """matplotlib's Figure. A file `matplotlibrc` in the working folder is not read: the import reads that of the
    current folder, which is another one meanwhile. Raises MissingExtra without matplotlib."""
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise MissingExtra("--plot needs matplotlib: pip install matplotlib.")
    with chdir(Path(found.origin).parent):
        from matplotlib.figure import Figure
    return Figure


def label(candidate: Candidate) -> str:
    """The name of a candidate's bar: its name, codec, batch size and images per second in the table."""
    codec = "" if candidate.cut is None else f", {candidate.codec}"
    return f"{candidate.name}{codec}, batch {candidate.batch}: {format_number(candidate.shared_rate)}/s"
