"""A Keras file reaches only the classes and functions of the allowlist; each attack names others."""

import json
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import pytest

from hybrid_batch.data.errors import HybridBatchError, ModelRefused
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_model
from tests.inference.keras_models import classifier, convolution

pytestmark = pytest.mark.usefixtures("suppressed_output")
REMEDY = "if you trust the file's source, add --trust-model"


def with_layer(tf_keras: ModuleType, folder: Path, layer: dict[str, Any]) -> Path:
    """A Keras 2 file whose configuration has one more layer between the images and the first convolution."""
    file = folder / "hostile.h5"
    classifier(tf_keras, convolution).save(file)
    with h5py.File(file, "a") as stored:
        config = json.loads(stored.attrs["model_config"])
        config["config"]["layers"].insert(1, {"name": "extra", **layer})
        stored.attrs["model_config"] = json.dumps(config)
    return file


def refusal(file: Path, folder: Path, target: Path | None = None) -> str:
    """Import a hostile file, and return the sentence of the refusal; `target` is what the file would make."""
    found: Exception | None = None
    try:
        import_model(str(file), folder / "made.bundle", ImportSettings())
    except HybridBatchError as error:
        found = error
    assert target is None or not target.exists()
    assert isinstance(found, ModelRefused)
    assert not (folder / "made.bundle").exists()
    return str(found)


def op_layer(kind: str, config: dict[str, Any], first: Any, named: dict[str, Any]) -> dict[str, Any]:
    """A layer that calls a function with constants: `first`, and those of `named`."""
    return {
        "class_name": kind,
        "config": {"name": "extra", "trainable": True, "dtype": "float32", **config},
        "inbound_nodes": [["_CONSTANT_VALUE", -1, first, named]],
    }


@pytest.mark.parametrize("kind", ["TFOpLambda", "SlicingOpLambda"])
@pytest.mark.parametrize("function", ["io.gfile.copy", "compat.v1.gfile.Copy"])
def test_op_layers_copy_no_file(tf_keras: ModuleType, tmp_path: Path, kind: str, function: str) -> None:
    (tmp_path / "secret").write_text("token")
    target = tmp_path / "stolen"
    names = ("dst", "overwrite") if "io" in function else ("newpath", "overwrite")
    named = dict(zip(names, (str(target), True), strict=True))
    layer = op_layer(kind, {"function": function}, str(tmp_path / "secret"), named)
    message = refusal(with_layer(tf_keras, tmp_path, layer), tmp_path, target)
    assert message.startswith(f"hostile.h5 calls tf.{function}, ")
    assert message.endswith(f"{REMEDY}.")


def test_class_methods_write_no_file(tf_keras: ModuleType, tmp_path: Path) -> None:
    """The symbol of a class method may be a function, and its method `__call__`."""
    target = tmp_path / "made"
    config = {"cls_symbol": "io.gfile.makedirs", "method_name": "__call__"}
    layer = op_layer("ClassMethod", config, [str(target)], {"kwargs": {}})
    message = refusal(with_layer(tf_keras, tmp_path, layer), tmp_path, target)
    assert "'ClassMethod'" in message
    assert REMEDY in message


def test_text_of_a_model_in_a_constant_is_not_run(tf_keras: ModuleType, tmp_path: Path) -> None:
    """`model_from_json` makes a model from a constant; its op layer makes a folder."""
    target = tmp_path / "made"
    inner = json.loads(classifier(tf_keras, convolution).to_json())
    layer = op_layer("SlicingOpLambda", {"function": "io.gfile.makedirs"}, str(target), {})
    inner["config"]["layers"].insert(1, {"name": "extra", **layer})
    outer = op_layer("SlicingOpLambda", {"function": "keras.models.model_from_json"}, json.dumps(inner), {})
    message = refusal(with_layer(tf_keras, tmp_path, outer), tmp_path, target)
    assert message.startswith("hostile.h5 calls tf.")


