"""Properties of graphs: multiply-accumulates, layer names, output kinds."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hybrid_batch.inference.model.bundle import OutputKind
from hybrid_batch.inference.model.cuts import Op
from hybrid_batch.inference.model.importing.freeze import FrozenGraph, freeze
from hybrid_batch.inference.model.importing.graph import layer_name
from hybrid_batch.inference.model.importing.traceable_model import TraceableModel, wrap_keras_model
from hybrid_batch.inference.model.tensorflow_loader import suppress_output
from tests.inference.keras_models import classifier, convolution

pytestmark = pytest.mark.usefixtures("suppressed_output")


def frozen(call: Callable[[Any], Any], shape: tuple[int, int, int] = (10, 12, 4)) -> FrozenGraph:
    return freeze(TraceableModel(call, shape, "float32", frozenset(), None))


def macs(result: FrozenGraph) -> int:
    return sum(op.macs for op in result.ops)


def layer_macs(keras: ModuleType, layer: Any, shape: tuple[int, ...]) -> int:
    images = keras.Input(shape)
    return macs(freeze(wrap_keras_model(keras.Model(images, layer(images)))))


def test_macs_of_convolutions(keras: ModuleType) -> None:
    layers = keras.layers
    shape = (10, 12, 4)
    assert layer_macs(keras, layers.Conv2D(5, 3), shape) == 8 * 10 * 5 * (3 * 3 * 4)
    assert layer_macs(keras, layers.Conv2D(5, (1, 3), strides=2, padding="same"), shape) == 5 * 6 * 5 * (3 * 4)
    assert layer_macs(keras, layers.Conv2D(6, 3, groups=2), shape) == 8 * 10 * 6 * (3 * 3 * 4 // 2)
    assert layer_macs(keras, layers.Conv2D(5, 3, dilation_rate=2), shape) == 6 * 8 * 5 * (3 * 3 * 4)
    assert layer_macs(keras, layers.DepthwiseConv2D(3, depth_multiplier=2), shape) == 8 * 10 * 4 * 2 * (3 * 3)
    assert layer_macs(keras, layers.SeparableConv2D(7, 3), shape) == 8 * 10 * 4 * 9 + 8 * 10 * 7 * 4
    assert layer_macs(keras, layers.Conv2DTranspose(5, 3, strides=2), shape) == 10 * 12 * 4 * (3 * 3 * 5)


def test_macs_of_products(tf: ModuleType, keras: ModuleType) -> None:
    assert layer_macs(keras, keras.layers.Dense(7), (10, 12, 4)) == 10 * 12 * 4 * 7  # of every pixel
    ones = tf.ones
    assert macs(frozen(lambda x: tf.reshape(x, (-1, 480)) @ ones((480, 3)))) == 480 * 3
    assert macs(frozen(lambda x: tf.reshape(x, (-1, 12, 4)) @ ones((4, 3)))) == 10 * 12 * 4 * 3  # ten rows an image
    assert macs(frozen(lambda x: tf.matmul(x, x, transpose_b=True))) == 10 * 12 * 4 * 12
    assert macs(frozen(lambda x: tf.matmul(x, x, adjoint_a=True))) == 10 * 4 * 12 * 4
    assert macs(frozen(lambda x: tf.einsum("bhwc,cd->bhwd", x, ones((4, 3))))) == 10 * 12 * 4 * 3
    assert macs(frozen(lambda x: tf.einsum("bhwc,bhvc->bhwv", x, x))) == 10 * 12 * 12 * 4
    assert macs(frozen(lambda x: tf.einsum("...c,cd->...d", x, ones((4, 3))))) == 10 * 12 * 4 * 3


def test_operations_independent_of_the_image_have_no_macs(tf: ModuleType) -> None:
    assert macs(frozen(lambda x: x * tf.reduce_sum(tf.ones((5, 6)) @ tf.ones((6, 7))))) == 0


@pytest.mark.parametrize(("name", "millions"), [("MobileNetV2", 300), ("ResNet50", 3860)])
def test_macs_of_models_from_the_literature(keras: ModuleType, name: str, millions: int) -> None:
    """Sandler et al. 2018, table 4; He et al. 2016, table 1 (3.8 G)."""
    with suppress_output():
        model = getattr(keras.applications, name)(weights=None)
    assert macs(freeze(wrap_keras_model(model))) == pytest.approx(millions * 1e6, rel=0.01)


def test_tensors_that_can_be_sent(tf: ModuleType) -> None:
    def call(x: Any) -> Any:
        turned = tf.transpose(x, (1, 0, 2, 3), name="turned")  # the batch is not in front
        folded = tf.reshape(turned, (-1, 4), name="folded")  # rows of many images
        shaped = tf.reshape(folded, tf.shape(turned), name="shaped")
        whole = tf.cast(tf.transpose(shaped, (1, 0, 2, 3)), tf.int32, name="whole")
        return tf.reduce_mean(tf.cast(whole, tf.float32), (1, 2))

    ops = {op.name: op for op in frozen(call).ops}

    def spec(name: str) -> Any:
        (tensor,) = ops[name].outputs
        return tensor and (tensor.shape, tensor.datatype)

    assert spec("turned") is spec("folded") is spec("shaped") is None
    assert spec("whole") == ((10, 12, 4), "INT32")
    assert spec("image") == ((10, 12, 4), "FP32")


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (lambda tf, x: tf.nn.softmax(x), "probabilities"),
        (lambda tf, x: tf.sigmoid(x), "probabilities"),
        (lambda tf, x: tf.reshape(tf.identity(tf.cast(tf.nn.softmax(x), tf.float16)), (-1, 4)), "probabilities"),
        (lambda tf, x: x, "logits"),
        (lambda tf, x: tf.nn.softmax(x) * 2, "logits"),
        (lambda tf, x: tf.nn.log_softmax(x), "logits"),
    ],
)
def test_output_kind(tf: ModuleType, last: Callable[[Any, Any], Any], kind: OutputKind) -> None:
    assert frozen(lambda x: last(tf, tf.reduce_mean(x, (1, 2)))).output_kind == kind


@pytest.mark.parametrize(
    ("op", "prefix", "layers", "numbered", "layer"),
    [
        ("model_1/block_6_BN_1/batchnorm/add_1", 1, {"block_6_BN"}, True, "block_6_BN"),
        ("seq_1/inner_1/conv_1/Conv2D", 1, {"inner", "conv"}, True, "inner/conv"),
        ("model/dense_1/MatMul", 1, {"dense", "dense_1"}, False, "dense_1"),
        ("model/dense_1/MatMul", 1, {"dense", "dense_1"}, True, "dense"),
        ("model/dense_1_2/MatMul", 1, {"dense", "dense_1"}, True, "dense_1"),
        ("model/conv/Conv2D", 1, set(), False, "conv"),
        ("model/Relu", 1, set(), False, "Relu"),
        ("image", 1, {"conv"}, False, "image"),
    ],
)
def test_layer_name(op: str, prefix: int, layers: set[str], numbered: bool, layer: str) -> None:
    assert layer_name(op, prefix, frozenset(layers), numbered=numbered) == layer


def test_a_frozen_graph_has_no_variables_and_no_control_inputs(tf: ModuleType, keras: ModuleType) -> None:
    graph = tf.compat.v1.GraphDef.FromString(freeze(wrap_keras_model(classifier(keras, convolution))).graph)
    assert not {node.op for node in graph.node} & {"VarHandleOp", "ReadVariableOp", "NoOp", "PartitionedCall"}
    assert not [name for node in graph.node for name in node.input if name.startswith("^")]


def test_ops_have_layer_names(keras: ModuleType) -> None:
    ops: list[Op] = freeze(wrap_keras_model(classifier(keras, convolution))).ops
    assert {"first", "norm", "pool"} <= {op.layer for op in ops}
