"""`hybrid-batch cloud package`: package the tails of a model for AWS Lambda or for a container."""

from pathlib import Path

import click

from hybrid_batch.data.terminal.local_path import LocalPath
from hybrid_batch.data.terminal.messages import print_json, print_line, print_message
from hybrid_batch.inference.commands.options import ModelReference


@click.command("package", short_help="Package a model's tail for Lambda or a container.")
@click.argument("model", type=ModelReference(), default="digits")
@click.option(
    "--target",
    type=click.Choice(["lambda-zip", "lambda-image", "container"]),
    default="lambda-zip",
    show_default=True,
    help="A zip for Lambda, or a folder for `docker build`: an image for Lambda, or one that runs the commands.",
)
@click.option(
    "--arch", "architecture", type=click.Choice(["x86_64", "arm64"]), default="x86_64", show_default=True,
    help="Processor architecture.",
)  # fmt: skip
@click.option(
    "--python", type=click.Choice(["3.11", "3.12"]), default="3.12", show_default=True,
    help="Python version; on Lambda 3.12, because the system of 3.11 is too old for the libraries.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=LocalPath(), metavar="PATH",
    help="Zip or folder to write.  [default: ./MODEL-TARGET-ARCH]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def package(model: str, *, target: str, architecture: str, python: str, output: Path | None, as_json: bool) -> None:
    """Package the tails of MODEL: libraries, code and bundle.

    pip downloads the libraries for the target processor and Python version, so packaging needs neither Docker nor a
    machine of that kind; the libraries are cached. Equal content gives equal bytes.

    \b
    Example:
      hybrid-batch cloud package digits --target lambda-zip --arch arm64 -o digits.zip
    """
    from dataclasses import asdict

    from hybrid_batch.data.terminal.default_outputs import check_default
    from hybrid_batch.inference.cloud.packaging.package import PackageSettings, build_package
    from hybrid_batch.inference.model.importing.resolve_model import resolve_model

    settings = PackageSettings(resolve_model(model, print_message), target, architecture, python)
    if output is None:
        check_default(settings.name, "--output")
    made = build_package(settings, output or Path(settings.name))
    if not made.compiled:
        print_message(f"No python{python} to compile the code with was found; the package starts about 0.3 s slower.")
    if as_json:
        print_json(asdict(made) | {"path": str(made.path), "runtime": made.runtime})
    else:
        print_line(f"{made.path}\t{made.unpacked_bytes / 1e6:.1f} MB unpacked\t{made.runtime}, {made.architecture}")
