"""`hybrid-batch import`: a TensorFlow model to a bundle."""

from pathlib import Path
from typing import Any

import click

from hybrid_batch.data.terminal.local_path import LocalPath


class ImageSize(click.ParamType):  # type: ignore[type-arg]
    """`224` or `224x160`: height and width in pixels."""

    name = "HEIGHTxWIDTH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:  # noqa: ANN401
        """Both sides, as integers."""
        if isinstance(value, tuple):
            return value
        sides = str(value).lower().split("x")
        if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
            self.fail(f"{value!r} is no size; write 224 or 224x160 (height x width).", param, ctx)
        return int(sides[0]), int(sides[-1])


@click.command("import", short_help="Import a model into a bundle.")
@click.argument("model")
@click.option("-o", "--output", type=LocalPath(), help="The bundle's folder.  [default: NAME.bundle here]")
@click.option(
    "--scale",
    type=click.Choice(["0-255", "0-1", "-1-1", "caffe", "torch"]),
    help="What the model expects of a pixel.  [default: known for app:NAME; 0-255 if the model rescales; else 0-1]",
)
@click.option(
    "--resize", type=click.Choice(["squash", "crop"]), default="squash", show_default=True, help="How to fit."
)
@click.option("--colour", type=click.Choice(["rgb", "bgr", "grey"]), help="Channel order.  [default: by the input]")
@click.option("--size", type=ImageSize(), help="Input size, for models that leave it open.")
@click.option(
    "--classes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Class names in the model's output order, one a line.  [default: 0, 1, 2, …]",
)
@click.option("--weights", default="none", show_default=True, metavar="none|imagenet|FILE", help="For app:NAME.")
@click.option("--trust-model", "trust", is_flag=True, help="Allow Lambda layers, which run the model author's Python.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@click.option("--json", "as_json", is_flag=True, help="Describe the bundle as JSON on stdout.")
def command(model: str, output: Path | None, force: bool, as_json: bool, **stated: Any) -> None:  # noqa: ANN401
    """Import MODEL into a bundle, the one form everything else works on.

    MODEL is a Keras .keras, .h5 or .hdf5 file (Keras 1, 2 or 3), a SavedModel folder, or app:NAME, a model of
    keras.applications. How its pictures are to be prepared is stated here, once.

    \b
    Example:
      hybrid-batch import emotions.hdf5 --scale -1-1 --classes emotions.txt -o emotions.bundle
    """
    import json

    from hybrid_batch.data.errors import WrongUsage
    from hybrid_batch.inference.model.bundle import is_bundle
    from hybrid_batch.inference.model.importing.importer import ImportSettings, import_model

    path = output or Path(f"{Path(model).stem.removeprefix('app:')}.bundle")
    if path.exists() and not (force and is_bundle(path)):
        word = "; add --force to replace it" if is_bundle(path) else " and is no bundle; choose another with -o"
        raise WrongUsage(f"{path} exists{word}.")
    imported = import_model(model, path, ImportSettings(**stated))
    bundle = imported.bundle
    for note in imported.notes:
        click.echo(f"Note: {note}", err=True)
    singles = sum(not cut.is_frontier for cut in bundle.cuts)
    if as_json:
        facts = {"bundle": str(path), "name": bundle.name, "sha256": bundle.sha256, "classes": len(bundle.labels)}
        click.echo(json.dumps(facts | {"cuts": singles, "frontiers": len(bundle.cuts) - singles}))
        return
    shape = "x".join(map(str, bundle.input.shape))
    click.echo(
        f"{path}: input {shape} {bundle.preparation.colour} {bundle.preparation.scale}, "
        f"{len(bundle.labels)} classes, {singles} cuts, sha256 {bundle.sha256[:12]}"
    )
