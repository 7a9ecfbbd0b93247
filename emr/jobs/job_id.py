"""The name of a submitted job: `j-CLUSTER/s-STEP`, or `APPLICATION/JOBRUN` on EMR Serverless."""

import re
from dataclasses import dataclass

from hybrid_batch.data.errors import WrongUsage

_STEP = re.compile(r"j-[A-Z0-9]+/s-[A-Z0-9]+")
_JOB_RUN = re.compile(r"[0-9a-z]{16}/[0-9a-z]{16}")


@dataclass(frozen=True, slots=True)
class Handle:
    """`place` is the cluster or application, `work` the step or job run."""

    place: str
    work: str

    @classmethod
    def parse(cls, text: str) -> "Handle":
        """The handle as `hybrid-batch emr submit` printed it. Raises WrongUsage."""
        if not (_STEP.fullmatch(text) or _JOB_RUN.fullmatch(text)):
            raise WrongUsage(
                f"{text!r} names no job on EMR; give j-CLUSTER/s-STEP or APPLICATION/JOBRUN, as "
                "`hybrid-batch emr submit` printed it."
            )
        return cls(*text.split("/"))

    @property
    def serverless(self) -> bool:
        return not self.place.startswith("j-")

    def __str__(self) -> str:
        return f"{self.place}/{self.work}"
