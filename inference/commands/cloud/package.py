"""`hybrid-batch cloud package`: the tail of a model, ready for AWS Lambda or for a container."""

from pathlib import Path

import click

from hybrid_batch.data.terminal.local_path import LocalPath


@click.command("package", short_help="Package a model's tail for Lambda or a container.")
@click.argument("model", default="digits")
@click.option(
    "--target",
    type=click.Choice(["lambda-zip", "lambda-image", "container"]),
    default="lambda-zip",
    show_default=True,
    help="A zip for Lambda, or a folder for `docker build`: an image for Lambda, or one that serves over HTTP.",
)
@click.option(
    "--arch", "architecture", type=click.Choice(["x86_64", "arm64"]), default="x86_64", show_default=True,
    help="Processor of the machines.",
)  # fmt: skip
@click.option(
    "--python", type=click.Choice(["3.11", "3.12"]), default="3.12", show_default=True,
    help="Python of the machines; Lambda's 3.11 has a system too old for the libraries.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=LocalPath(), metavar="PATH",
    help="Where to write it; by default MODEL-TARGET-ARCH here.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def package(model: str, *, target: str, architecture: str, python: str, output: Path | None, as_json: bool) -> None:
    """Package the tail of MODEL with all it needs: libraries, our code and the bundle.

    The libraries are fetched by pip for the machines that will run them, so neither Docker nor such a machine is
    needed; they are kept in the user's cache. Equal content gives equal bytes.

    \b
    Example:
      hybrid-batch cloud package digits --target lambda-zip --arch arm64 -o digits.zip
    """
    import json
    from dataclasses import asdict

    from hybrid_batch.inference.cloud.packaging.package import PackageSettings, make_package
    from hybrid_batch.inference.model.importing.resolve_model import open_model

    def say(line: str) -> None:
        click.echo(line, err=True)

    settings = PackageSettings(open_model(model, say), target, architecture, python)
    made = make_package(settings, output or Path(settings.name))
    if not made.compiled:
        say(f"There is no python{python} here to compile the code with; it will start about 0.3 s later for that.")
    if as_json:
        click.echo(json.dumps(asdict(made) | {"path": str(made.path), "runtime": made.runtime}))
    else:
        click.echo(f"{made.path}\t{made.unpacked_bytes / 1e6:.1f} MB unpacked\t{made.runtime}, {made.architecture}")
