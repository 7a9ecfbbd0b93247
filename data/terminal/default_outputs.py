"""Default outputs in the working folder, which may be a clone of a stranger's repository."""

from pathlib import Path

from hybrid_batch.data.errors import WrongUsage


def check_default(output: str | Path, option: str) -> None:
    """Raise WrongUsage if a default output is a symbolic link, whose target the user has not named, or a pipe or a
    device, which may have no reader. `option` is the one that names an output."""
    path = Path(output)
    if path.is_symlink():
        raise WrongUsage(
            f"{path} is a symbolic link to {str(path.readlink())!r}, and nothing is written through a link with a "
            f"default name; name its target with {option}."
        )
    if path.exists() and not path.is_file() and not path.is_dir():
        raise WrongUsage(f"{path} is a pipe or a device; remove it, or name another output with {option}.")
