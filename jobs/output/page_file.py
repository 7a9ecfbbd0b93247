"""The file of a report page, which an older page keeps until the new one is whole."""

from pathlib import Path

from hybrid_batch.data.errors import StorageFailed, WrongUsage
from hybrid_batch.data.storage.open_storage import open_file


def write_page(page: str, output: str) -> None:
    """Write the page to a local file or s3:// object.

    An existing file is replaced at once, after the new one is written beside it and synchronised; a link keeps its
    name. Devices and pipes are written directly. Raises WrongUsage for a folder, StorageFailed."""
    data = page.encode()
    if "://" not in output:
        path = Path(output)
        if path.is_dir():
            raise WrongUsage(f"{output} is a folder; give the name of a file for the page.")
        if _is_device(path):
            _write_to_device(path, data)
            return
        output = str(path.resolve())
    storage, name = open_file(output)
    storage.replace(name, data)


def _is_device(path: Path) -> bool:
    # What /dev/stdout leads to may be a regular file, whose name the shell, not this program, has to keep.
    return path.parts[:2] in (("/", "dev"), ("/", "proc")) or (path.exists() and not path.is_file())


def _write_to_device(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise StorageFailed(f"Cannot write the report to {path}: {error.strerror}; choose another file.") from error
