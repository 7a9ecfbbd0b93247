"""The head of the page: which runs were evaluated, with which model, images and settings."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html.cards import cards
from hybrid_batch.evaluation.output.html.markup import Markup, element, join
from hybrid_batch.evaluation.output.html.tables import run_text, table
from hybrid_batch.evaluation.report_schema import Report, RunRow
from hybrid_batch.evaluation.run_facts import RunFacts

_MAX_NAMES = 3
_HASH_LETTERS = 12
_COMPARED = ("run", "cut", "codec", "tail", "images counted", "accuracy")  # in the table of runs even where equal
_LABELS = {"folder": "the names of the folders", "csv": "a CSV file"}


def page_title(report: Report, facts: Sequence[RunFacts]) -> str:
    """The title of the window: the heading, and for one run its images, date and name."""
    heading = _heading(report, facts)
    if len(facts) != 1:
        return heading
    run = facts[0]
    folder = run.images.rstrip("/").rpartition("/")[2] if run.images else None
    named = f"{heading} of {folder}" if folder else heading
    return ", ".join(
        filter(None, (named, _date(_rows_of(report, run, is_only=True), run), run.run_id and f"run {run.run_id}"))
    )


def opening(report: Report, facts: Sequence[RunFacts]) -> Markup:
    """The heading, the facts of the run or the table of runs, and the cards."""
    names = Counter(run.run_id for run in facts)
    of_runs = [_facts_of(report, run, len(facts) == 1, shares_name=names[run.run_id] > 1) for run in facts]
    shown = _facts(of_runs or [_splits(report["runs"])])
    return element("header", element("h1", run_text(_heading(report, facts))), shown, cards(report))


def _heading(report: Report, facts: Sequence[RunFacts]) -> str:
    """The models, and the numbers of runs and images."""
    names = _join_names(run.model for run in facts)
    images = format_count(report["coverage"]["records"], "image")
    if len(facts) > 1:
        images = f"{len(facts)} runs, {images}"
    return f"{names}: {images}" if names else f"Evaluation of {images}"


def _facts(runs: Sequence[dict[str, str | None]]) -> Markup:
    """What all runs have in common, and below it a table of what differs."""
    several = len(runs) > 1
    common = [
        name for name in runs[0] if not several or (name not in _COMPARED and len({run[name] for run in runs}) == 1)
    ]
    pairs = (
        element("div", element("dt", name), element("dd", run_text(value)))
        for name in common
        if (value := runs[0][name])
    )
    listed = element("dl", pairs, class_="facts")
    if not several:
        return listed
    heads = ["run", *(name for name in runs[0] if name not in ("run", *common))]
    rows = ([element("bdi", run[name] or units.DASH) for name in heads] for run in runs)
    return join(listed, element("div", table("", heads, rows, kind="texts"), class_="runs"))


def _facts_of(report: Report, run: RunFacts, is_only: bool, *, shares_name: bool) -> dict[str, str | None]:
    """The facts of a run by name, first from its records: its settings do not know what an adaptive run chose.

    The records of runs of the same name, in several logs, cannot be distinguished; they have the facts of the settings.
    """
    rows = [] if shares_name else _rows_of(report, run, is_only)
    splits = _splits(rows)
    return {
        "model": run.model,
        "images": run.images,
        "date": _date(rows, run),
        "cut": _cut(splits["cut"], run.cut),
        "codec": splits["codec"] or run.codec,
        "tail": splits["tail"] or run.tail,
        "labels": _LABELS.get(run.labels or "", run.labels),
        "machine": run.machine,
        "run": run.run if shares_name else run.run_id or run.run,
        "bundle": run.bundle and run.bundle[:_HASH_LETTERS],
    } | ({} if is_only else _counts(rows))


def _rows_of(report: Report, run: RunFacts, is_only: bool) -> list[RunRow]:
    """The rows of a run: those with its name, or all rows of the only run, since older logs do not name it."""
    rows = [row for row in report["runs"] if row["run_id"] == run.run_id]
    return rows or (report["runs"] if is_only else [])


def _counts(rows: Sequence[RunRow]) -> dict[str, str | None]:
    """The figures of one run of several; those of a single run are on the cards."""
    labelled, correct = sum(row["labelled"] for row in rows), sum(row["correct"] for row in rows)
    return {
        "images counted": f"{sum(row['records'] for row in rows):,}" if rows else None,
        "accuracy": units.percent(correct / labelled) if labelled else None,
    }


def _splits(rows: Sequence[RunRow]) -> dict[str, str | None]:
    return {
        "cut": _join_names(row["cut"] for row in rows),
        "codec": _join_names(row["codec"] for row in rows),
        "tail": _join_names(row["tail"] for row in rows),
    }


def _cut(logged: str | None, named: str | None) -> str | None:
    """The cut in the log, with the name in the settings where it is another: `c010, add_1`."""
    return f"{logged}, {named}" if logged and named and logged != named else logged or named


def _join_names(names: Iterable[str | None]) -> str | None:
    """The distinct names, at most `_MAX_NAMES`; None if there is none."""
    known = list(dict.fromkeys(name for name in names if name))
    more = f" and {len(known) - _MAX_NAMES} more" if len(known) > _MAX_NAMES else ""
    return ", ".join(known[:_MAX_NAMES]) + more or None


def _date(rows: Sequence[RunRow], run: RunFacts) -> str | None:
    """The minute of the run's start; for a run without this setting that of its first record."""
    started = min((row["first_started_at"] for row in rows if row["first_started_at"]), default=None)
    for text in (run.created_at, started):
        try:
            moment = datetime.fromisoformat(text or "")
        except ValueError:
            continue
        return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".strip()
    return None
