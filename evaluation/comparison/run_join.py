"""Pairing: two runs joined by image, and counted. The map, shuffle and reduce of every comparison.

The records of both runs are dealt to buckets by a hash of the image, so that the two of one image meet in one bucket,
and a bucket is joined in memory by itself: what is held does not grow with the runs, the number of buckets does. Each
bucket gives a bag of integers, and bags merge by addition in any order.

| key | counts |
|---|---|
| `("both",)`, `("only", side)` | images in both runs, in one alone |
| `("error", side)` | images in both that this run could not classify |
| `("outcome", column, value, outcome)` | images classified by both, by who is right (`OUTCOMES`) |
| `("agree", column, value)` | images classified by both with one prediction |
| `("time", side, cut, stage)`, `("latency", side, cut, stage, bucket)` | their times, and how many took so long |
| `("bytes", side, name)` | their bytes |
| `("found", kind)`, `("name", kind, text)` | what should not be, all of it, and the first names in order |
| `("overflow", column)` | columns with more than `MAX_VALUES` values, of which nothing else is kept |
"""

import base64
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
from hybrid_batch.evaluation.counting.counts import BYTES, MAX_VALUES
from hybrid_batch.evaluation.counting.latency import bucket

Key = tuple[str | int | None, ...]
Bag = dict[Key, int]

SIDES = ("a", "b")
OUTCOMES = ("both", "a", "b", "neither", "unlabelled")
SLICED = ("label", "folder")  # always; others are asked for
NAMES = 10
_WORDS = ("image", "label", "prediction", "cut")


def select(table: pa.Table, by: Sequence[str] = ()) -> pa.Table:
    """What of records is compared, the columns `by` as text under the name `by:COLUMN`. Raises NotRecords."""
    columns.check(table.schema, by)
    try:
        picked = {name: table[name].cast(pa.string()) for name in _WORDS}
        picked |= {name: table[name].cast(pa.int64()) for name in (*BYTES, *columns.TIMES)}
        sliced = {f"by:{name}": table[name].cast(pa.string()) for name in by if name not in SLICED}
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise NotRecords(f"it holds no records: {error}") from error
    failed = pc.or_(pc.is_valid(table["error"]), pc.is_null(picked["prediction"]))
    if picked["image"].null_count:
        raise NotRecords("some of its records have no image")
    for name in (*BYTES, *columns.TIMES):
        if pc.any(pc.and_(pc.is_null(picked[name]), pc.invert(failed))).as_py():
            raise NotRecords(f"some of its classified records have no {name}")
    return pa.table({**picked, "failed": failed, **sliced}).select(no_records(by).column_names)


def no_records(by: Sequence[str] = ()) -> pa.Table:
    """What `select` gives of nothing."""
    words = [(name, pa.string()) for name in (*_WORDS, *(f"by:{name}" for name in by if name not in SLICED))]
    numbers = [(name, pa.int64()) for name in (*BYTES, *columns.TIMES)]
    return pa.schema([*words[:4], ("failed", pa.bool_()), *numbers, *words[4:]]).empty_table()


def deal(records: pa.Table, buckets: int) -> Iterator[tuple[int, pa.Table]]:
    """Selected records by bucket, those that get any. The hash is the same in every process."""
    if buckets == 1:
        yield 0, records
        return
    hashes = np.fromiter((crc32(image.encode()) for image in records["image"].to_pylist()), np.int64, len(records))
    places = hashes % buckets
    for place in np.unique(places).tolist():
        yield place, records.take(pa.array(np.flatnonzero(places == place)))


def count(a: pa.Table, b: pa.Table) -> Bag:
    """The bag of all the selected records of one bucket, those of either run."""
    bag: Counter[Key] = Counter()
    a, b = (_once(side, records, bag) for side, records in zip(SIDES, (a, b), strict=True))
    place = pc.index_in(a["image"], b["image"])
    for side, records, missing in (("a", a, pc.is_null(place)), ("b", b, pc.invert(pc.is_in(b["image"], a["image"])))):
        alone = records["image"].filter(missing).to_pylist()
        bag["only", side] += len(alone)
        _name(bag, f"only {side}", alone)
    a, b = a.filter(pc.is_valid(place)), b.take(place.drop_null())
    bag["both",] += len(a)
    for side, records in zip(SIDES, (a, b), strict=True):
        bag["error", side] += pc.sum(records["failed"]).as_py() or 0
    classified = pc.invert(pc.or_(a["failed"], b["failed"]))
    _check_labels(a, b, bag)
    _compare(a.filter(classified), b.filter(classified), bag)
    return _bounded(bag)


def merge(bags: Iterable[Bag]) -> Bag:
    """The sum of bags, which stay as they were."""
    total: Counter[Key] = Counter()
    for bag in bags:
        total.update(bag)
        total = Counter(_bounded(total))
    return dict(total)


def bad_part(sentence: str) -> Bag:
    """The bag of a part that cannot be compared."""
    return {("found", "bad part"): 1, ("name", "bad part", sentence): 1}


def names(bag: Bag, kind: str) -> list[str]:
    """The first names of a kind, in order."""
    return sorted(str(key[2]) for key in bag if key[:2] == ("name", kind))


