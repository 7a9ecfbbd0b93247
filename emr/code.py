"""Our own code as a job needs it on EMR: the rooms that evaluate, in one small archive."""

import io

from data.archive import code_files, write_zip

_ROOMS = ("data", "evaluation", "jobs")
_LEFT_OUT = {"digits", "commands"}  # the sample, and what only the command line needs


def code_archive() -> bytes:
    """A zip of the packages `data`, `evaluation` and `jobs`; equal code gives equal bytes."""
    target = io.BytesIO()
    write_zip(target, code_files(_ROOMS, _LEFT_OUT))
    return target.getvalue()
