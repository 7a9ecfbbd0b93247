"""Parts of a log as a stranger could write them: small files that take all memory, or lie."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_batch.data.log.parquet.page_headers import read_page_header
from hybrid_batch.data.log.records import to_table
from tests.factories.records import record

ROWS = 300


def honest(rows: int = ROWS) -> pa.Table:
    return to_table([record(image=f"{number:05}.png") for number in range(rows)])


def constant(rows: int) -> pa.Table:
    """One record many times."""
    return honest(1).take(pa.array(np.zeros(rows, np.int64)))


def changed(table: pa.Table, **columns: pa.Array) -> pa.Table:
    """The table with other columns, in their own types."""
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **{"compression": "zstd"} | options)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def words(word: str, rows: int) -> pa.Array:
    """A dictionary of one word."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([word]))


def _lying_rows() -> bytes:
    """The footer states 2^40 rows."""
    return _in_footer(parquet(honest()), b"\x16\xd8\x04", b"\x16" + _varint(2 << 40))


def _in_footer(content: bytes, before: bytes, after: bytes) -> bytes:
    size = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - size : -8].replace(before, after)
    return content[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _lying_page() -> bytes:
    """A page of 1.5 MB states 128 MiB."""
    texts = pa.array([f"{number:05000}"[:4000] for number in range(ROWS + 100)])
    content = parquet(changed(honest(ROWS + 100), error=texts), use_dictionary=False, compression="none")
    start = pq.read_metadata(pa.BufferReader(content)).row_group(0).column(_place(content, "error")).data_page_offset
    size = read_page_header(content, start).size
    header = content[start : start + 64].replace(_varint(2 * size), b"\xfe\xff\xff\x7f", 1)
    return content[:start] + header + content[start + 64 :]


def _wrong_place() -> bytes:
    """The labels are places 0 and 7 of a dictionary of two words."""
    labels = pa.array(["a"] * 150 + ["b"] * 150).dictionary_encode()
    content = bytearray(parquet(changed(honest(), label=labels), compression="none", write_statistics=False))
    start = (
        pq.read_metadata(pa.BufferReader(bytes(content))).row_group(0).column(_place(content, "label")).data_page_offset
    )
    page = read_page_header(bytes(content), start)
    content[start + page.header_size + page.stored_size - 1] = 7
    return bytes(content)


def _place(content: bytes | bytearray, name: str) -> int:
    schema = pq.read_metadata(pa.BufferReader(bytes(content))).schema
    return next(number for number in range(len(schema)) if schema.column(number).path == name)


def _not_utf8() -> bytes:
    text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 2, 4], pa.int32()).buffers()[1], pa.py_buffer(b"a\xffbc")]
    )
    labels = pa.DictionaryArray.from_arrays(pa.array(np.zeros(ROWS, np.int32)), text)
    return parquet(changed(honest(), label=labels))


def _long_lists(rows: int, length: int) -> bytes:
    flat = pa.StructArray.from_arrays(
        [pa.array(["a"] * length), pa.array(np.zeros(length, np.float32))], ["label", "score"]
    )
    offsets = pa.array([0, *[length] * rows], pa.int32())
    return parquet(changed(honest(rows), top5=pa.ListArray.from_arrays(offsets, flat)))


def _typed(name: str, values: Callable[[], pa.Array]) -> Callable[[], bytes]:
    return lambda: parquet(changed(honest(), **{name: values()}))


def _floats(value: float) -> Callable[[], pa.Array]:
    return lambda: pa.array([value] * ROWS, pa.float64())


# The name of each part, its content, and the reason of the refusal; None: it is read.
PARTS: Mapping[str, tuple[Callable[[], bytes], str | None]] = {
    "a label of 80 MB": (
        _typed("label", lambda: words("a" * 80_000_000, ROWS)),
        "column label has a page of 80,000,004",
    ),
    "a label of 5 kB": (
        _typed("label", lambda: words("a" * 5000, ROWS)),
        "column label has a word of 5,000 bytes, more than 4,096",
    ),
    "a prediction of 10 MB": (
        _typed("prediction", lambda: words("é" * 5_000_000, ROWS)),
        "prediction has a word of 10,000,000",
    ),
    "an image name of 1 MB in 100,000 records": (
        lambda: parquet(changed(constant(100_000), image=words("a" * 1_000_000, 100_000))),
        "image has a word of 1,000,000 bytes",
    ),
    "three columns of 4 kB words": (
        lambda: parquet(
            changed(constant(60_000), **{name: words("a" * 4000, 60_000) for name in ("image", "error", "codec")})
        ),
        "the words of a batch can take",
    ),
    "an error of 100 kB": (
        _typed("error", lambda: pa.array(["e" * 100_000] * ROWS)),
        "error has a word of 100,000 bytes",
    ),
    "a footer of 2^40 rows": (_lying_rows, "rows, more than 16,777,216"),
    "a page that states 128 MiB": (_lying_page, "column error has a page of 134,217,727 bytes"),
    "a place outside the dictionary": (_wrong_place, "column label has a place outside its dictionary of 2 words"),
    "a list of 10,000 labels": (lambda: _long_lists(ROWS, 10_000), "top5 has a list of 10,000 values"),
    "a list of a million labels": (lambda: _long_lists(ROWS, 1_000_000), "has 1,000,299 values"),
    "1,500 columns": (
        lambda: parquet(pa.table({f"c{number}": [1] for number in range(1500)})),
        "it has 1,500 columns, more than 1,000",
    ),
    "3,000 row groups": (lambda: parquet(pa.table({"x": range(3000)}), row_group_size=1), "3,000 row groups"),
    "a footer of 8 MB": (lambda: parquet(honest().replace_schema_metadata({"x": "y" * 8_000_000})), "its footer has"),
    "text that is not UTF-8": (_not_utf8, "column label has text that is not UTF-8"),
    "times that are no numbers": (_typed("latency_us", _floats(float("nan"))), ""),
    "infinite times": (_typed("head_us", _floats(float("inf"))), ""),
    "a start in the year 294,247": (
        _typed("started_at", lambda: pa.array([(1 << 63) - 1] * ROWS, pa.int64()).cast(pa.timestamp("us", "UTC"))),
        "started_at has a time outside the years 1970 to 9999",
    ),
    "a start before 1970": (
        _typed("started_at", lambda: pa.array([-(1 << 62)] * ROWS, pa.int64()).cast(pa.timestamp("us", "UTC"))),
        "started_at has a time outside the years",
    ),
    "a label in lists": (_typed("label", lambda: pa.array([[["a"]]] * ROWS)), ""),
    "a label of fixed size": (
        _typed("label", lambda: pa.array([b"a" * 100_000] * ROWS, pa.binary(100_000))),
        "FIXED_LEN_BYTE_ARRAY",
    ),
    "a top 5 of numbers": (_typed("top5", lambda: pa.array([[1, 2]] * ROWS)), ""),
    "two columns label": (
        lambda: parquet(honest().append_column("label", pa.array(["a"] * ROWS))),
        "two columns label",
    ),
    "no column latency_us": (lambda: parquet(honest().drop_columns("latency_us")), "no column latency_us"),
    "negative times": (_typed("link_us", lambda: pa.array([-(1 << 50)] * ROWS, pa.int64())), None),
    "times of 250 years": (_typed("latency_us", lambda: pa.array([1 << 53] * ROWS, pa.int64())), None),
    "times of 300,000 years": (
        _typed("latency_us", lambda: pa.array([(1 << 63) - 1] * ROWS, pa.int64())),
        "latency_us has a number beyond",
    ),
}
