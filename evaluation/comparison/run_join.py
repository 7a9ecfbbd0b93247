"""The join of two runs by image, and its counts: the map, shuffle and reduce steps of a comparison.

Records of both runs are partitioned into buckets by a hash of the image, so both records of an image are in one bucket.
A bucket is joined in memory on its own; larger runs have more buckets, not larger ones. Each bucket gives
`JoinCounts`, which merge by addition in any order.

| key | value |
|---|---|
| `("both",)`, `("only", side)` | number of images in both runs, in one run |
| `("error", side)` | images in both runs that this run could not classify |
| `("outcome", column, value, outcome)` | images classified by both, by correct run (`OUTCOMES`) |
| `("agree", column, value)` | images for which both runs predict the same |
| `("time", side, cut, stage)`, `("latency", side, cut, stage, bucket)` | sum of times; images by latency bucket |
| `("bytes", side, name)` | sum of the bytes |
| `("problems", kind)`, `("name", kind, text)` | number of problems, and the first of their names in sorted order |
| `("overflow", column)` | columns with more than `MAX_VALUES` values; their other counts are dropped |
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.log.records import STAGES
from hybrid_batch.evaluation.counting import columns
from hybrid_batch.evaluation.counting.columns import NotRecords
from hybrid_batch.evaluation.counting.counts import BYTE_COLUMNS, MAX_VALUES
from hybrid_batch.evaluation.counting.encoding.latency_buckets import to_buckets

Key = tuple[str | int | None, ...]
JoinCounts = dict[Key, int]

SIDES = ("a", "b")
OUTCOMES = ("both", "a", "b", "neither", "unlabelled")
DEFAULT_SLICES = ("label", "folder")
MAX_NAMES = 10
_STRINGS = ("image", "label", "prediction", "cut")
_INTEGERS = (*BYTE_COLUMNS, *columns.TIME_COLUMNS)


def select_columns(table: pa.Table, by: Sequence[str] = ()) -> pa.Table:
    """The compared columns of records, and the columns `by` as text under the names `by:COLUMN`. Raises NotRecords."""
    table = columns.current_records(table, by)
    try:
        selected = {name: table[name].cast(pa.string()) for name in _STRINGS}
        selected |= {name: table[name].cast(pa.int64()) for name in _INTEGERS}
        sliced = {f"by:{name}": table[name].cast(pa.string()) for name in by if name not in DEFAULT_SLICES}
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise NotRecords(f"it holds no records: {error}") from error
    failed = pc.or_(pc.is_valid(table["error"]), pc.is_null(selected["prediction"]))
    if selected["image"].null_count:
        raise NotRecords("some of its records have no image")
    for name in _INTEGERS:
        if pc.any(pc.and_(pc.is_null(selected[name]), pc.invert(failed))).as_py():
            raise NotRecords(f"some of its classified records have no {name}")
    return pa.table({**selected, "failed": failed, **sliced}).select(empty_table(by).column_names)


def empty_table(by: Sequence[str] = ()) -> pa.Table:
    """A table without rows, with the schema of `select_columns`."""
    strings = [(name, pa.string()) for name in _STRINGS]
    integers = [(name, pa.int64()) for name in _INTEGERS]
    sliced = [(f"by:{name}", pa.string()) for name in by if name not in DEFAULT_SLICES]
    return pa.schema([*strings, ("failed", pa.bool_()), *integers, *sliced]).empty_table()


def partition(records: pa.Table, buckets: int) -> Iterator[tuple[int, pa.Table]]:
    """Selected records by bucket, without empty buckets. The hash is the same in every process."""
    if buckets == 1:
        yield 0, records
        return
    hashes = np.fromiter((crc32(image.encode()) for image in records["image"].to_pylist()), np.int64, len(records))
    bucket_of = hashes % buckets
    for bucket in np.unique(bucket_of).tolist():
        yield bucket, records.take(pa.array(np.flatnonzero(bucket_of == bucket)))


def join_and_count(a: pa.Table, b: pa.Table) -> JoinCounts:
    """The counts of one bucket, from all of its selected records of either run."""
    counts: Counter[Key] = Counter()
    a, b = (_deduplicate(side, records, counts) for side, records in zip(SIDES, (a, b), strict=True))
    row_in_b = pc.index_in(a["image"], b["image"])
    missing_in_a = pc.invert(pc.is_in(b["image"], a["image"]))
    for side, records, missing in (("a", a, pc.is_null(row_in_b)), ("b", b, missing_in_a)):
        images = records["image"].filter(missing).to_pylist()
        counts["only", side] += len(images)
        _add_names(counts, f"only {side}", images)
    a, b = a.filter(pc.is_valid(row_in_b)), b.take(row_in_b.drop_null())
    counts["both",] += len(a)
    for side, records in zip(SIDES, (a, b), strict=True):
        counts["error", side] += pc.sum(records["failed"]).as_py() or 0
    classified = pc.invert(pc.or_(a["failed"], b["failed"]))
    _check_labels(a, b, counts)
    _count_pairs(a.filter(classified), b.filter(classified), counts)
    return _truncate(counts)


def merge_join_counts(parts: Iterable[JoinCounts]) -> JoinCounts:
    """The sum of counts; the arguments do not change."""
    total: Counter[Key] = Counter()
    for counts in parts:
        total.update(counts)
        total = Counter(_truncate(total))
    return dict(total)


def count_bad_part(sentence: str) -> JoinCounts:
    """The counts of a part that cannot be compared."""
    return {("problems", "bad part"): 1, ("name", "bad part", sentence): 1}


def first_names(counts: JoinCounts, kind: str) -> list[str]:
    """The first names of a kind, sorted."""
    return sorted(str(key[2]) for key in counts if key[:2] == ("name", kind))


def encode_join_counts(counts: JoinCounts) -> bytes:
    """Counts as one line of ASCII."""
    return json.dumps([[*key, count] for key, count in counts.items()], separators=(",", ":")).encode()


def decode_join_counts(line: bytes) -> JoinCounts:
    """The counts of a line written by `encode_join_counts`."""
    return {tuple(key): count for *key, count in json.loads(line)}


def _deduplicate(side: str, records: pa.Table, counts: Counter[Key]) -> pa.Table:
    """The records with one row for each image; images with more are counted as problems."""
    rows_of_image = records["image"].value_counts()
    is_repeated = pc.greater(pc.struct_field(rows_of_image, [1]), 1)
    repeated = pc.struct_field(rows_of_image, [0]).filter(is_repeated).to_pylist()
    if repeated:
        counts["problems", f"twice in {side}"] += len(repeated)
        _add_names(counts, f"twice in {side}", repeated)
        first_rows = {image: row for row, image in reversed(list(enumerate(records["image"].to_pylist())))}
        records = records.take(pa.array(sorted(first_rows.values())))
    return records.combine_chunks()


def _check_labels(a: pa.Table, b: pa.Table, counts: Counter[Key]) -> None:
    differ = pc.fill_null(pc.not_equal(a["label"], b["label"]), False)
    rows = zip(*(column.filter(differ).to_pylist() for column in (a["image"], a["label"], b["label"])), strict=True)
    differences = [f"{image} is {label_a!r} in A and {label_b!r} in B" for image, label_a, label_b in rows]
    counts["problems", "label"] += len(differences)
    _add_names(counts, "label", differences)


def _count_pairs(a: pa.Table, b: pa.Table, counts: Counter[Key]) -> None:
    """Count the outcomes, times and bytes of images that both runs classified; row i of `a` and `b` is one image."""
    label = pc.coalesce(a["label"], b["label"])
    a_correct, b_correct = (np.asarray(pc.fill_null(pc.equal(side["prediction"], label), False)) for side in (a, b))
    labelled = np.asarray(pc.is_valid(label))
    outcome = np.select([~labelled, a_correct & b_correct, a_correct, b_correct], [4, 0, 1, 2], 3)
    ones = {"agree": pc.equal(a["prediction"], b["prediction"]).cast(pa.int64())}
    ones |= {name: pa.array((outcome == code).astype(np.int64)) for code, name in enumerate(OUTCOMES)}
    changed = pc.not_equal(a["prediction"], b["prediction"])
    triples = (column.filter(changed).to_pylist() for column in (a["image"], a["prediction"], b["prediction"]))
    rows = zip(*triples, strict=True)
    _add_names(counts, "changed", ["\0".join(row) for row in rows])
    slices = {"": pa.nulls(len(a), pa.string()), "label": label}
    slices["folder"] = columns.folders(pa.chunked_array(a["image"]).combine_chunks()).cast(pa.string())
    slices |= {
        name.removeprefix("by:"): _joint_values(a[name], b[name]) for name in a.column_names if name.startswith("by:")
    }
    for column, values in slices.items():
        groups = pa.table(ones | {"value": values}).group_by("value").aggregate([(name, "sum") for name in ones])
        for row in groups.to_pylist():
            counts["agree", column, row["value"]] += row["agree_sum"]
            for name in OUTCOMES:
                counts["outcome", column, row["value"], name] += row[f"{name}_sum"]
    for side, records in zip(SIDES, (a, b), strict=True):
        _count_costs(side, records, counts)


def _joint_values(a: pa.ChunkedArray, b: pa.ChunkedArray) -> pa.ChunkedArray:
    """For each image the value, where the runs have the same, else `VALUE_A → VALUE_B`."""
    a, b = (pc.fill_null(side, "none") for side in (a, b))
    return pc.if_else(pc.equal(a, b), a, pc.binary_join_element_wise(a, b, " → "))


def _count_costs(side: str, records: pa.Table, counts: Counter[Key]) -> None:
    """Count the times and bytes of one run."""
    for name in BYTE_COLUMNS:
        counts["bytes", side, name] += pc.sum(records[name]).as_py() or 0
    for cut in records["cut"].unique().to_pylist():
        of_cut = records.filter(pc.equal(records["cut"], cut)) if cut is not None else records
        for stage in STAGES:
            times = of_cut[f"{stage}_us"].to_numpy()
            counts["time", side, cut, stage] += int(times.sum())
            buckets, images = np.unique(to_buckets(times), return_counts=True)
            for bucket, images_in_bucket in zip(buckets.tolist(), images.tolist(), strict=True):
                counts["latency", side, cut, stage, bucket] += images_in_bucket


def _add_names(counts: Counter[Key], kind: str, texts: Sequence[str]) -> None:
    for text in sorted(texts)[:MAX_NAMES]:
        counts["name", kind, text] = 1


def _truncate(counts: Counter[Key]) -> JoinCounts:
    """The counts with the first names only and without columns of too many values, whatever the order of merges."""
    names: dict[str, list[str]] = defaultdict(list)
    values: Counter[str] = Counter()
    for key in counts:
        if key[0] == "name":
            names[str(key[1])].append(str(key[2]))
        elif key[0] == "agree":
            values[str(key[1])] += 1
    first = {("name", kind, text) for kind, texts in names.items() for text in sorted(texts)[:MAX_NAMES]}
    dropped = {column for column, number in values.items() if number > MAX_VALUES}
    dropped |= {str(key[1]) for key in counts if key[0] == "overflow"}

    def is_kept(key: Key) -> bool:
        if key[0] == "name":
            return key in first
        return key[0] not in ("agree", "outcome") or key[1] not in dropped

    kept = {key: count for key, count in counts.items() if is_kept(key)}
    return kept | {("overflow", column): 1 for column in dropped}
