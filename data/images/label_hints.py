"""Why no image folder has the name of a class, as a sentence for the user."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from hybrid_batch.data.terminal.numbers import format_count

_MOST_EXAMPLES = 3


def explain_no_labels(images: pa.Table, folders: Sequence[str], classes: Sequence[str]) -> str:
    """The sentence for a table of images whose first folders are `folders`, none of them one of `classes`."""
    sentence = (
        f"No labels: no image folder is named for one of the model's {format_count(len(classes), 'class', 'classes')}"
    )
    if list(classes) == [str(number) for number in range(len(classes))]:
        called = f"which are called 0 to {len(classes) - 1}"
        return f"{sentence}, {called}; if they have other names, import the model with --classes FILE."
    if pairs := _in_another_case(folders, classes):
        return (
            f"{sentence}, but some differ from a class only in case or blanks: {', '.join(pairs)}; rename the folders."
        )
    if below := _below(images, classes):
        return f"{sentence}, but the folders in {below!r} are; give that folder as IMAGES."
    return f"{sentence}."


def _in_another_case(folders: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Pairs of a folder and the class that differs from it only in case or by blanks around it."""
    by_folded = {name.strip().casefold(): name for name in classes}
    found = ((folder, by_folded.get(folder.strip().casefold())) for folder in sorted(folders))
    return [f"{folder!r} for {name!r}" for folder, name in found if name is not None][:_MOST_EXAMPLES]


def _below(images: pa.Table, classes: Sequence[str]) -> str | None:
    """A folder whose own sub-folders are named for classes, relative to the images' root; None if there is none."""
    parents = pc.extract_regex(images["image"], r"^(?P<parent>.+)/(?P<folder>[^/]+)/[^/]+$")
    named = pc.is_in(pc.struct_field(parents, "folder"), value_set=pa.array(classes, pa.string()))
    found = pc.struct_field(parents, "parent").filter(named)
    return str(pc.min(found).as_py()) if len(found) else None
