"""`hybrid-batch profile`: measure a model on this machine, in the tail, and the link between them."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.messages import print_json, print_message
from hybrid_batch.data.terminal.numbers import format_count, format_number
from hybrid_batch.inference.commands.options import ModelReference, images_to_measure, runtime_option, tail_options

if TYPE_CHECKING:
    from hybrid_batch.inference.planner.profile.profile import Profile


@click.command("profile", short_help="Measure this machine, a tail and the link.")
@click.argument("model", type=ModelReference(), default="digits")
@tail_options("Tail to measure as well, with its link")
@click.option("--images", metavar="DIR", help="Images to measure with.  [default: those of digits; else a made-up one]")
@click.option("--batch-size", type=click.IntRange(1, 1024), default=32, show_default=True, help="Images in a batch.")
@runtime_option
@click.option("--remeasure", is_flag=True, help="Ignore the stored profile.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as one JSON object on stdout.")
def command(
    *,
    model: str,
    tail: str | None,
    spill: str | None,
    token_file: str | None,
    images: str | None,
    batch_size: int,
    runtime: str,
    remeasure: bool,
    as_json: bool,
) -> None:
    """Measure MODEL on this machine and, with --tail, in the tail and over the link; store the profile for plans.

    The command times some heads as a whole and interpolates the others, with the error that it prints. It takes up to
    a minute for a new model and seconds for a stored profile.

    \b
    Example:
      hybrid-batch profile app:MobileNetV2 --tail http://127.0.0.1:8000
    """
    from contextlib import nullcontext

    from hybrid_batch.data.images.images import find_images
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.model.runtimes import open_runtime
    from hybrid_batch.inference.planner.profile.profile_store import open_profile
    from hybrid_batch.inference.planner.profile.target import ProfileTarget
    from hybrid_batch.inference.tails import LOCAL, open_tail, redacted_address, tail_kind
    from hybrid_batch.inference.tails.settings import TailSettings

    bundle = resolve_model(model, print_message)
    opened_runtime = open_runtime(runtime, bundle)
    folder = images_to_measure(images, bundle)
    found = find_images(folder) if folder else None
    settings = TailSettings(
        retries=tail_kind(tail or LOCAL).profiling_retries, spill=spill, token_file=token_file, notify=print_message
    )
    with open_tail(tail, bundle, opened_runtime, settings) if tail else nullcontext() as opened_tail:
        target = ProfileTarget(bundle, opened_runtime, opened_tail, redacted_address(tail or ""), batch_size, found)
        profile = open_profile(target, print_message, remeasure=remeasure)
    if as_json:
        print_json(profile.to_dict())
    else:
        _print_table(bundle.name, profile)


def _print_table(name: str, profile: "Profile") -> None:
    from rich.table import Table

    from hybrid_batch.data.terminal.console import open_console

    device = profile.device
    console = open_console()
    table = Table(title=f"{name} on {device.name}", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    clock = f", {device.frequency_mhz:,.0f} MHz" if device.frequency_mhz else ""
    battery = f", battery {device.battery:.0f} %" if device.battery is not None else ""
    busy = f", load {device.load}" if device.load is not None else ""
    cores = format_count(device.cores, "core")
    table.add_row(
        "machine",
        f"{device.processor}, {cores}{clock}, {device.memory_bytes / 2**30:.1f} GiB{busy}{battery}",
    )
    table.add_row("image", f"{profile.images.bytes:,.0f} bytes, {profile.images.decode_us / 1000:.2f} ms to decode")
    for batch, curve in profile.times.items():
        table.add_row(
            f"batch {batch}", f"{format_number(curve.points[-1][1] / 1000)} ms per image, whole model on this machine"
        )
    timed = len(next(iter(profile.times.values())).points) - 1
    table.add_row(
        "heads timed",
        f"{timed}; the others are interpolated, with an error of up to {profile.interpolation_error:.1%} of the time "
        "of an image",
    )
    if profile.tail is not None:
        for batch, curve in profile.tail.times.items():
            table.add_row(
                f"tail, batch {batch}",
                f"{format_number(curve.points[-1][1] / 1000)} ms per image, whole model in the tail",
            )
        link = profile.tail.link
        table.add_row("link", f"{link.rate_text}, round trip {format_number(link.round_trip_us / 1000)} ms")
        if profile.tail.shares_cores:
            table.add_row("note", "the tail shares the cores of this machine")
        for note in profile.tail.notes:
            table.add_row("note", note)
    console.print(table)
