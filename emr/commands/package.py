"""`hybrid-batch emr package`: the archives a job needs, as files."""

from pathlib import Path

import click

from hybrid_batch.data.terminal.local_path import LocalPath


@click.command("package", short_help="Make the archives that `submit` uploads.")
@click.option(
    "--arch",
    "architectures",
    type=click.Choice(["x86_64", "arm64"]),
    multiple=True,
    default=["x86_64", "arm64"],
    show_default=True,
    help="Processor of the machines; may be repeated.",
)
@click.option(
    "-o",
    "--output",
    type=LocalPath(file_okay=False),
    default=Path("emr-package"),
    show_default=True,
    help="Folder to write them to.",
)
def package(architectures: tuple[str, ...], output: Path) -> None:
    """Make the archives that `submit` uploads, to look at or to use by hand.

    One of libraries for each processor, and one of our own code, for Python 3.11. Unpacked beside a process they
    go on its PYTHONPATH; no Docker is needed to make them, and nothing in them points to this machine.

    \b
    Example:
      hybrid-batch emr package --arch arm64 -o ./package
    """
    import shutil

    from hybrid_batch.data.errors import PackageFailed
    from hybrid_batch.emr.packaging.code import code_archive
    from hybrid_batch.emr.packaging.environment import build_environment

    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "code.zip").write_bytes(code_archive())
        made = [output / "code.zip"]
        for architecture in architectures:
            made.append(output / f"environment-{architecture}.zip")
            shutil.copyfile(build_environment(architecture), made[-1])
    except OSError as error:
        raise PackageFailed(f"Cannot write to {output}: {error.strerror}; choose another folder.") from error
    for path in made:
        click.echo(f"{path}\t{path.stat().st_size / 1e6:.1f} MB")
