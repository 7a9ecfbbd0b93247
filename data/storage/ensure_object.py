"""An object that must stand in S3, as a step of a plan."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hybrid_batch.data.storage.storage import open_file


@dataclass(frozen=True, slots=True)
class Upload:
    """An object that must stand in S3. `size` in bytes is None while `content` has not been made."""

    uri: str
    content: Callable[[], bytes] = field(repr=False, compare=False)
    size: int | None

    @classmethod
    def of(cls, uri: str, content: bytes) -> "Upload":
        return cls(uri, lambda: content, len(content))

    def carry_out(self) -> None:
        """Write the object unless it stands: names say the content. Raises StorageFailed, PackageFailed."""
        storage, name = open_file(self.uri)
        if not any(entry.name == name for entry in storage.entries(name)):
            storage.write_once(name, self.content())

    def describe(self) -> dict[str, Any]:
        return {"do": "upload unless it stands", "to": self.uri, "bytes": self.size}
