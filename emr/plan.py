"""The plan: everything a submission will do that changes or costs something, as a list; printed, or carried out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from data.aws_api import Call
from data.storage import open_file


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


@dataclass(frozen=True, slots=True)
class Plan:
    """The uploads, then the one call that starts the job; and in words what of it costs money."""

    uploads: list[Upload]
    call: Call
    costs: list[str]

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        steps = [*(upload.describe() for upload in self.uploads), self.call.describe()]
        return {"plan": steps, "costs": self.costs}

    def upload(self) -> None:
        """Carry out the uploads; the call is the submission's, which must see to it that it happens once."""
        for upload in self.uploads:
            upload.carry_out()
