"""A chart of a plan: the stages of each cut as stacked bars, the bottleneck outlined."""

from pathlib import Path

from hybrid_batch.data.errors import MissingExtra, WrongUsage
from hybrid_batch.inference.planner.plan.candidates import STAGES, Candidate
from hybrid_batch.inference.planner.plan.plan import Plan


def draw_plan(plan: Plan, path: Path) -> None:
    """Write the chart in the format of the path's suffix.

    Each cut is drawn with its fastest codec and batch size; the chosen candidate's name is bold. Raises WrongUsage if
    the file cannot be written, MissingExtra without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("--plot needs matplotlib: pip install matplotlib.") from error

    best: dict[str, Candidate] = {}
    for candidate in plan.candidates:
        if candidate.name not in best or candidate.rate > best[candidate.name].rate:
            best[candidate.name] = candidate
    best[plan.chosen.name] = plan.chosen
    shown = list(best.values())
    figure = Figure(figsize=(max(6.0, 0.28 * len(shown)), 5), layout="constrained")
    axes = figure.subplots()
    bottoms = [0.0] * len(shown)
    for stage in STAGES:
        heights = [candidate.times.of(stage) / 1000 for candidate in shown]
        edges = ["black" if candidate.bottleneck == stage else "none" for candidate in shown]
        axes.bar(range(len(shown)), heights, bottom=bottoms, label=stage, edgecolor=edges, linewidth=1.5)
        bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    axes.set_xticks(range(len(shown)), [candidate.name for candidate in shown], rotation=90, fontsize=7)
    axes.get_xticklabels()[shown.index(plan.chosen)].set_fontweight("bold")
    axes.set_ylabel("ms per image")
    axes.set_ylim(0, 3 * sorted(bottoms)[len(bottoms) // 2])
    axes.set_title(f"chosen: {plan.chosen.name} (outlined: the bottleneck)")
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise WrongUsage(f"Cannot draw to {path} ({error}); choose a writable file such as plan.png.") from error
