"""The images that could not be classified: the first `MAX_FAILURES` of them by name, with their errors.

A failure among the first of all records is also among the first of any subset that has it, so partial selections merge
in any order.
"""

import pyarrow as pa

MAX_FAILURES = 1000
NO_PREDICTION = ""  # stored for a record without an error and without a prediction
_ORDER = [("image", "ascending"), ("error", "ascending")]
_PENDING_ROWS = 4 * MAX_FAILURES
_SCHEMA = pa.schema([("image", pa.string()), ("error", pa.string()), ("records", pa.int64())])


class FirstFailures:
    """The selection among the failures added so far."""

    def __init__(self) -> None:
        self._selected = _SCHEMA.empty_table()
        self._pending: list[pa.Table] = []

    def add(self, images: pa.Array, errors: pa.Array) -> None:
        """Add failures, one in each row of the arrays of strings."""
        ones = pa.repeat(pa.scalar(1, pa.int64()), len(images))
        added = pa.table([images, errors.cast(pa.string()).fill_null(NO_PREDICTION), ones], schema=_SCHEMA)
        self._pending.append(first_failures(added))
        if sum(map(len, self._pending)) > _PENDING_ROWS:
            self.table()

    def table(self) -> pa.Table:
        """The rows of the tally `failures`."""
        if self._pending:
            self._selected = first_failures(pa.concat_tables([self._selected, *self._pending]))
            self._pending = []
        return self._selected


def first_failures(failures: pa.Table) -> pa.Table:
    """The first rows of a table with the columns of the tally `failures`, equal rows added up."""
    merged = failures.group_by(["image", "error"]).aggregate([("records", "sum")])
    return merged.rename_columns(_SCHEMA.names).cast(_SCHEMA).sort_by(_ORDER)[:MAX_FAILURES]
