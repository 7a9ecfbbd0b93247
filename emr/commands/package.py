"""`hybrid-batch emr package`: write the archives that a job needs."""

from pathlib import Path

import click

from hybrid_batch.data.terminal.local_path import LocalPath
from hybrid_batch.data.terminal.messages import print_line


@click.command("package", short_help="Write the archives that `submit` uploads.")
@click.option(
    "--arch",
    "architectures",
    type=click.Choice(["x86_64", "arm64"]),
    multiple=True,
    default=["x86_64", "arm64"],
    show_default=True,
    help="Architecture of the machines; may be repeated.",
)
@click.option(
    "-o",
    "--output",
    type=LocalPath(file_okay=False),
    default=Path("emr-package"),
    show_default=True,
    help="Output folder.",
)
def package(architectures: tuple[str, ...], output: Path) -> None:
    """Write the archives that `submit` uploads, to inspect them or to use them by hand.

    There is one archive of libraries per architecture, and one of this program's code, for Python 3.11. Unpack them
    and put them on PYTHONPATH. Docker is not needed, and the archives contain no link to this machine.

    \b
    Example:
      hybrid-batch emr package --arch arm64 -o ./package
    """
    import shutil

    from hybrid_batch.data.errors import PackageFailed
    from hybrid_batch.emr.packaging.archives import build_environment, code_archive

    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "code.zip").write_bytes(code_archive())
        paths = [output / "code.zip"]
        for architecture in architectures:
            paths.append(output / f"environment-{architecture}.zip")
            shutil.copyfile(build_environment(architecture), paths[-1])
    except OSError as error:
        raise PackageFailed(f"Cannot write to {output}: {error.strerror}; choose another folder.") from error
    for path in paths:
        print_line(f"{path}\t{path.stat().st_size / 1e6:.1f} MB")
