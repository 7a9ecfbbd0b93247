"""The ops of a serialised graph, read without TensorFlow and without building the graph.

The form is TensorFlow's GraphDef in the wire format of Protocol Buffers. All occurrences of a field count, because
parsers differ in which of several they use. Weights are skipped, so that a graph of 100 MB is read in milliseconds.
"""

import math
import mmap
from collections.abc import Iterable, Iterator

from hybrid_batch.data.errors import ModelRefused, NotABundle, one_line
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes.tensor_ops import name_others

MOST_OUTPUT_BYTES = 1 << 30  # of one op for one image
OPS_VERSION = 1  # increased when an op is removed from the allowlist, so that no part compiled before is opened
# Field numbers of graph.proto, function.proto and node_def.proto.
_GRAPH_NODE, _GRAPH_LIBRARY = 1, 2
_LIBRARY_FUNCTION = 1
_FUNCTION_NODE = 3
_NODE_OP = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES = 10
_MAX_TAG = (1 << 32) - 1  # parsers keep 32 bits, so that a larger tag would name another field for them


def check_graph(bundle: Bundle) -> None:
    """Raise ModelRefused if the graph holds an op that may do more than compute, NotABundle if it is damaged."""
    try:
        with bundle.graph_path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            others = name_others(read_ops(memoryview(content)))
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise NotABundle(f"Cannot read {bundle.graph_path}: {one_line(error)}; import the model again.") from error
    if others:
        raise ModelRefused(
            f"{bundle.name} holds {others}, which may do more than compute on tensors; import the model again from a"
            " source that you trust."
        )


def check_output(bundle: Bundle, op: str, name: str, sizes: Iterable[int | None], item_bytes: int) -> None:
    """Raise ModelRefused if an output of an op takes too much memory for one image. Sizes that are unknown before the
    graph runs, such as that of the batch, are None and count as 1."""
    size = math.prod(1 if one is None else one for one in sizes) * item_bytes
    if size > MOST_OUTPUT_BYTES:
        raise ModelRefused(
            f"{bundle.name} makes an output of {size:,} bytes for one image with the op {op} {name[:80]!r}, above the"
            f" limit of {MOST_OUTPUT_BYTES:,}; import a model with smaller tensors."
        )


def read_ops(graph: memoryview | bytes) -> Iterator[str]:
    """The op of every node of a GraphDef, and of every function in its library. Raises NotABundle if it is damaged."""
    for field, content in _fields(memoryview(graph)):
        if field == _GRAPH_NODE:
            yield _op(content)
        elif field == _GRAPH_LIBRARY:
            for number, function in _fields(content):
                if number == _LIBRARY_FUNCTION:
                    yield from (_op(node) for inner, node in _fields(function) if inner == _FUNCTION_NODE)


def read_node_op(node: bytes) -> str:
    """The op of a serialised NodeDef. Raises NotABundle if it is damaged."""
    return _op(memoryview(node))


def _op(node: memoryview) -> str:
    """The op of a node; of several, which no writer makes, all, joined by commas."""
    return ",".join(bytes(content).decode("utf-8", "replace") for field, content in _fields(node) if field == _NODE_OP)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The number and the content of every field that holds bytes."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        if tag > _MAX_TAG:
            raise _damaged()
        kind = tag & 7
        if kind == _BYTES:
            size, position = _varint(message, position)
            if size > end - position:
                raise _damaged()
            yield tag >> 3, message[position : position + size]
            position += size
        elif kind == _VARINT:
            _, position = _varint(message, position)
        elif kind in _FIXED_SIZES:
            position += _FIXED_SIZES[kind]
        else:  # groups, which these messages never had
            raise _damaged()
    if position > end:
        raise _damaged()


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number at a position, and the position after it."""
    value = 0
    for index, byte in enumerate(message[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise _damaged()


def _damaged() -> NotABundle:
    return NotABundle("The graph is damaged: it is not a serialised GraphDef; import the model again.")
