"""A plan step that uploads an object unless it exists, and refuses an existing object with another content."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.data.storage.s3_storage import S3Storage


@dataclass(frozen=True, slots=True)
class EnsureObject:
    """An object that must exist at `uri` (s3://…). `size` is in bytes, None until `content` has been built."""

    uri: str
    content: Callable[[], bytes] = field(repr=False, compare=False)
    size: int | None

    @classmethod
    def of(cls, uri: str, content: bytes) -> "EnsureObject":
        return cls(uri, lambda: content, len(content))

    def apply(self) -> None:
        """Write the object unless it exists. Raises StorageFailed, also for an existing object that differs, and
        PackageFailed."""
        folder, _, name = self.uri.rpartition("/")
        storage, content = S3Storage.open(folder), self.content()
        if any(entry.name == name for entry in storage.list_files(name)) or not storage.write_once(
            name, content, hashed=True
        ):
            digest = hashlib.sha256(content).hexdigest()
            if (found := storage.sha256(name)) != digest:
                raise StorageFailed(
                    f"{self.uri} has the SHA-256 {found[:16]}…, and the content of this machine {digest[:16]}…; find "
                    "out who wrote it, delete it and repeat the command."
                )

    def describe(self) -> dict[str, Any]:
        return {"do": "upload unless it exists", "to": self.uri, "bytes": self.size}
