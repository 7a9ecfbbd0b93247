"""A bundle's graph holds only ops that compute on tensors; both runtimes refuse another before they open it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hybrid_batch.data.errors import HybridBatchError, ModelRefused, NotABundle
from hybrid_batch.inference.model.bundle import Bundle, read_bundle, write_bundle
from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH
from hybrid_batch.inference.model.runtimes import RUNTIMES, compile_tail, open_runtime
from hybrid_batch.inference.model.runtimes.graph_nodes import read_node_op, read_ops
from hybrid_batch.inference.model.runtimes.verify import synthetic_images

Ops = Callable[[ModuleType, Any, str], Any]


def print_line(tf: ModuleType, scores: Any, target: str) -> Any:
    with tf.control_dependencies([tf.print("taken", output_stream=f"file://{target}")]):
        return tf.identity(scores)


def write_file(tf: ModuleType, scores: Any, target: str) -> Any:
    with tf.control_dependencies([tf.io.write_file(target, "taken")]):
        return tf.identity(scores)


def debug(tf: ModuleType, scores: Any, target: str) -> Any:
    """An op that TensorFlow declares free of state; it writes what it is given."""
    return tf.raw_ops.DebugIdentity(input=scores, tensor_name="a:0", debug_urls=[f"file://{target}"])


def save(tf: ModuleType, scores: Any, target: str) -> Any:
    with tf.control_dependencies(
        [tf.raw_ops.SaveV2(prefix=target, tensor_names=["a"], shape_and_slices=[""], tensors=[scores])]
    ):
        return tf.identity(scores)


def in_a_function(tf: ModuleType, scores: Any, target: str) -> Any:
    return tf.function(lambda x: print_line(tf, x, target), autograph=False)(scores)


def in_a_branch(tf: ModuleType, scores: Any, target: str) -> Any:
    return tf.cond(tf.size(scores) > 0, lambda: write_file(tf, scores, target), lambda: scores)


def cached_data(tf: ModuleType, scores: Any, target: str) -> Any:
    count = tf.data.Dataset.range(2).cache(target).reduce(tf.constant(0, tf.int64), lambda state, _: state)
    return scores + tf.cast(count, tf.float32)


def tile(tf: ModuleType, scores: Any, target: str) -> Any:
    return scores + tf.reduce_sum(tf.tile(scores, [1, 1 << 26]))


def pad(tf: ModuleType, scores: Any, target: str) -> Any:
    return scores + tf.reduce_sum(tf.pad(scores, [[0, 0], [0, 1 << 29]]))


def one_hot(tf: ModuleType, scores: Any, target: str) -> Any:
    return scores + tf.reduce_sum(tf.one_hot(tf.cast(scores, tf.int32), 1 << 27))


def fill(tf: ModuleType, scores: Any, target: str) -> Any:
    return scores + tf.reduce_sum(tf.fill(tf.constant([3000, 3000]) * 10, 1.0))


def multiply(tf: ModuleType, scores: Any, target: str) -> Any:
    column = tf.ones([1 << 15, 1])
    return scores + tf.reduce_sum(column * tf.transpose(column))


ATTACKS = [print_line, write_file, debug, save, in_a_function, in_a_branch, cached_data]


def foreign_bundle(tf: ModuleType, folder: Path, attack: Ops, target: Path) -> Bundle:
    """The sample's bundle with an attack behind its scores, with a valid hash."""
    bundle = read_bundle(BUILT_IN_PATH)
    graph_def = tf.compat.v1.GraphDef.FromString(bundle.graph_path.read_bytes())
    name = bundle.output.name.partition(":")[0]
    for node in graph_def.node:
        if node.name == name:
            node.name = "honest"
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        attacked = attack(tf, graph.get_tensor_by_name("honest:0"), str(target))
        tf.identity(attacked, name=name)
    return write_bundle(replace(bundle, path=folder / "foreign.bundle"), graph.as_graph_def().SerializeToString())


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_foreign_graph_writes_no_file(tf: ModuleType, tmp_path: Path, attack: Ops, runtime: str) -> None:
    target = tmp_path / "taken" / "file"
    target.parent.mkdir()
    bundle = foreign_bundle(tf, tmp_path, attack, target)
    found: Exception | None = None
    try:
        opened = open_runtime(runtime, read_bundle(bundle.path), cached=False)
        compile_tail(opened, bundle, bundle.input_cut)([synthetic_images(bundle, 1)])
    except HybridBatchError as error:
        found = error
    assert not list(target.parent.iterdir())
    assert isinstance(found, ModelRefused)
    assert "holds the op" in str(found)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_cached_segment_is_not_made_of_a_foreign_graph(tf: ModuleType, tmp_path: Path, runtime: str) -> None:
    bundle = foreign_bundle(tf, tmp_path, print_line, tmp_path / "taken")
    for _ in range(2):
        with pytest.raises(ModelRefused, match="holds the ops PrintV2, StringFormat, "):
            compile_tail(open_runtime(runtime, bundle), bundle, bundle.input_cut)


