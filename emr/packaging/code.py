"""Our own code as a job needs it on EMR: the rooms that evaluate, in one small archive."""

import io

from hybrid_batch.data.packaging.archive import code_files, write_zip

_MODULES = (
    *("data.errors", "data.aws", "data.images", "data.log", "data.storage", "data.terminal"),
    *("evaluation", "jobs.engines", "jobs.input", "jobs.output"),
    *("jobs.compare_inline", "jobs.compare_mrjob", "jobs.compare_spark"),
    *("jobs.evaluate_inline", "jobs.evaluate_mrjob", "jobs.evaluate_spark"),
)


def code_archive() -> bytes:
    """A zip of the packages `data`, `evaluation` and `jobs`; equal code gives equal bytes."""
    target = io.BytesIO()
    write_zip(target, code_files(_MODULES))
    return target.getvalue()
