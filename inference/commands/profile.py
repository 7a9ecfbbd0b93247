"""`hybrid-batch profile`: what this machine, the tail and the link do with a model, measured."""

from typing import TYPE_CHECKING

import click

from hybrid_batch.data.terminal.numbers import figure
from hybrid_batch.inference.commands.tail_options import tail_options

if TYPE_CHECKING:
    from hybrid_batch.inference.planner.profile.profile import Profile


@click.command("profile", short_help="Measure this machine, a tail and the link between.")
@click.argument("model", default="digits")
@tail_options("A tail to measure too, with the link to it")
@click.option("--images", metavar="DIR", help="Pictures to measure with.  [default: one that is made up]")
@click.option("--batch-size", type=click.IntRange(1, 1024), default=32, show_default=True)
@click.option("--engine", type=click.Choice(["openvino", "tensorflow"]), default="openvino", show_default=True)
@click.option("--fresh", is_flag=True, help="Measure again even if a profile is kept.")
@click.option("--json", "as_json", is_flag=True, help="The profile as one JSON object on stdout.")
def command(  # one parameter an option
    *,
    model: str,
    tail: str | None,
    spill: str | None,
    token_file: str | None,
    images: str | None,
    batch_size: int,
    engine: str,
    fresh: bool,
    as_json: bool,
) -> None:
    """Measure how fast MODEL runs here and, with --tail, there and over the link between; kept for later plans.

    Heads are timed whole, as many as it takes to tell the others from them within the error that is printed. It takes
    up to a minute for a new model and seconds afterwards.

    \b
    Example:
      hybrid-batch profile app:MobileNetV2 --tail http://127.0.0.1:8000
    """
    from contextlib import nullcontext

    from hybrid_batch.data.images.images import find_images
    from hybrid_batch.inference.model.importing.resolve_model import open_model
    from hybrid_batch.inference.model.runtimes import open_engine
    from hybrid_batch.inference.planner.profile.profile_store import open_profile
    from hybrid_batch.inference.planner.profile.target import Subject
    from hybrid_batch.inference.tails import measuring_patience, open_tail, public_address
    from hybrid_batch.inference.tails.settings import TailSettings

    bundle = open_model(model, _say)
    compiler = open_engine(engine, bundle)
    found = find_images(images) if images else None
    settings = TailSettings(patience=measuring_patience(tail or ""), spill=spill, token_file=token_file, say=_say)
    with open_tail(tail, bundle, compiler, settings) if tail else nullcontext() as opened:
        subject = Subject(bundle, compiler, opened, public_address(tail or ""), batch_size, found)
        profile = open_profile(subject, _say, fresh=fresh)
    if as_json:
        import json

        click.echo(json.dumps(profile.to_dict()))
    else:
        _print(bundle.name, profile)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _print(name: str, profile: "Profile") -> None:
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
    table.add_row(
        "machine",
        f"{device.processor}, {device.cores} cores{clock}, {device.memory_bytes / 2**30:.1f} GiB{busy}{battery}",
    )
    table.add_row(
        "a picture", f"{profile.pictures.bytes:,.0f} bytes, {profile.pictures.decode_us / 1000:.2f} ms to decode"
    )
    for batch, curve in profile.times.items():
        table.add_row(f"batch {batch}", f"{figure(curve.points[-1][1] / 1000)} ms an image, the whole model here")
    timed = len(next(iter(profile.times.values())).points) - 1
    table.add_row("heads timed", f"{timed}; the others told from them within {profile.error:.1%} of the whole")
    if profile.tail is not None:
        for batch, curve in profile.tail.times.items():
            table.add_row(
                f"tail, batch {batch}", f"{figure(curve.points[-1][1] / 1000)} ms an image, the whole model there"
            )
        link = profile.tail.link
        table.add_row("link", f"{link.told}, round trip {figure(link.round_trip_us / 1000)} ms")
        if profile.tail.shares_cores:
            table.add_row("note", "the tail works on this machine's own cores")
        for note in profile.tail.notes:
            table.add_row("note", note)
    console.print(table)
