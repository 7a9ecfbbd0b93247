"""Freezing: turn a model that TensorFlow can call into one graph without variables, in float32 throughout.

The graph has one precision, because its scores must not depend on the cut or the runtime: TensorFlow rounds float16
at every op, and OpenVINO only at the cuts.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hybrid_batch.data.errors import ModelRefused
from hybrid_batch.inference.model.bundle import OutputKind
from hybrid_batch.inference.model.cuts import Op
from hybrid_batch.inference.model.importing.graph import list_ops, output_kind
from hybrid_batch.inference.model.importing.traceable_model import TraceableModel
from hybrid_batch.inference.model.runtimes.tensor_ops import TENSOR_OPS
from hybrid_batch.inference.model.tensorflow_loader import first_line, import_tensorflow, suppress_output

# Functions that Keras compiles with XLA, such as grouped convolutions, stay calls in a frozen graph.
_COMPILED_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_INPUT = "image"


@dataclass(frozen=True, slots=True)
class FrozenGraph:
    """A frozen model: `graph` is a serialised GraphDef, `ops` its nodes.

    `input` and `output` are tensor names: float32 images (batch, height, width, channels), and the model's output."""

    graph: bytes
    ops: list[Op]
    input: str
    output: str
    output_kind: OutputKind


def freeze(model: TraceableModel) -> FrozenGraph:
    """Trace and freeze a model. Raises ModelRefused if TensorFlow cannot, or the model has side effects."""
    tf = import_tensorflow()
    graph_def, output = _frozen(_trace(tf, model))
    if any(node.op in _COMPILED_CALLS for node in graph_def.node):
        with suppress(ModelRefused), _inline_functions(tf):
            graph_def, output = _frozen(_trace(tf, model))
    _convert_to_float32(tf, graph_def)
    if refused := sorted(node.op for node in _all_nodes(graph_def) if _is_refused(node)):
        raise ModelRefused(
            "The model has side effects or ops of unknown effect (state, files, Python code or random ops:"
            f" {', '.join(dict.fromkeys(refused))}) and cannot be imported; export it without them."
        )
    return FrozenGraph(
        graph=graph_def.SerializeToString(deterministic=True),
        ops=list_ops(graph_def, _INPUT, model.layers),
        input=f"{_INPUT}:0",
        output=output,
        output_kind=output_kind(graph_def, output),
    )


def _trace(tf: Any, model: TraceableModel) -> Any:  # noqa: ANN401
    """Trace a function from float32 images to float32 scores, for any input datatype of the model."""
    dtype = tf.as_dtype(model.dtype)
    if not (dtype.is_floating or dtype.is_integer):
        raise ModelRefused(f"The model's input is {model.dtype}, not pixels; export it with a numeric input.")

    def to_float32(scores: Any) -> Any:  # noqa: ANN401
        return tf.cast(scores, tf.float32) if scores.dtype.is_floating else scores

    def classify(image: Any) -> Any:  # noqa: ANN401
        return tf.nest.map_structure(to_float32, model.call(tf.cast(image, dtype)))

    signature = [tf.TensorSpec((None, *model.shape), tf.float32, _INPUT)]
    try:
        with suppress_output():
            function = tf.function(classify, input_signature=signature).get_concrete_function()
    except Exception as error:  # tracing runs the model's own code
        raise ModelRefused(f"TensorFlow cannot trace this model: {first_line(error)}") from error
    if len(function.outputs) != 1:
        raise ModelRefused(f"The model has {len(function.outputs)} outputs; one row of scores is needed.")
    return function


@contextmanager
def _inline_functions(tf: Any) -> Iterator[None]:  # noqa: ANN401
    """Trace inner functions in place, as ops of the graph."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _frozen(function: Any) -> tuple[Any, str]:  # noqa: ANN401
    """Return the GraphDef of a traced function, and the name of its output tensor.

    Control inputs are removed, because they only order side effects, and with them the assertions and prints that
    depend on them. A loop stays one op."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tensorflow.python.framework.graph_util_impl import extract_sub_graph

    try:
        with suppress_output():
            frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
            graph_def = frozen.graph.as_graph_def()
            for node in graph_def.node:
                node.input[:] = [name for name in node.input if not name.startswith("^")]
            (output,) = frozen.outputs
            graph_def = extract_sub_graph(graph_def, [output.op.name])
    except Exception as error:  # the converter raises any exception for ops it does not know
        raise ModelRefused(f"TensorFlow cannot freeze this model: {first_line(error)}") from error
    _drop_unused_functions(graph_def)
    return graph_def, output.name


def _drop_unused_functions(graph_def: Any) -> None:  # noqa: ANN401
    library = {function.signature.name: function for function in graph_def.library.function}
    used: set[str] = set()
    pending = list(graph_def.node)
    while pending:
        for value in pending.pop().attr.values():
            for name in (value.func.name, *(func.name for func in value.list.func)):
                if name in library and name not in used:
                    used.add(name)
                    pending.extend(library[name].node_def)
    kept = [library[name] for name in sorted(used)]
    graph_def.library.Clear()
    graph_def.library.function.extend(kept)


def _convert_to_float32(tf: Any, graph_def: Any) -> None:  # noqa: ANN401
    others = {tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum, tf.float64.as_datatype_enum}
    single = tf.float32.as_datatype_enum
    for node in _all_nodes(graph_def):
        for value in node.attr.values():
            # Each value is a union, so only the field that is set may be written.
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


def _all_nodes(graph_def: Any) -> Iterator[Any]:  # noqa: ANN401
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _is_refused(node: Any) -> bool:  # noqa: ANN401
    """Whether an op may do more than compute numbers from numbers. Strings count, because files are named by them."""
    from tensorflow.core.framework.types_pb2 import DT_STRING
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    if definition is None or node.op not in TENSOR_OPS:
        return True
    types = {argument.type for argument in (*definition.input_arg, *definition.output_arg)}
    return DT_STRING in types | {value.type for value in node.attr.values()}