@pytest.mark.parametrize(
    ("attack", "runtime"),
    [
        *((tile, runtime) for runtime in RUNTIMES),
        *((pad, runtime) for runtime in RUNTIMES),
        *((one_hot, runtime) for runtime in RUNTIMES),
        (fill, "tensorflow"),
        (multiply, "tensorflow"),
    ],
)
def test_an_output_above_the_limit_is_refused(tf: ModuleType, tmp_path: Path, attack: Ops, runtime: str) -> None:
    bundle = foreign_bundle(tf, tmp_path / "foreign.bundle", attack, tmp_path / "target")
    with pytest.raises(ModelRefused, match=r"digits makes an output of [0-9,]+ bytes for one image with the op \w+ '"):
        compile_tail(open_runtime(runtime, bundle, cached=False), bundle, bundle.input_cut)


def test_all_ops_are_read(tf: ModuleType) -> None:
    """The reader finds the ops that TensorFlow's parser finds, in the graph and in its functions."""
    from tensorflow.core.framework.graph_pb2 import GraphDef

    content = read_bundle(BUILT_IN_PATH).graph_path.read_bytes()
    assert list(read_ops(content)) == [node.op for node in GraphDef.FromString(content).node]
    with tf.Graph().as_default() as graph:
        in_a_branch(tf, tf.ones(()), "x")
    graph_def = graph.as_graph_def()
    functions = [node.op for function in graph_def.library.function for node in function.node_def]
    assert "WriteFile" in functions
    expected = sorted([*functions, *(node.op for node in graph_def.node)])
    assert sorted(read_ops(graph_def.SerializeToString())) == expected


def test_no_mutated_graph_hides_an_op() -> None:
    """What TensorFlow's parser finds in a graph, the reader finds as well, or refuses the graph."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph = GraphDef()
    for name in ("Add", "Conv2D", "PrintV2", "WriteFile"):
        graph.node.add(name="a", op=name, input=["b"], device="c").attr["T"].i = 300
        graph.library.function.add().node_def.add(name="d", op=name)
    original, rng, parsed = graph.SerializeToString(), np.random.default_rng(0), 0
    for _ in range(5000):
        content = bytearray(original)
        for position in rng.integers(0, len(content), rng.integers(1, 4)):
            content[position] = rng.choice([0, 1, 2, 10, 18, 26, 128, 255, int(rng.integers(256))])
        try:
            found = GraphDef.FromString(bytes(content))
            nodes = [*found.node, *(node for function in found.library.function for node in function.node_def)]
            parsed += 1
            read = list(read_ops(content))
            assert all(any(f",{op}".endswith(f",{node.op}") for op in read) for node in nodes)
        except (DecodeError, NotABundle):
            continue
    assert parsed > 500


def test_an_op_that_is_stored_twice_is_not_hidden() -> None:
    """Parsers take the last of two; the reader joins both, and the result is on no list."""
    assert read_node_op(b"\x12\x03Add\x12\x07PrintV2") == "Add,PrintV2"
    assert list(read_ops(b"\x0a\x0e\x12\x03Add\x12\x07PrintV2")) == ["Add,PrintV2"]


@pytest.mark.parametrize(
    "content",
    [
        b"\x8a\x80\x80\x80\x10\x00",
        b"\x0a\xff",
        b"\x0b",
        b"\x0a" + b"\xff" * 11,
        b"\x09\x00",
        b"text",
        b"\x0a\x02\x12\x7f",
    ],
)
def test_damaged_graphs(content: bytes) -> None:
    with pytest.raises(NotABundle, match="damaged"):
        list(read_ops(content))
