"""The plan: everything a submission will do that changes or costs something, as a list; printed, or carried out."""

from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.aws.aws_client import Call
from hybrid_batch.data.storage.ensure_object import Upload


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
