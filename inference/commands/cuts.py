"""`hybrid-batch cuts`: list the cuts of a model, and verify that cutting does not change its scores."""

from typing import TYPE_CHECKING, Any

import click

from hybrid_batch.data.terminal.messages import print_json, print_message
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.inference.commands.options import ModelReference, runtime_option

if TYPE_CHECKING:
    from hybrid_batch.inference.model.bundle import Bundle
    from hybrid_batch.inference.model.cuts import Cut
    from hybrid_batch.inference.model.runtimes.verify import CutCheck


_SHOWN_CLASSES = 10


@click.command("cuts", short_help="List the cuts of a model.")
@click.argument("model", type=ModelReference(), default="digits")
@click.option(
    "--multi-tensor", is_flag=True, help="Add multi-tensor cuts that are smaller than all earlier single-tensor cuts."
)
@click.option("--verify", is_flag=True, help="Compare head and tail with the whole model at every listed cut.")
@runtime_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list on stdout.")
def command(model: str, multi_tensor: bool, verify: bool, runtime: str, as_json: bool) -> None:
    """List the cuts of MODEL: id, name, boundary, uncompressed bytes per image, and the head's share of the work.

    With --verify the exit code is 1 if at any cut the scores of the split model differ from those of the whole model
    in the class or by more than 1e-5.

    \b
    Example:
      hybrid-batch cuts app:MobileNetV2 --verify
    """

    from hybrid_batch.data.errors import HybridBatchError
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model
    from hybrid_batch.inference.model.runtimes.verify import VERIFIED_IMAGES

    bundle = resolve_model(model, print_message)
    cuts = [cut for cut in bundle.cuts if multi_tensor or not cut.is_multi_tensor]
    checks = _verify(bundle, runtime, cuts) if verify else {}
    rows = [_row(cut, checks.get(cut.id)) for cut in cuts]
    _mark_smallest(rows)
    if as_json:
        print_json(rows, indent=1)
    else:
        _print_table(bundle, rows)
    if checks and not as_json and all(check.passed for check in checks.values()):
        largest = max(check.max_abs_error for check in checks.values())
        print_message(
            f"All {len(checks)} cuts give the scores of the whole model on {VERIFIED_IMAGES} random images; the "
            f"largest difference is {largest:.1e}."
        )
    if bad := [check for check in checks.values() if not check.passed]:
        raise HybridBatchError(
            f"{len(bad)} of {len(cuts)} cuts change the scores, {bad[0].cut.name} by {bad[0].max_abs_error:.2g}; "
            "please report this defect with the model."
        )


def _verify(bundle: "Bundle", runtime: str, cuts: list["Cut"]) -> dict[str, "CutCheck"]:
    from rich.progress import track

    from hybrid_batch.data.terminal.console import WideConsole
    from hybrid_batch.inference.model.runtimes import open_runtime
    from hybrid_batch.inference.model.runtimes.verify import verify_cuts

    checks = verify_cuts(bundle, open_runtime(runtime, bundle, cached=False), cuts)
    console = WideConsole(stderr=True)
    shown = track(checks, "Verifying", total=len(cuts), console=console, disable=not console.is_terminal)
    return {check.cut.id: check for check in shown}


def _row(cut: "Cut", check: "CutCheck | None") -> dict[str, Any]:
    from hybrid_batch.inference.model.datatypes import NUMPY_DTYPES

    row: dict[str, Any] = {
        "id": cut.id,
        "name": cut.name,
        "boundary": [{"shape": tensor.shape, "datatype": tensor.datatype} for tensor in cut.boundary],
        "bytes": sum(tensor.elements * NUMPY_DTYPES[tensor.datatype].itemsize for tensor in cut.boundary),
        "head_share": round(cut.head_share, 6),
    }
    if check is not None:
        row |= {"largest_difference": check.max_abs_error, "same_top1": check.same_top1}
    return row


def _mark_smallest(rows: list[dict[str, Any]]) -> None:
    """Mark the cuts that are smaller than every cut before them; no other cut sends less for less work in the head.

    The input cut is left out: image files cross it, not its tensor."""
    from hybrid_batch.inference.model.cuts import INPUT_CUT

    smallest = float("inf")
    for row in rows:
        row["smaller_than_all_before"] = row["id"] != INPUT_CUT and row["bytes"] < smallest
        if row["id"] == INPUT_CUT:
            continue
        smallest = min(smallest, row["bytes"])


def _print_table(bundle: "Bundle", rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from hybrid_batch.data.terminal.console import open_console

    console = open_console()
    table = Table(
        title=f"{bundle.name}: {format_count(len(rows), 'cut')}", title_justify="left", box=None, header_style="bold"
    )
    for heading, justify in (("id", "left"), ("name", "left"), ("boundary", "right"), ("bytes", "right")):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("head work", justify="right")
    table.add_column("")
    if "largest_difference" in rows[0]:
        table.add_column("largest difference", justify="right")
        table.add_column("same top-1", justify="right")
    for row in rows:
        cells = [
            f"{row['id']} {'*' if row['smaller_than_all_before'] else ''}".rstrip(),
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
    console.print(
        "* smaller than every cut before it except c000. bytes: the tensors in fp32; the default codec fp16 sends "
        "half, and --split remote sends the image files, not c000.",
        markup=False,
        soft_wrap=True,
    )
    console.print(_description(bundle), markup=False, soft_wrap=True)


def _description(bundle: "Bundle") -> str:
    """The input and the classes of a model on one line."""
    prepared, names = bundle.preprocessing, bundle.labels
    shown = ", ".join(names[:_SHOWN_CLASSES]) + (", …" if len(names) > _SHOWN_CLASSES else "")
    return (
        f"input {'x'.join(map(str, bundle.input.shape))} {prepared.colour}, scale {prepared.scale}, resize "
        f"{prepared.resize}; {format_count(len(names), 'class', 'classes')}: {shown}"
    )
