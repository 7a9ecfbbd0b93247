"""The file of a report page, which an older page keeps until the new one is whole."""

from pathlib import Path

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.storage.open_storage import open_file
from hybrid_batch.jobs.output.replaced_file import replaced_file


def write_page(page: str, output: str) -> None:
    """Write the page to a local file, as `replaced_file` does, or to an s3:// object.

    Raises WrongUsage for a folder, StorageFailed."""
    data = page.encode()
    if "://" in output:
        storage, name = open_file(output)
        storage.replace(name, data)
        return
    path = Path(output)
    if path.is_dir():
        raise WrongUsage(f"{output} is a folder; give the name of a file for the page.")
    with replaced_file(path) as file:
        file.write(data)
