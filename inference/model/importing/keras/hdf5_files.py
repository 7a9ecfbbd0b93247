"""The check of an HDF5 file before Keras reads it: all it holds is in the file, of a size that fits the file.

HDF5 can name other files: external links, external storage, virtual datasets. It loads plugins for filters that it does
not know, and a dataset may declare any shape. The check knows the little that Keras writes, and refuses the rest.
"""

import math
from collections.abc import Iterator
from typing import Any

from hybrid_batch.data.errors import ModelRefused

_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000  # the filters of h5py
_FILTERS = {_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF}
# Weights are hardly compressed, so a file that declares many times its size is not a model.
MAX_UNPACKED_RATIO, FREE_BYTES = 20, 64 << 20
_MOST_OBJECTS = 100_000
_MOST_TEXTS = 1 << 16  # in an attribute
_Item = Any  # a low-level object of h5py


def check_hdf5(file_name: str, file: Any, size_bytes: int) -> None:  # noqa: ANN401
    """Raise ModelRefused if an `h5py.File` of `size_bytes` refers to other files, or declares more than it can hold.

    May raise any exception of HDF5 for a damaged file."""
    declared = 0
    for count, (path, item) in enumerate(_objects(file_name, file)):
        if count > _MOST_OBJECTS:
            raise _refused(file_name, f"over {_MOST_OBJECTS:,} groups and datasets")
        _check_attributes(file_name, path, item)
        if hasattr(item, "shape"):
            declared += _declared_bytes(file_name, path, item)
        if declared > FREE_BYTES + MAX_UNPACKED_RATIO * size_bytes:
            raise _refused(file_name, f"datasets that declare {declared >> 20:,} MiB in a file of {size_bytes:,} bytes")


def _objects(file_name: str, file: Any) -> Iterator[tuple[str, _Item]]:  # noqa: ANN401
    """Every group and dataset with its path, each once. Raises ModelRefused for a link to another file or path."""
    from h5py import h5d, h5g, h5l, h5o

    seen: set[tuple[int, int]] = set()
    pending: list[tuple[str, _Item]] = [("/", file["/"].id)]
    while pending:
        path, item = pending.pop()
        info = h5o.get_info(item)
        if (info.fileno, info.addr) in seen:
            continue
        seen.add((info.fileno, info.addr))
        if not isinstance(item, h5g.GroupID | h5d.DatasetID):
            raise _refused(file_name, f"{path[:200]!r}, which is neither a group nor a dataset")
        yield path, item
        for name in item if isinstance(item, h5g.GroupID) else ():
            inner = f"{path.rstrip('/')}/{name.decode(errors='replace')}"
            kind = item.links.get_info(name).type
            if kind != h5l.TYPE_HARD:
                noun = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link to another file"}.get(kind, "a link")
                raise _refused(file_name, f"{noun} at {inner[:200]!r}")
            pending.append((inner, h5o.open(item, name)))


def _declared_bytes(file_name: str, path: str, dataset: _Item) -> int:
    """The size of a dataset in memory. Raises ModelRefused if its content is not in the file."""
    from h5py import h5d

    plan = dataset.get_create_plist()
    if plan.get_external_count():
        raise _refused(file_name, f"the content of {path[:200]!r} in another file")
    if plan.get_layout() == h5d.VIRTUAL:
        raise _refused(file_name, f"the virtual dataset {path[:200]!r}, made of other files")
    for index in range(plan.get_nfilters()):
        if (number := plan.get_filter(index)[0]) not in _FILTERS:
            raise _refused(file_name, f"the dataset {path[:200]!r} with the HDF5 filter {number}")
    kind = dataset.get_type()
    if kind.get_class() not in _plain_classes() or _is_variable(kind):
        raise _refused(file_name, f"the dataset {path[:200]!r} of another type than numbers and texts of fixed length")
    return _elements(dataset) * int(kind.get_size())


def _check_attributes(file_name: str, path: str, item: _Item) -> None:
    """Refuse attributes with many texts, each of which may be the same long one."""
    from h5py import h5a

    for index in range(h5a.get_num_attrs(item)):
        attribute = h5a.open(item, index=index)
        kind = attribute.get_type()
        if kind.get_class() not in _plain_classes():
            raise _refused(file_name, f"an attribute of {path[:200]!r} of another type than numbers and texts")
        if _is_variable(kind) and _elements(attribute) > _MOST_TEXTS:
            raise _refused(file_name, f"an attribute of {path[:200]!r} with over {_MOST_TEXTS:,} texts")


def _elements(item: _Item) -> int:
    """The number of elements of a dataset or attribute, which may have none and no shape."""
    return 0 if item.shape is None else math.prod(item.shape)


def _is_variable(kind: _Item) -> bool:
    """Whether texts have their own lengths, and their place in the file is not that of the dataset."""
    from h5py import h5t

    return isinstance(kind, h5t.TypeStringID) and bool(kind.is_variable_str())


def _plain_classes() -> set[int]:
    """Classes of types that refer to nothing: numbers, truth values, texts, and bytes such as those of bfloat16."""
    from h5py import h5t

    return {h5t.INTEGER, h5t.FLOAT, h5t.STRING, h5t.ENUM, h5t.OPAQUE, h5t.BITFIELD}


def _refused(file_name: str, what: str) -> ModelRefused:
    return ModelRefused(f"{file_name} holds {what}, which Keras does not write; save the model again with Keras.")
