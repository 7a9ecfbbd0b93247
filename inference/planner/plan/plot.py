"""A picture of a plan: the stages of every cut as stacked bars, the slowest marked."""

from pathlib import Path

from hybrid_batch.data.errors import MissingExtra, WrongUsage
from hybrid_batch.inference.planner.plan.candidates import STAGES, Candidate
from hybrid_batch.inference.planner.plan.plan import Plan


def draw_plan(plan: Plan, path: Path) -> None:
    """Write the picture; its suffix says the format. Each cut is drawn with the codec and batch that serve it best,
    the chosen candidate's name in bold. Raises WrongUsage if the file cannot be written, MissingExtra."""
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
    low = [0.0] * len(shown)
    for stage in STAGES:
        heights = [getattr(candidate, f"{stage}_us") / 1000 for candidate in shown]
        edges = ["black" if candidate.bound == stage else "none" for candidate in shown]
        axes.bar(range(len(shown)), heights, bottom=low, label=stage, edgecolor=edges, linewidth=1.5)
        low = [before + height for before, height in zip(low, heights, strict=True)]
    axes.set_xticks(range(len(shown)), [candidate.name for candidate in shown], rotation=90, fontsize=7)
    axes.get_xticklabels()[shown.index(plan.chosen)].set_fontweight("bold")
    axes.set_ylabel("ms an image")
    axes.set_ylim(0, 3 * sorted(low)[len(low) // 2])
    axes.set_title(f"chosen: {plan.chosen.name} (outlined: the slowest stage)")
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise WrongUsage(f"Cannot draw to {path} ({error}); give a file that can be written, as plan.png.") from error
