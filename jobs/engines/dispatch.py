"""Evaluation and comparison of runs on a selected engine, for the commands and the Python API."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hybrid_batch.data.errors import WrongUsage

if TYPE_CHECKING:
    from hybrid_batch.evaluation.comparison.comparison import Comparison
    from hybrid_batch.evaluation.report_schema import Report

ENGINES = ("inline", "mrjob", "spark")
RUNNERS = ("inline", "local", "spark")

Note = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The report, the URIs of the evaluated run folders, and sentences about them, for a page."""

    report: "Report"
    runs: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """One of ENGINES, and for mrjob optionally one of RUNNERS."""

    engine: str = "inline"
    runner: str | None = None


def evaluate_runs(
    uris: Sequence[str],
    by: Sequence[str],
    note: Note,
    choice: EngineChoice,
    *,
    all_runs: bool | None = None,
    skip_unreadable: bool = False,
) -> Evaluation:
    """Evaluate runs together, each a run folder or a log that holds a single run, sliced also by the columns `by`.

    `note` is called with sentences about runs of others, unfinished runs and repeated images, before the evaluation.
    Raises NotARun, WrongUsage, StorageFailed, MissingExtra, and JobFailed."""
    from hybrid_batch.evaluation.counting.columns import check_sliceable
    from hybrid_batch.jobs.input.foreign_runs import describe_foreign_runs
    from hybrid_batch.jobs.input.part_list import list_parts

    check_sliceable(by)
    evaluate = _job("evaluate", choice)
    listed = list_parts(uris, all_runs)
    folders = tuple(dict.fromkeys(part.run for part in listed.parts))
    for sentence in (*describe_foreign_runs(folders), *listed.notes):
        note(sentence)
    report = evaluate(listed.parts, by, skip_unreadable)
    return Evaluation(report, folders, tuple(listed.notes))


def compare_runs(
    uris: tuple[str, str], by: Sequence[str], note: Note, choice: EngineChoice, *, skip_unreadable: bool = False
) -> "Comparison":
    """Compare two runs image by image, sliced also by the columns `by`. `note` and errors are as in `evaluate_runs`."""
    from hybrid_batch.evaluation.comparison.comparison import build_comparison
    from hybrid_batch.jobs.input.comparison_input import list_comparison_input
    from hybrid_batch.jobs.input.foreign_runs import describe_foreign_runs

    compare = _job("compare", choice)
    runs = list_comparison_input(uris, by, skip_unreadable)
    for sentence in (*describe_foreign_runs(part.run for part in runs.parts), *runs.notes):
        note(sentence)
    return build_comparison(compare(runs), skip_unreadable)


def _job(name: str, choice: EngineChoice) -> Callable[..., Any]:
    """Return the function `name` of the engine's module, imported late because mrjob and Spark are extras."""
    if choice.engine not in ENGINES:
        raise WrongUsage(f"{choice.engine!r} is not an engine; use one of {', '.join(ENGINES)}.")
    if choice.runner and choice.engine != "mrjob":
        raise WrongUsage(f"--runner {choice.runner} is an option of mrjob; add --engine mrjob.")
    function: Callable[..., Any] = getattr(import_module(f"hybrid_batch.jobs.{name}_{choice.engine}"), name)
    return partial(function, runner=choice.runner) if choice.runner else function
