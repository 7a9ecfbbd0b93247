"""`hybrid-batch import`: import a TensorFlow model into a bundle."""

from pathlib import Path
from typing import Any

import click

from hybrid_batch.data.terminal.local_path import LocalPath
from hybrid_batch.data.terminal.messages import print_detail, print_json, print_line, print_note
from hybrid_batch.data.terminal.numbers import format_count
from hybrid_batch.inference.commands.options import ModelReference


class ImageSize(click.ParamType):  # type: ignore[type-arg]
    """`224`, `224x160` or `28x28x1`: height and width in pixels, and optionally the number of channels."""

    name = "HEIGHTxWIDTH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:  # noqa: ANN401
        """Return (height, width) in pixels, or (height, width, channels)."""
        if isinstance(value, tuple):
            return value
        sides = str(value).lower().split("x")
        if len(sides) > 3 or not all(side.isdecimal() and int(side) > 0 for side in sides):
            self.fail(
                f"{value!r} is not an image size; write 224, 224x160 (height x width) or 28x28x1 (with channels).",
                param,
                ctx,
            )
        return tuple(map(int, sides)) if len(sides) > 1 else (int(sides[0]), int(sides[0]))


@click.command("import", short_help="Import a model into a bundle.")
@click.argument("model", type=ModelReference())
@click.option("-o", "--output", type=LocalPath(), help="Folder of the bundle.  [default: ./NAME.bundle]")
@click.option(
    "--scale",
    type=click.Choice(["0-255", "0-1", "-1-1", "caffe", "torch"]),
    help="Scale of the pixels that the model expects.  [default: known for app:NAME; 0-255 if the model rescales; "
    "else 0-1]",
)
@click.option(
    "--resize",
    type=click.Choice(["squash", "crop"]),
    help="How to fit images to the input size.  [default: squash]",
)
@click.option(
    "--colour", type=click.Choice(["rgb", "bgr", "grey"]), help="Channel order.  [default: by the input's channels]"
)
@click.option("--size", type=ImageSize(), help="Input size, for models without a fixed one or with a flat input.")
@click.option(
    "--classes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the class names in the model's output order, one per line.  [default: 0, 1, 2, …]",
)
@click.option(
    "--weights", default="none", show_default=True, metavar="none|imagenet|FILE", help="Weights for app:NAME."
)
@click.option(
    "--trust-model",
    "trust",
    is_flag=True,
    help="Allow Lambda layers, which run the model author's Python, and all other classes and functions of a file.",
)
@click.option(
    "--max-memory-gb",
    type=click.FloatRange(1, 1024),
    default=16,
    show_default=True,
    help="Memory for the import, in GiB; a model needs about 20 times its weights.",
)
@click.option(
    "--max-time",
    type=click.FloatRange(1),
    default=900,
    show_default=True,
    metavar="SECONDS",
    help="Time for the import.",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print a description of the bundle as JSON on stdout.")
def command(model: str, output: Path | None, *, force: bool, as_json: bool, **stated: Any) -> None:  # noqa: ANN401
    """Import MODEL into a bundle, the format of all other commands.

    MODEL is a Keras file (.keras, .h5 or .hdf5 of Keras 1, 2 or 3), a SavedModel folder, or app:NAME for a model of
    keras.applications. The bundle stores how images are preprocessed. If MODEL is a bundle, --scale, --resize,
    --colour and --classes are set anew in a copy, without TensorFlow.

    TensorFlow runs in a process of its own, which has no network (but for --weights imagenet), reads only MODEL and
    libraries, and writes only its output; -v prints what the system enforces.

    \b
    Example:
      hybrid-batch import emotions.hdf5 --scale -1-1 --classes emotions.txt -o emotions.bundle
    """
    from hybrid_batch.data.errors import WrongUsage
    from hybrid_batch.data.terminal.default_outputs import check_default
    from hybrid_batch.inference.model.bundle import is_bundle
    from hybrid_batch.inference.model.importing.importer import ImportSettings
    from hybrid_batch.inference.model.importing.sandbox.isolated_import import import_isolated
    from hybrid_batch.inference.model.importing.sandbox.limits import GIBIBYTE, ImportLimits

    path = output or Path(f"{Path(model).stem.removeprefix('app:')}.bundle")
    if output is None:
        check_default(path, "--output")
    if path.exists() and not (force and is_bundle(path)):
        remedy = "; add --force to replace it" if is_bundle(path) else " and is not a bundle; choose another --output"
        raise WrongUsage(f"{path} exists{remedy}.")
    limits = ImportLimits(int(stated.pop("max_memory_gb") * GIBIBYTE), stated.pop("max_time"))
    imported = import_isolated(model, path, ImportSettings(**stated), limits)
    bundle, protections = imported.bundle, imported.protections
    if protections is not None:
        print_detail(protections.describe())
        if missing := protections.describe_missing():
            print_note(f"{missing}.")
    for note in imported.notes:
        print_note(f"{note}")
    if random := bundle.random_weights_note:
        print_note(random)
    singles = sum(not cut.is_multi_tensor for cut in bundle.cuts)
    if as_json:
        facts = {"bundle": str(path), "name": bundle.name, "sha256": bundle.sha256, "classes": len(bundle.labels)}
        facts |= {"cuts": singles, "multi_tensor_cuts": len(bundle.cuts) - singles}
        print_json(facts | {"protections": None if protections is None else protections.to_dict()})
        return
    shape = "x".join(map(str, bundle.input.shape))
    print_line(
        f"{path}: input {shape} {bundle.preprocessing.colour} {bundle.preprocessing.scale}, "
        f"{format_count(len(bundle.labels), 'class', 'classes')}, {format_count(singles, 'cut')}, "
        f"sha256 {bundle.sha256[:12]}"
    )
