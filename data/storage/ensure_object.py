"""A plan step that uploads an object unless it exists."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hybrid_batch.data.storage.open_storage import open_file


@dataclass(frozen=True, slots=True)
class EnsureObject:
    """An object that must exist at `uri`. `size` is in bytes, None until `content` has been built."""

    uri: str
    content: Callable[[], bytes] = field(repr=False, compare=False)
    size: int | None

    @classmethod
    def of(cls, uri: str, content: bytes) -> "EnsureObject":
        return cls(uri, lambda: content, len(content))

    def apply(self) -> None:
        """Write the object unless it exists; its name identifies its content. Raises StorageFailed, PackageFailed."""
        storage, name = open_file(self.uri)
        if not any(entry.name == name for entry in storage.list_files(name)):
            storage.write_once(name, self.content())

    def describe(self) -> dict[str, Any]:
        return {"do": "upload unless it exists", "to": self.uri, "bytes": self.size}
