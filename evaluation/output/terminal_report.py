"""A report as text and tables in a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.evaluation.output import terminal_tables, units
from hybrid_batch.evaluation.report_schema import DEFAULT_SLICES, LATENCY_PARTS, STAGE_NOTE, Report, Slice

if TYPE_CHECKING:
    from rich.console import Console

_FEW_RECORDS = 5  # of the largest value: below it a table of values shows single images
_NOT_PRINTED = ("label", "prediction")  # the tables of classes and of the confusion have them


def print_report(report: Report, console: "Console | None" = None) -> None:
    """Print the headline numbers, failures, the confusion matrix (or the worst confusions), the times by cut, and the
    slices. Without labels the predictions take the place of the confusions.

    The default console is standard output."""
    from hybrid_batch.data.terminal.console import open_console

    console = console or open_console()

    def print_line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    for line in _headline(report):
        print_line(line)
    if report["failures"]:
        print_line(f"\n{_failures_title(report)}")
        console.print(terminal_tables.failures(report["failures"]))
    if report["confusion"]["records"]:
        console.print(terminal_tables.measures(report["headline"], len(report["per_class"])))
        title, table = terminal_tables.confusion(report["confusion"], console)
        print_line(f"\n{title}")
        if table.row_count:
            console.print(table)
        if len(report["per_class"]) <= terminal_tables.MAX_CLASSES:
            print_line("\nclasses")
            console.print(terminal_tables.classes(report["per_class"]))
    elif predictions := [entry for entry in report["slices"]["prediction"] if entry["value"] is not None]:
        print_line(f"\n{_predictions_title(len(predictions))}")
        console.print(terminal_tables.predictions(predictions))
    _print_costs(report, console)
    for by, slices in report["slices"].items():
        if (len(slices) > 1 and by not in _NOT_PRINTED) or (slices and by not in DEFAULT_SLICES):
            few = max(entry["records"] for entry in slices) < _FEW_RECORDS
            print_line(f"\nby {by}{_about_slices(len(slices), few)}")
            if not few:
                console.print(terminal_tables.slices(by, slices))
    for note in (*report["notes"], *report["bad_parts"]):
        print_line(f"\nNote: {note}")


def _headline(report: Report) -> Iterator[str]:
    coverage, accuracy = report["coverage"], report["headline"]["accuracy"]
    if accuracy["value"] is not None:
        correct = sum(row["correct"] for row in report["per_class"])
        of = f"{correct:,} of {coverage['labelled']:,}"
        yield f"accuracy    {accuracy['value']:.4f} ({of}), 95 % {units.ends(accuracy)}"
    yield (
        f"records     {coverage['records']:,}: {coverage['labelled']:,} classified with a label, "
        f"{coverage['unlabelled']:,} classified without a label, {coverage['errors']:,} failed"
    )
    speed = report["throughput"]["images_per_s"]
    if speed is not None:
        images = "classified images" if coverage["errors"] else "images"
        yield f"throughput  {speed:,.1f} {images}/s over {report['throughput']['active_s']:,.1f} s"
    mean = report["confidence"]["mean"]
    if mean is not None:
        yield f"confidence  {mean:.4f} on average"
    ece, null = (report["calibration"]["equal_width"][name] for name in ("ece", "ece_null_p95"))
    if ece is not None and null is not None:
        verdict = "no miscalibration is detected" if ece <= null else "the confidences are miscalibrated"
        yield f"calibration error {ece:.4f}; perfect calibration would show up to {null:.4f}: {verdict}"


def _failures_title(report: Report) -> str:
    errors, listed = report["coverage"]["errors"], len(report["failures"])
    which = f"; reasons of the first {listed:,} by name" if listed < errors else ""
    return f"failed: {format_count(errors, 'image')}{which}"


def _predictions_title(classes: int) -> str:
    shown = min(classes, terminal_tables.MAX_PREDICTIONS)
    return f"predictions: the {shown} most frequent of {format_count(classes, 'predicted class', 'predicted classes')}"


def _print_costs(report: Report, console: "Console") -> None:
    """The bytes and times of each cut, and what the times mean."""
    cuts = report["slices"]["cut"]
    for cut in cuts:
        console.print(f"\n{_cut_title(cut)}", markup=False, soft_wrap=True)
        if cut["records"] > cut["errors"]:
            console.print(terminal_tables.times(cut["stages"]))
        if cut["accounted"] is not None:
            parts = sum(cut["stages"][part]["mean_us"] for part in LATENCY_PARTS)
            mean = units.duration(cut["stages"]["latency"]["mean_us"])
            line = (
                f"stages and waits add up to {units.duration(parts)}, {cut['accounted']:.1%} of the latency of {mean}"
            )
            console.print(line, markup=False, soft_wrap=True)
    if any(cut["records"] > cut["errors"] for cut in cuts):
        console.print(STAGE_NOTE, markup=False, soft_wrap=True)


def _cut_title(cut: Slice) -> str:
    records = cut["records"] - cut["errors"]
    title = f"cut {terminal_tables.value_text(cut)}: {format_count(records, 'record')}"
    if not records:
        return title
    title += f", {units.byte_size(cut['cut_bytes'])} at the cut"
    if cut["cut_share"] is not None:
        title += f", {cut['cut_share']:.1%} of the {units.byte_size(cut['image_bytes'])} of the images"
    if not cut["sent_bytes"]:
        return f"{title}; nothing sent over a network"
    sent, received = (units.byte_size(cut["sent_bytes"]), units.byte_size(cut["received_bytes"]))
    return f"{title}; {sent} sent over a network, {received} received"


def _about_slices(count: int, few: bool) -> str:
    if few:
        return f": {count:,} values with fewer than {_FEW_RECORDS} records each; report.json has them"
    shown = terminal_tables.MAX_SLICES
    return f", the {shown} with most records of {count:,}" if count > shown else ""
