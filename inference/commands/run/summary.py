"""The summary of a run, from its log: the totals and the bundle. Nothing in it comes from the command that prints it,
except the options that were not applied."""

import shlex
from collections.abc import Mapping
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from hybrid_batch.data.log.records import LOCAL_CUT, STAGES, WAITS
from hybrid_batch.data.terminal.console import open_console
from hybrid_batch.data.terminal.numbers import format_number, format_percent
from hybrid_batch.inference.commands.run.run_images import RunResult
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import INPUT_CUT
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.runner.split import NO_CODEC
from hybrid_batch.inference.runner.totals import OTHER_REASONS, Totals
from hybrid_batch.inference.tails import LOCAL

_REASONS, _EVENTS = 3, 5
_PAIRS = ("ms an image", "ms waiting")
_UNUSED_LOCALLY = ("encode", "link", "queue", "tail", "encode_wait", "send_wait")
_UNUSED_IN_PROCESS = ("link", "queue")
_WAIT_NAMES = dict(zip(WAITS, ("batch", "head", "encode", "send"), strict=True))


def print_summary(result: RunResult) -> None:
    """Print the images, accuracy, splits, bytes and times of a run, and the next command, on stdout."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    console = open_console()
    for name, value in _rows(result):
        # A narrow terminal gets its line breaks between the stages, not between a stage and its time.
        keeps_pairs = console.is_terminal and name in _PAIRS
        table.add_row(name, " · ".join(map(_unbreakable, value.split(" · "))) if keeps_pairs else value)
    console.print(table)


def _unbreakable(words: str) -> str:
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def summary_facts(result: RunResult) -> dict[str, Any]:
    """The summary for --json: the totals, the run's folder, whether this user began it here, the accuracy, and the cut
    and codec; both are None when the images have several."""
    totals = result.totals
    labels = list(totals.cuts)
    cut, _, codec = labels[0].partition(" ") if len(labels) == 1 else (None, None, None)
    seconds = totals.active_s
    facts: dict[str, Any] = {
        "run": result.folder.uri,
        "own": result.own,
        "model": result.bundle.name,
        "bundle": result.bundle.sha256,
        "cut": cut,
        "codec": codec,
        "accuracy": totals.accuracy,
        "seconds": seconds,
        "images_per_s": (totals.images - totals.errors) / seconds if seconds else None,
    }
    if result.bundle.has_random_weights:
        facts["weights"] = "random"
    if skipped := result.images.skipped.to_dict():
        facts["skipped"] = skipped
    return facts | totals.to_dict() | {"not_applied": list(result.not_applied)}


def _rows(result: RunResult) -> list[tuple[str, str]]:
    """The names and values of the rows."""
    totals, bundle, uri = result.totals, result.bundle, result.folder.uri
    rows = [] if result.own else [("written by", "another user or machine, at least in part")]
    rows.append(("images", _images(totals)))
    if totals.errors:
        rows.append(("errors", _errors(totals)))
    if skipped := str(result.images.skipped):
        rows.append(("skipped", skipped))
    rows.append(("model", f"{bundle.name} {bundle.sha256[:12]}"))
    if bundle.has_random_weights:
        rows.append(("weights", f"random: the predictions of {bundle.name} mean nothing"))
    if totals.accuracy is not None:
        rows.append(("accuracy", f"{totals.accuracy:.4f} ({totals.correct:,} of {totals.labelled:,} labelled)"))
    rows.append(("cut", _cuts(bundle, totals)))
    if totals.reason:
        rows.append(("why", totals.reason))
    rows += [("event", line) for line in totals.events[:_EVENTS]]
    if len(totals.events) > _EVENTS:
        rows.append(("event", f"and {len(totals.events) - _EVENTS} more, which --json lists"))
    if totals.images > totals.errors and not _is_local(totals):
        share = totals.cut_bytes / totals.image_bytes if totals.image_bytes else 0
        of_files = f"{format_number(share)} x the files' {decimal(totals.image_bytes)}"
        rows.append(("at the cut", f"{decimal(totals.cut_bytes)}, {of_files}"))
        rows.append(("network", _network(totals)))
    rows += _times(totals)
    rows += [("not applied", text) for text in result.not_applied]
    rows += [("log", uri), ("evaluate", f"hybrid-batch evaluate {shlex.quote(uri)}")]
    return rows


def _images(totals: Totals) -> str:
    """The number of images, and the rate of those with a prediction, as the evaluation has it."""
    seconds = totals.active_s
    if not seconds:
        return f"{totals.images:,}"
    rate = format_number((totals.images - totals.errors) / seconds)
    return f"{totals.images:,} in {format_number(seconds)} s, {rate} {'classified ' if totals.errors else ''}images/s"


def _errors(totals: Totals) -> str:
    """The number of images without a prediction, and the most frequent reasons."""
    counts = {reason: count for reason, count in totals.error_reasons.items() if reason != OTHER_REASONS}
    first = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_REASONS]
    named = [f"{count:,} x {reason}" for reason, count in first]
    if named and (rest := totals.errors - sum(count for _, count in first)):
        named.append(f"{rest:,} x other reasons")
    return f"{totals.errors:,}: {' · '.join(named)}" if named else f"{totals.errors:,}"


def _cuts(bundle: Bundle, totals: Totals) -> str:
    """The split and the tails of all images, or the share of the images with each split."""
    tails = " and ".join(sorted(tail for tail in totals.tails if tail != LOCAL)) or "this process"
    if len(totals.cuts) != 1:
        shares = ((label, count / max(1, totals.images)) for label, count in sorted(totals.cuts.items()))
        return f"{' · '.join(_share(bundle, label, share) for label, share in shares)}; tail in {tails}"
    name, _, codec = next(iter(totals.cuts)).partition(" ")
    if name == LOCAL_CUT:
        return "local: the whole model ran on this machine"
    cut = bundle.cut(name)
    if name == INPUT_CUT:
        sent = "the image files" if codec in codecs.IMAGE_CODECS else "the input tensors"
        return f"remote: {sent} crossed in codec {codec}, and the whole model ran in {tails}"
    return f"{cut.id} {cut.name}, {cut.head_share:.1%} of the work in the head, codec {codec}, tail in {tails}"


def _share(bundle: Bundle, label: str, share: float) -> str:
    """The share of the images whose record has the cut and codec of `label`."""
    cut, _, codec = label.partition(" ")
    if cut == LOCAL_CUT:
        return f"{format_percent(share)} local"
    if cut == INPUT_CUT and codec in codecs.IMAGE_CODECS:
        return f"{format_percent(share)} upload" + ("" if codec == codecs.IMAGE else f" {codec}")
    return f"{format_percent(share)} {cut} {bundle.cut(cut).name} in {codec}"


def _network(totals: Totals) -> str:
    if set(totals.tails) <= {LOCAL}:
        return "nothing sent: head and tail ran in one process"
    return f"{decimal(totals.sent_bytes)} sent, {decimal(totals.received_bytes)} received"


def _times(totals: Totals) -> list[tuple[str, str]]:
    """The mean times of an image in ms; with the waiting, the parts add up to the latency. Stages that no image of the
    run passed are left out."""
    count = totals.images - totals.errors
    if not count:
        return []
    unused = _UNUSED_LOCALLY if _is_local(totals) else _UNUSED_IN_PROCESS if set(totals.tails) <= {LOCAL} else ()

    def means(times_us: dict[str, int], names: Mapping[str, str]) -> str:
        used = {key: name for key, name in names.items() if key not in unused}
        return " · ".join(f"{name} {times_us[key] / count / 1000:.2f}" for key, name in used.items())

    latency = f"{totals.stages_us['latency'] / count / 1000:.2f}"
    parts = {stage: stage for stage in STAGES[:-1]}
    work = sum(totals.stages_us[stage] for stage in parts)
    if not totals.waits_us:
        return [("ms an image", f"{means(totals.stages_us, parts)} · latency {latency}, with waiting")]
    waiting = sum(totals.waits_us.values())
    return [
        ("ms an image", f"{means(totals.stages_us, parts)} = {work / count / 1000:.2f} (of its batch, divided)"),
        ("ms waiting", f"{means(totals.waits_us, _WAIT_NAMES)} = {waiting / count / 1000:.2f}"),
        ("ms latency", f"{latency}, the sum of both; all are means"),
    ]


def _is_local(totals: Totals) -> bool:
    """Whether this machine computed the whole model for every image."""
    return set(totals.cuts) == {f"{LOCAL_CUT} {NO_CODEC}"}
