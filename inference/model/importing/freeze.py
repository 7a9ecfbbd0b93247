"""Freezing: any classifier TensorFlow can call becomes one graph without variables, in float32 throughout.

One precision, because the graph is to give the same scores wherever it is divided and whichever engine runs it:
float16 in a graph is rounded at every op by TensorFlow, and by OpenVINO only where a cut happens to be.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.errors import ModelRefused
from hybrid_batch.inference.model.bundle import OutputKind
from hybrid_batch.inference.model.cuts import Op
from hybrid_batch.inference.model.importing.graph import list_ops, output_kind
from hybrid_batch.inference.model.importing.traceable_model import Source
from hybrid_batch.inference.model.tensorflow_loader import first_line, import_tensorflow, quiet

# What Keras compiles with XLA, such as grouped convolutions, freezing leaves as calls.
_COMPILED = {"PartitionedCall", "StatefulPartitionedCall"}
# Calls, loops and branches run functions of the graph's library, which are looked at like the graph itself.
_CALLS = {"While", "If", *_COMPILED}
_INPUT = "image"


@dataclass(frozen=True, slots=True)
class Frozen:
    """`graph` is a serialised GraphDef, `ops` its nodes. `input` and `output` name the tensors of the images, float32
    (batch, height, width, channels), and of what the model makes of them."""

    graph: bytes
    ops: list[Op]
    input: str
    output: str
    output_kind: OutputKind


def freeze(source: Source) -> Frozen:
    """Trace and freeze a source. Raises ModelRefused if it cannot be, or would do more than compute."""
    tf = import_tensorflow()
    graph_def, output = _frozen(_traced(tf, source))
    if any(node.op in _COMPILED for node in graph_def.node):
        with suppress(ModelRefused), _uncompiled(tf):
            graph_def, output = _frozen(_traced(tf, source))
    _as_float32(tf, graph_def)
    if effects := sorted(node.op for node in _nodes(graph_def) if _has_effect(node)):
        raise ModelRefused(
            "The model does more than compute: it runs code, touches files, keeps state or rolls dice"
            f" ({', '.join(dict.fromkeys(effects))}); it is refused."
        )
    return Frozen(
        graph=graph_def.SerializeToString(deterministic=True),
        ops=list_ops(graph_def, _INPUT, source.layers),
        input=f"{_INPUT}:0",
        output=output,
        output_kind=output_kind(graph_def, output),
    )


def _traced(tf: Any, source: Source) -> Any:  # noqa: ANN401
    """A function of float32 images, whatever the model takes, to float32 scores."""
    dtype = tf.as_dtype(source.dtype)
    if not (dtype.is_floating or dtype.is_integer):
        raise ModelRefused(f"The model takes {source.dtype}, not pixels; export it with an input of numbers.")

    def to_float32(scores: Any) -> Any:  # noqa: ANN401
        return tf.cast(scores, tf.float32) if scores.dtype.is_floating else scores

    def classify(image: Any) -> Any:  # noqa: ANN401
        return tf.nest.map_structure(to_float32, source.call(tf.cast(image, dtype)))

    signature = [tf.TensorSpec((None, *source.shape), tf.float32, _INPUT)]
    try:
        with quiet():
            function = tf.function(classify, input_signature=signature).get_concrete_function()
    except Exception as error:  # the model's own code runs here
        raise ModelRefused(f"TensorFlow cannot trace this model: {first_line(error)}") from error
    if len(function.outputs) != 1:
        raise ModelRefused(f"The model has {len(function.outputs)} outputs; one row of scores is needed.")
    return function


@contextmanager
def _uncompiled(tf: Any) -> Iterator[None]:  # noqa: ANN401
    """Inner functions are traced in place, as ops like any others."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _frozen(function: Any) -> tuple[Any, str]:  # noqa: ANN401
    """The GraphDef of a traced function and its output tensor's name.

    Control inputs only order side effects, and a graph that computes has none, so they go, and with them the
    assertions and prints that hang on them. Loops stay whole, as one op each."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tensorflow.python.framework.graph_util_impl import extract_sub_graph

    try:
        with quiet():
            frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
            graph_def = frozen.graph.as_graph_def()
            for node in graph_def.node:
                node.input[:] = [name for name in node.input if not name.startswith("^")]
            (output,) = frozen.outputs
            graph_def = extract_sub_graph(graph_def, [output.op.name])
    except Exception as error:  # the converter raises anything on what it does not know
        raise ModelRefused(f"TensorFlow cannot freeze this model: {first_line(error)}") from error
    _keep_called(graph_def)
    return graph_def, output.name


def _keep_called(graph_def: Any) -> None:  # noqa: ANN401
    """Drop the library's functions that nothing calls."""
    library = {function.signature.name: function for function in graph_def.library.function}
    called: set[str] = set()
    waiting = list(graph_def.node)
    while waiting:
        for value in waiting.pop().attr.values():
            for name in (value.func.name, *(func.name for func in value.list.func)):
                if name in library and name not in called:
                    called.add(name)
                    waiting.extend(library[name].node_def)
    kept = [library[name] for name in sorted(called)]
    graph_def.library.Clear()
    graph_def.library.function.extend(kept)


def _as_float32(tf: Any, graph_def: Any) -> None:  # noqa: ANN401
    others = {tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum, tf.float64.as_datatype_enum}
    single = tf.float32.as_datatype_enum
    for node in _nodes(graph_def):
        for value in node.attr.values():
            # Only fields that are there may be touched: each is one of a union.
            if value.type in others:
                value.type = single
            elif value.list.type:
                value.list.type[:] = [single if kind in others else kind for kind in value.list.type]
            elif value.tensor.dtype in others:
                value.tensor.CopyFrom(tf.make_tensor_proto(tf.make_ndarray(value.tensor).astype("float32")))
    for function in graph_def.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            if argument.type in others:
                argument.type = single


def _nodes(graph_def: Any) -> Iterator[Any]:  # noqa: ANN401
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _has_effect(node: Any) -> bool:  # noqa: ANN401
    """Whether an op does more than compute numbers from numbers. Files are named by strings."""
    from tensorflow.core.framework.types_pb2 import DT_STRING
    from tensorflow.python.framework import op_def_registry

    kind = op_def_registry.get(node.op)
    if kind is None or node.op == "PyFuncStateless" or (kind.is_stateful and node.op not in _CALLS):
        return True
    types = {argument.type for argument in (*kind.input_arg, *kind.output_arg)}
    return DT_STRING in types | {value.type for value in node.attr.values()}