def test_recorded_ops_write_no_file(tf: ModuleType, tf_keras: ModuleType, tmp_path: Path) -> None:
    target = tmp_path / "written"
    node = {"name": "extra", "op": "WriteFile", "input": ["extra/name", "extra/content"]}
    layer = {
        "class_name": "TensorFlowOpLayer",
        "config": {"name": "extra", "dtype": "float32", "node_def": node, "constants": {"0": str(target), "1": "x"}},
        "inbound_nodes": [],
    }
    message = refusal(with_layer(tf_keras, tmp_path, layer), tmp_path, target)
    assert "'WriteFile'" in message
    assert REMEDY in message


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ({"class_name": "InstanceMethod", "config": {"attr_name": "numpy"}}, "'InstanceMethod'"),
        ({"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}, "'StringLookup'"),
        ({"class_name": "TensorFlowOpLayer", "config": {"node_def": "\n\x01a\x12\x07PrintV2"}}, "'PrintV2'"),
        ({"class_name": "TensorFlowOpLayer", "config": {"node_def": "\x0b"}}, "'node_def'"),
        ({"class_name": "TFOpLambda", "config": {"function": ["io.gfile.copy"]}}, "['io.gfile.copy']"),
        ({"class_name": "TFOpLambda", "config": {}}, "tf.None"),
        ({"class_name": "Dense", "config": {"activation": "deserialize"}}, "'deserialize'"),
        ({"class_name": "Dense", "config": {"kernel_initializer": "getattr"}}, "'getattr'"),
        ({"class_name": "Dense", "config": {"activation": {"class_name": "function", "config": "eval"}}}, "'eval'"),
        ({"class_name": "Bidirectional", "config": {"layer": '{"class_name": "Own", "config": {}}'}}, "as layer"),
        ({"class_name": "Dense", "config": {"note": ' [[{"class_name": "Own"}]]'}}, "'Own'"),
        ({"class_name": "Dense", "config": {"note": json.dumps(json.dumps({"class_name": "Own"}))}}, "'Own'"),
        ({"class_name": "Dense", "config": {"note": "[" * 99_999}}, "nested too deeply"),
        ({"class_name": ["Dense"], "config": {}}, "['Dense']"),
        ({"class_name": "Dense", "registered_name": "Any>Lambda", "config": {}}, "'Any>Lambda'"),
        ({"class_name": "Dense", "module": "keras.src.utils.file_utils.os", "config": {"layer": "os"}}, "'os'"),
        ({"class_name": "__typespec__", "spec_name": "x", "module": "keras", "config": []}, "'__typespec__'"),
    ],
    ids=lambda value: None,
)
def test_names_beyond_the_allowlist(tf_keras: ModuleType, tmp_path: Path, layer: dict[str, Any], named: str) -> None:
    message = refusal(with_layer(tf_keras, tmp_path, layer), tmp_path)
    assert named in message
    assert REMEDY in message


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ({"module": "keras.src.ops.core", "class_name": "Map", "config": {}}, "'Map'"),
        ({"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/x"}}, "'StringLookup'"),
        ({"module": "keras.layers", "class_name": "JaxLayer", "config": {}}, "'JaxLayer'"),
        ({"module": "keras.utils", "class_name": "function", "config": "get_file"}, "'get_file'"),
        ({"module": "builtins", "class_name": "function", "config": "exec"}, "'exec'"),
        ({"module": "keras", "class_name": "models.Sequential", "config": {}}, "'models.Sequential'"),
    ],
    ids=lambda value: None,
)
def test_names_beyond_the_allowlist_of_keras_3(
    keras: ModuleType, tmp_path: Path, layer: dict[str, Any], named: str
) -> None:
    whole, file = tmp_path / "whole.keras", tmp_path / "hostile.keras"
    classifier(keras, convolution).save(whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][1]["config"]["inner"] = layer
                data = json.dumps(config).encode()
            new.writestr(name, data)
    message = refusal(file, tmp_path)
    assert named in message
    assert REMEDY in message


def test_a_loss_of_the_user_is_not_read(keras: ModuleType, tmp_path: Path) -> None:
    """The settings of training are left out of the import, so that they may name what the allowlist lacks."""

    def own_loss(expected: Any, found: Any) -> Any:
        return expected - found

    model = classifier(keras, convolution)
    model.compile(loss=own_loss)
    model.save(tmp_path / "own.keras")
    assert import_model(str(tmp_path / "own.keras"), tmp_path / "made.bundle", ImportSettings()).bundle.cuts


def test_operators_of_keras_3(keras: ModuleType, tmp_path: Path) -> None:
    def body(keras: ModuleType, x: Any) -> Any:
        y = keras.layers.Conv2D(6, 3, padding="same", kernel_regularizer="l2", activation="swish")(x)[:, ::2, ::2]
        y = keras.ops.relu(y * 2.0 + 1.0) - keras.ops.mean(y, axis=(1, 2), keepdims=True)
        return keras.layers.GlobalAveragePooling2D()(keras.ops.concatenate([y, keras.ops.sigmoid(y)], axis=-1))

    classifier(keras, body).save(tmp_path / "ops.keras")
    assert import_model(str(tmp_path / "ops.keras"), tmp_path / "made.bundle", ImportSettings()).bundle.cuts
