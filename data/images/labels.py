"""The true labels of images, from their folders or from a CSV file."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from hybrid_batch.data.errors import BadLabels, one_line
from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.images.label_hints import explain_no_labels
from hybrid_batch.data.storage.open_storage import open_file

FOLDERS = "folders"
NONE = "none"
_LARGEST_FILE = 1 << 30
_MOST_NOTES = 5  # on folders that cannot be read; the summary has their number


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """A table of IMAGES_SCHEMA with labels, and an optional sentence for the user."""

    table: pa.Table
    note: str | None = None


def find_labelled_images(
    sources: str | Sequence[str], source: str, classes: Sequence[str], notify: Callable[[str], None]
) -> ImageSet:
    """The images of `find_images` with labels from `source`, see `label_images`.

    `notify` is called with its note, and with those on folders that cannot be read. Raises NoImages, WrongUsage,
    BadLabels, StorageFailed."""
    found = find_images(sources)
    for reason in list(found.skipped.unreadable_folders.values())[:_MOST_NOTES]:
        notify(f"Warning: {reason.removesuffix('.')}; the run goes on without it.")
    labelled = label_images(found.table, source, classes)
    if labelled.note:
        notify(f"Note: {labelled.note}")
    has_labels = labelled.table["label"].null_count < labelled.table.num_rows
    return replace(found, table=labelled.table, label_source=label_source(source) if has_labels else None)


def label_source(source: str) -> str | None:
    """The record's `label_source` for labels from `source`."""
    return {NONE: None, FOLDERS: "folder"}.get(source, "csv")


def label_images(images: pa.Table, source: str, classes: Sequence[str]) -> LabelledImages:
    """Add labels to a table of images.

    `source` is one of:

    - "folders": the label is the first folder below the root, as in Keras' `image_dataset_from_directory`. An image
      outside a folder has no label. If no folder is named for a class, no image has a label.
    - "none": no image has a label.
    - the path of a CSV file with the columns image and label. An image without a row has no label.

    Raises BadLabels for a label that is not one of `classes`."""
    if source == NONE:
        return LabelledImages(_with(images, pa.nulls(images.num_rows, pa.string())))
    if source == FOLDERS:
        labels = _folders(images["image"])
        named = set(labels.unique().drop_null().to_pylist())
        if named and not named & set(classes):
            note = explain_no_labels(images, sorted(named), classes)
            return LabelledImages(_with(images, pa.nulls(images.num_rows, pa.string())), note)
    else:
        labels = _from_file(images["image"], source)
    table = _with(images, labels)
    check_labels(table, classes)
    return LabelledImages(table)


def check_labels(images: pa.Table, classes: Sequence[str]) -> None:
    """Raise BadLabels unless every label is one of `classes`."""
    known = set(classes)
    unknown = sorted(set(images["label"].unique().drop_null().to_pylist()) - known)
    if not unknown:
        return
    named = []
    for label in unknown[:5]:
        near = difflib.get_close_matches(label, classes, n=1)
        named.append(f"{label!r} (did you mean {near[0]!r}?)" if near else repr(label))
    rest = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    are = "1 label is" if len(unknown) == 1 else f"{len(unknown)} labels are"
    raise BadLabels(
        f"{are} not among the model's {len(known)} classes: {', '.join(named)}{rest}; "
        "correct them, or give --labels none."
    )


def _with(images: pa.Table, labels: pa.ChunkedArray | pa.Array) -> pa.Table:
    return images.set_column(images.schema.get_field_index("label"), images.schema.field("label"), labels)


def _folders(names: pa.ChunkedArray) -> pa.ChunkedArray:
    parts = pc.extract_regex(names, r"^(?P<folder>[^/]*)/")
    return pc.struct_field(parts, "folder")


def _from_file(names: pa.ChunkedArray, uri: str) -> pa.Array:
    """Return the label of each image from the CSV file, null for an image without a row."""
    rows = _read(uri, names)
    first = rows.group_by("image").aggregate([("label", "min"), ("label", "max")])
    two = first.filter(pc.not_equal(first["label_min"], first["label_max"]))
    if two.num_rows:
        row = two.slice(0, 1).to_pylist()[0]
        raise BadLabels(
            f"{uri} gives {row['image']!r} two labels, {row['label_min']!r} and {row['label_max']!r}, "
            f"and does so for {two.num_rows} images; keep one row for each."
        )
    missing = first["image"].filter(pc.invert(pc.is_in(first["image"], value_set=names.combine_chunks())))
    if len(missing):
        some = f"{len(missing)} images that do not exist" if len(missing) > 1 else "an image that does not exist"
        examples = ", ".join(repr(name) for name in missing.slice(0, 3).to_pylist())
        raise BadLabels(f"{uri} names {some}, such as {examples}; write paths relative to the folder of the images.")
    positions = pc.index_in(names, value_set=first["image"].combine_chunks())
    return first["label_min"].take(positions)


def _read(uri: str, images: pa.ChunkedArray) -> pa.Table:
    """Return the rows of a CSV file: image and label. A name that is not among `images` gets '/' for '\\' and loses a
    leading './'."""
    storage, name = open_file(uri)
    try:
        content = storage.read(name, limit=_LARGEST_FILE)
    except FileNotFoundError as error:
        raise BadLabels(f"No labels file {uri!r}; give a CSV file with columns image,label.") from error
    try:
        rows = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"image": pa.string(), "label": pa.string()},
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        columns = rows.column_names  # raises ValueError if the first line of a binary file is not text
    except ValueError as error:
        reason = one_line(error)
        raise BadLabels(f"{uri} is not a CSV file in UTF-8 with columns image,label ({reason}).") from error
    if any(columns.count(column) != 1 for column in ("image", "label")):
        names = ", ".join(columns)
        raise BadLabels(f"{uri} has the columns {names}; it needs image and label, once each; rename them.")
    portable = pc.replace_substring(rows["image"], "\\", "/")
    portable = pc.replace_substring_regex(portable, r"^(\./+)+", "")
    # Where file names are bytes, a backslash may be part of the name.
    is_exact = pc.is_in(rows["image"], value_set=images.combine_chunks())
    images = pc.if_else(is_exact, rows["image"], portable)
    return pa.table({"image": images, "label": pc.utf8_trim_whitespace(rows["label"])}).drop_null()