def to_bytes(bag: Bag) -> bytes:
    """A bag as one line of ASCII."""
    return json.dumps([[*key, count] for key, count in bag.items()], separators=(",", ":")).encode()


def from_bytes(line: bytes) -> Bag:
    """The bag that `to_bytes` wrote."""
    return {tuple(key): count for *key, count in json.loads(line)}


def table_to_bytes(records: pa.Table) -> bytes:
    """A table as one line of ASCII."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, records.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(records)
    return base64.b64encode(sink.getvalue())


def table_from_bytes(line: bytes) -> pa.Table:
    """The table that `table_to_bytes` wrote."""
    return pa.ipc.open_stream(base64.b64decode(line)).read_all()


def _once(side: str, records: pa.Table, bag: Counter[Key]) -> pa.Table:
    """The records, of each image one; images that have more are named."""
    counts = records["image"].value_counts()
    twice = pc.struct_field(counts, [0]).filter(pc.greater(pc.struct_field(counts, [1]), 1)).to_pylist()
    if twice:
        bag["found", f"twice in {side}"] += len(twice)
        _name(bag, f"twice in {side}", twice)
        firsts = {image: place for place, image in reversed(list(enumerate(records["image"].to_pylist())))}
        records = records.take(pa.array(sorted(firsts.values())))
    return records.combine_chunks()


def _check_labels(a: pa.Table, b: pa.Table, bag: Counter[Key]) -> None:
    differ = pc.fill_null(pc.not_equal(a["label"], b["label"]), False)
    rows = zip(*(column.filter(differ).to_pylist() for column in (a["image"], a["label"], b["label"])), strict=True)
    found = [f"{image} is {label_a!r} in A and {label_b!r} in B" for image, label_a, label_b in rows]
    bag["found", "label"] += len(found)
    _name(bag, "label", found)


def _compare(a: pa.Table, b: pa.Table, bag: Counter[Key]) -> None:
    label = pc.coalesce(a["label"], b["label"])
    a_right, b_right = (np.asarray(pc.fill_null(pc.equal(side["prediction"], label), False)) for side in (a, b))
    labelled = np.asarray(pc.is_valid(label))
    outcome = np.select([~labelled, a_right & b_right, a_right, b_right], [4, 0, 1, 2], 3)
    ones = {"agree": pc.equal(a["prediction"], b["prediction"]).cast(pa.int64())}
    ones |= {name: pa.array((outcome == place).astype(np.int64)) for place, name in enumerate(OUTCOMES)}
    slices = {"": pa.nulls(len(a), pa.string()), "label": label}
    slices["folder"] = columns.folders(pa.chunked_array(a["image"]).combine_chunks()).cast(pa.string())
    slices |= {name.removeprefix("by:"): _both(a[name], b[name]) for name in a.column_names if name.startswith("by:")}
    for column, values in slices.items():
        groups = pa.table(ones | {"value": values}).group_by("value").aggregate([(name, "sum") for name in ones])
        for row in groups.to_pylist():
            bag["agree", column, row["value"]] += row["agree_sum"]
            for name in OUTCOMES:
                bag["outcome", column, row["value"], name] += row[f"{name}_sum"]
    for side, records in zip(SIDES, (a, b), strict=True):
        _measure(side, records, bag)


def _both(a: pa.ChunkedArray, b: pa.ChunkedArray) -> pa.ChunkedArray:
    """The value in both runs, or both values."""
    a, b = (pc.fill_null(side, "none") for side in (a, b))
    return pc.if_else(pc.equal(a, b), a, pc.binary_join_element_wise(a, b, " → "))


def _measure(side: str, records: pa.Table, bag: Counter[Key]) -> None:
    """Count times and bytes."""
    for name in BYTES:
        bag["bytes", side, name] += pc.sum(records[name]).as_py() or 0
    for cut in records["cut"].unique().to_pylist():
        of_cut = records.filter(pc.equal(records["cut"], cut)) if cut is not None else records
        for stage in STAGES:
            times = of_cut[f"{stage}_us"].to_numpy()
            bag["time", side, cut, stage] += int(times.sum())
            found, counts = np.unique(bucket(times), return_counts=True)
            for cell, records_there in zip(found.tolist(), counts.tolist(), strict=True):
                bag["latency", side, cut, stage, cell] += records_there


def _name(bag: Counter[Key], kind: str, texts: Sequence[str]) -> None:
    for text in sorted(texts)[:NAMES]:
        bag["name", kind, text] = 1


def _bounded(bag: Counter[Key]) -> Bag:
    """Without names beyond the first, nor columns of too many values: the same whatever was merged first."""
    kept: dict[str, list[str]] = defaultdict(list)
    values: Counter[str] = Counter()
    for key in bag:
        if key[0] == "name":
            kept[str(key[1])].append(str(key[2]))
        elif key[0] == "agree":
            values[str(key[1])] += 1
    first = {("name", kind, text) for kind, texts in kept.items() for text in sorted(texts)[:NAMES]}
    full = {column for column, count in values.items() if count > MAX_VALUES}
    full |= {str(key[1]) for key in bag if key[0] == "overflow"}

    def stays(key: Key) -> bool:
        if key[0] == "name":
            return key in first
        return key[0] not in ("agree", "outcome") or key[1] not in full

    return {key: count for key, count in bag.items() if stays(key)} | {("overflow", column): 1 for column in full}
