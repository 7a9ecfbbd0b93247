"""`hybrid-batch cuts`: where a model can be divided, and the proof that dividing changes nothing."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hybrid_batch.inference.model.cuts import Cut
    from hybrid_batch.inference.model.runtimes.verify import Verified


@click.command("cuts", short_help="List where a model can be cut.")
@click.argument("model", default="digits")
@click.option("--all", "with_frontiers", is_flag=True, help="Add the multi-tensor frontiers no single cut beats.")
@click.option("--verify", is_flag=True, help="Run head and tail against the whole model at every cut listed.")
@click.option("--engine", type=click.Choice(["openvino", "tensorflow"]), default="openvino", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
def command(model: str, with_frontiers: bool, verify: bool, engine: str, as_json: bool) -> None:
    """List the cuts of MODEL: id, name, boundary, bytes an image as they are, and the head's share of the work.

    With --verify the exit code is 1 if at any cut the split model and the whole one disagree on a class or differ
    by more than 1e-5.

    \b
    Example:
      hybrid-batch cuts app:MobileNetV2 --verify
    """
    import json

    from hybrid_batch.data.errors import HybridBatchError
    from hybrid_batch.inference.model.importing.resolve_model import open_model

    bundle = open_model(model, lambda line: click.echo(line, err=True))
    cuts = [cut for cut in bundle.cuts if with_frontiers or not cut.is_frontier]
    verified = _verify(bundle, engine, cuts) if verify else {}
    rows = [_row(cut, verified.get(cut.id)) for cut in cuts]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        _print(bundle.name, rows)
    bad = [found for found in verified.values() if not found.holds]
    if bad:
        raise HybridBatchError(
            f"{len(bad)} of {len(cuts)} cuts change the result, {bad[0].cut.name} by {bad[0].largest:.2g};"
            " this is a defect, please report the model."
        )


def _verify(bundle: Any, engine: str, cuts: list["Cut"]) -> dict[str, "Verified"]:  # noqa: ANN401
    from rich.console import Console
    from rich.progress import track

    from hybrid_batch.inference.model.runtimes import open_engine
    from hybrid_batch.inference.model.runtimes.verify import verify_cuts

    results = verify_cuts(bundle, open_engine(engine, bundle, cached=False), cuts)
    console = Console(stderr=True)
    shown = track(results, "Verifying", total=len(cuts), console=console, disable=not console.is_terminal)
    return {verified.cut.id: verified for verified in shown}


def _row(cut: "Cut", verified: "Verified | None") -> dict[str, Any]:
    from hybrid_batch.inference.model.datatypes import NUMPY

    row: dict[str, Any] = {
        "id": cut.id,
        "name": cut.name,
        "boundary": [{"shape": tensor.shape, "datatype": tensor.datatype} for tensor in cut.boundary],
        "bytes": sum(tensor.elements * NUMPY[tensor.datatype].itemsize for tensor in cut.boundary),
        "head_share": round(cut.head_share, 6),
    }
    if verified is not None:
        row |= {"largest_difference": verified.largest, "same_top1": verified.same_top1}
    return row


def _print(name: str, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from hybrid_batch.data.terminal.console import open_console

    console = open_console()
    table = Table(title=f"{name}: {len(rows)} cuts", title_justify="left", box=None, header_style="bold")
    for heading, justify in (("id", "left"), ("name", "left"), ("boundary", "right"), ("bytes", "right")):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    table.add_column("head's work", justify="right")
    table.add_column("")
    if "largest_difference" in rows[0]:
        table.add_column("largest difference", justify="right")
        table.add_column("same top-1", justify="right")
    for row in rows:
        cells = [
            row["id"],
            row["name"],
            " + ".join("x".join(map(str, tensor["shape"])) for tensor in row["boundary"]),
            f"{row['bytes']:,}",
            f"{row['head_share']:.1%}",
            "█" * round(12 * row["head_share"]),
        ]
        if "largest_difference" in row:
            cells += [f"{row['largest_difference']:.1e}", f"{row['same_top1']:.0%}"]
        table.add_row(*cells)
    console.print(table)
