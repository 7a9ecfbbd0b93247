"""The records of a run in the formats of other programs, written in batches."""

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from hybrid_batch.data.errors import NotARun
from hybrid_batch.data.log.csv_text import escape_formulas
from hybrid_batch.data.log.records import SCHEMA
from hybrid_batch.data.log.runs import RunFolder

Export = Callable[[RunFolder, BinaryIO], None]
_CSV_SCHEMA = pa.schema(
    [
        pa.field(
            field.name,
            pa.string() if pa.types.is_nested(field.type) or pa.types.is_dictionary(field.type) else field.type,
        )
        for field in SCHEMA
    ]
)


def write_csv(run: RunFolder, out: BinaryIO) -> None:
    """One row for each record, with a header. `top5` is a JSON list, null is empty, and formulas are escaped."""
    with pyarrow.csv.CSVWriter(out, _CSV_SCHEMA) as writer:
        for batch in run.iter_records():
            columns = []
            for field in _CSV_SCHEMA:
                column = batch.column(field.name)
                if pa.types.is_nested(column.type):
                    column = pa.array(
                        [
                            None if top is None else json.dumps(_with_short_scores(top), ensure_ascii=False)
                            for top in column.to_pylist()
                        ],
                        pa.string(),
                    )
                column = column.cast(field.type)
                columns.append(escape_formulas(column) if pa.types.is_string(field.type) else column)
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_CSV_SCHEMA))


def write_jsonl(run: RunFolder, out: BinaryIO) -> None:
    """One JSON object a line for each record, with the columns as keys."""
    for batch in run.iter_records():
        for row in batch.to_pylist():
            started_at = row["started_at"]
            row["started_at"] = None if started_at is None else started_at.isoformat()
            row["confidence"] = _short(row["confidence"])
            row["top5"] = row["top5"] and _with_short_scores(row["top5"])
            out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def write_parquet(run: RunFolder, out: BinaryIO) -> None:
    """One Parquet file with the columns of the log."""
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        for batch in run.iter_records(_ROW_GROUP):
            writer.write_batch(batch)


def write_coco(run: RunFolder, out: BinaryIO) -> None:
    """COCO's JSON: `images`, `categories`, and `annotations` with one prediction for each classified image.

    The records are read twice: for the images, with the names of the categories, and for the annotations."""
    settings = run.settings()
    info = {
        "description": f"Predictions of {settings.get('bundle_name', 'a model')}, run {run.run_id} of hybrid-batch",
        "date_created": settings.get("created_at"),
    }
    names: set[str] = set()
    out.write(b'{"info": %s,\n"licenses": [],\n"images": [' % json.dumps(info, ensure_ascii=False).encode())
    _write_items(_coco_images(run, names), out)
    ids = {name: number for number, name in enumerate(sorted(names), start=1)}
    categories = [{"id": number, "name": name, "supercategory": ""} for name, number in ids.items()]
    out.write(b'],\n"categories": [')
    _write_items(categories, out)
    out.write(b'],\n"annotations": [')
    _write_items(_coco_annotations(run, ids), out)
    out.write(b"]}\n")


FORMATS: Mapping[str, Export] = MappingProxyType(
    {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet, "coco": write_coco}
)
BINARY_FORMATS = frozenset({"parquet"})
_ROW_GROUP = 65_536
_MAX_CATEGORIES = 1 << 18


def _short(score: float | None) -> float | None:
    """A float32 with the fewest digits that identify it, as in CSV files."""
    return None if score is None else float(str(np.float32(score)))


def _with_short_scores(top: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"label": entry["label"], "score": _short(entry["score"])} for entry in top]


def _write_items(items: "Iterator[dict[str, Any]] | list[dict[str, Any]]", out: BinaryIO) -> None:
    for place, item in enumerate(items):
        out.write((",\n" if place else "\n").encode() + json.dumps(item, ensure_ascii=False).encode())


def _coco_images(run: RunFolder, names: set[str]) -> Iterator[dict[str, Any]]:
    """The entries of the images; adds the labels and predictions to `names`."""
    number = 0
    for batch in run.iter_records():
        for column in ("label", "prediction"):
            names.update(pc.unique(batch.column(column).cast(pa.string())).drop_null().to_pylist())
        if len(names) > _MAX_CATEGORIES:
            raise NotARun(f"{run.uri} has more than {_MAX_CATEGORIES:,} classes, the most that COCO's JSON gets here.")
        for row in batch.select(["image", "width", "height", "error"]).to_pylist():
            number += 1
            entry = {"id": number, "file_name": row["image"], "width": row["width"], "height": row["height"]}
            yield entry if row["error"] is None else entry | {"error": row["error"]}


def _coco_annotations(run: RunFolder, ids: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """The prediction of each classified image; the box is the whole image."""
    number = 0
    for batch in run.iter_records():
        for row in batch.select(["label", "prediction", "confidence", "width", "height"]).to_pylist():
            number += 1
            if row["prediction"] is None:
                continue
            annotation: dict[str, Any] = {
                "id": number,
                "image_id": number,
                "category_id": ids[row["prediction"]],
                "score": _short(row["confidence"]),
                "iscrowd": 0,
            }
            if row["width"] is not None and row["height"] is not None:
                annotation |= {"bbox": [0, 0, row["width"], row["height"]], "area": row["width"] * row["height"]}
            if row["label"] is not None:
                annotation["true_category_id"] = ids[row["label"]]
            yield annotation
