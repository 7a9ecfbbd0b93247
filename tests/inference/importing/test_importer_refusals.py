"""Models that cannot be imported are refused in one sentence with exit code 2, and none of their code runs."""

import builtins
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hybrid_batch.cli import main
from hybrid_batch.inference.model.tensorflow_loader import suppress_output
from tests.inference.keras_models import classifier, convolution

Refuse = Callable[..., str]


@pytest.fixture
def refuse(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refuse:
    """Import with these arguments, and return the sentence of the refusal."""

    def refuse(*arguments: object) -> str:
        capfd.readouterr()
        code = main(["import", *map(str, arguments), "-o", str(tmp_path / "out.bundle")])
        out, err = capfd.readouterr()
        assert (code, out) == (2, ""), err
        assert not (tmp_path / "out.bundle").exists()
        assert not list(tmp_path.glob(".out*"))
        sentence = err.removeprefix("hybrid-batch: ")
        assert sentence.count("\n") == 1, err
        assert sentence.endswith((".\n", "?\n"))
        return sentence.strip()

    return refuse


def accepted(*arguments: object) -> None:
    with suppress_output():
        assert main(["import", *map(str, arguments), "--force"]) == 0


def saved(model: Any, file: Path) -> Path:
    with suppress_output():
        model.save_weights(file) if ".weights." in file.name else model.save(file)
    return file


# Files that are not a model


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "model.hdf5"])
@pytest.mark.parametrize("content", [b"", b"not a model\n" * 1000], ids=["empty", "text"])
def test_files_of_another_kind(refuse: Refuse, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert refuse(tmp_path / name).startswith(f"{name} is damaged or not a Keras model: ")


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.98])
def test_truncated_files(refuse: Refuse, keras: ModuleType, tmp_path: Path, name: str, part: float) -> None:
    file = saved(classifier(keras, convolution), tmp_path / name)
    content = file.read_bytes()
    file.write_bytes(content[: int(part * len(content))])
    assert refuse(file).startswith(f"{name} is damaged or not a Keras model: ")


def test_a_keras_file_with_damaged_members(refuse: Refuse, keras: ModuleType, tmp_path: Path) -> None:
    whole = saved(classifier(keras, convolution), tmp_path / "whole.keras")
    for missing, message in {
        "config.json": "is not a complete .keras file",
        "metadata.json": "is not a complete .keras file",
        "model.weights.h5": "cannot read part.keras",
    }.items():
        rewritten(whole, tmp_path / "part.keras", lambda name, data, missing=missing: None if name == missing else data)
        assert message in refuse(tmp_path / "part.keras")
    rewritten(whole, tmp_path / "part.keras", lambda name, data: data[:99] if name == "config.json" else data)
    assert "is not a complete .keras file" in refuse(tmp_path / "part.keras")


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


@pytest.mark.parametrize("name", ["model.weights.h5", "old.h5"])
def test_weights_only(refuse: Refuse, keras: ModuleType, tf_keras: ModuleType, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    with suppress_output():
        classifier(keras if "weights" in name else tf_keras, convolution).save_weights(file)
    assert refuse(file) == (
        f"{name} holds only weights; save the whole model with model.save(), or for a model of"
        f" keras.applications use app:NAME --weights {name}."
    )


def test_decompression_bombs_are_refused(refuse: Refuse, keras: ModuleType, tmp_path: Path) -> None:
    file = saved(classifier(keras, convolution), tmp_path / "whole.keras")
    rewritten(file, tmp_path / "config.keras", lambda name, data: b" " * (65 << 20) if name == "config.json" else data)
    assert refuse(tmp_path / "config.keras").endswith("has a configuration of over 64 MiB; that is not a Keras model.")
    rewritten(file, tmp_path / "weights.keras", lambda name, data: bytes(99 << 20) if name.endswith("h5") else data)
    assert refuse(tmp_path / "weights.keras").endswith("would unpack to 99 MiB; that is not a Keras model.")
    rewritten(file, tmp_path / "deep.keras", lambda name, data: b"[" * 99_999 if name == "config.json" else data)
    assert "is not a complete .keras file" in refuse(tmp_path / "deep.keras")


def test_folders_and_paths(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "neither a bundle (no bundle.json) nor a SavedModel (no saved_model.pb)" in refuse(tmp_path / "empty")
    assert refuse(tmp_path / "gone.keras").startswith(f"No model at {tmp_path}/gone.keras")
    (tmp_path / "model.onnx").touch()
    assert "is not a model; give a .keras, .h5 or .hdf5 file" in refuse(tmp_path / "model.onnx")


def test_damaged_saved_models(refuse: Refuse, keras: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    with suppress_output():
        classifier(keras, convolution).export(folder, verbose=False)
    graph = (folder / "saved_model.pb").read_bytes()
    for content in (b"", b"text", graph[: len(graph) // 2]):
        (folder / "saved_model.pb").write_bytes(content)
        assert "saved" in refuse(folder)
    (folder / "saved_model.pb").write_bytes(graph)
    next((folder / "variables").glob("*.data*")).write_bytes(b"short")
    assert refuse(folder).startswith(f"TensorFlow cannot read {folder}: ")


# Models that are not image classifiers


def test_unsupported_inputs_and_outputs(refuse: Refuse, keras: ModuleType, tmp_path: Path) -> None:
    layers = keras.layers
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    flat, text = keras.Input((64,)), keras.Input((None, None, 1))
    for model, message in {
        keras.Model([a, b], layers.Dense(2)(layers.Flatten()(a + b))): "takes 2 inputs; one image input is needed.",
        keras.Model(a, [layers.Flatten()(a), layers.Flatten()(a)]): "has 2 outputs; one row of scores is needed.",
        keras.Model(flat, layers.Dense(2)(flat)): "input is 64, a flat vector; set the image's size with --size",
        keras.Model(a, layers.Conv2D(2, 3)(a)): "output for an image is 6x6x2 FP32; one row of scores is needed.",
        keras.Model(text, layers.GlobalMaxPooling2D()(text)): "of open size; set it with --size HEIGHTxWIDTH.",
    }.items():
        assert message in refuse(saved(model, tmp_path / "model.keras"))
    six = keras.Input((8, 8, 6))
    file = saved(keras.Model(six, layers.Dense(2)(layers.Flatten()(six))), tmp_path / "model.keras")
    assert refuse(file) == "The model takes 6 channels, which does not match --colour rgb."


@pytest.mark.parametrize("size", ["0", "8x8x8x8", "-8", "²", ""])
def test_a_malformed_size(capfd: pytest.CaptureFixture[str], size: str) -> None:
    assert main(["import", "model.h5", "--size", size]) == 2
    assert f"{size!r} is not an image size; write 224, 224x160 (height x width)" in capfd.readouterr().err


def test_settings_that_contradict_the_model(refuse: Refuse, keras: ModuleType, tmp_path: Path) -> None:
    grey = saved(classifier(keras, convolution, (16, 16, 1)), tmp_path / "grey.keras")
    assert refuse(grey, "--colour", "bgr") == "The model takes 1 channel, which does not match --colour bgr."
    assert "grey use 0-255" in refuse(grey, "--scale", "caffe")
    assert "is 16x16x1, which --size 32x32 cannot change" in refuse(grey, "--size", "32")
    whole = keras.Input((8, 8, 3), dtype="uint8")
    model = keras.Model(whole, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(whole))))
    assert "takes uint8 pixels, but --scale 0-1 gives floats; use 0-255." in refuse(
        saved(model, tmp_path / "whole.keras"), "--scale", "0-1"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\n", "names 2 classes but the model has 5"),
        ("a\nb\nc\nb\ne\n", "names the class 'b' twice"),
        ("a\n\nc\nd\ne\n", "line 2 is empty"),
        ("", "line 1 is empty"),
        (b"\xff\xfe\x00", "Cannot read the class names"),
    ],
)
def test_class_files_that_do_not_match(
    refuse: Refuse, keras: ModuleType, tmp_path: Path, content: str | bytes, message: str
) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refuse(saved(classifier(keras, convolution), tmp_path / "m.keras"), "--classes", classes)


def test_applications(refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refuse("app:MobilNetV2").startswith("keras.applications has no 'MobilNetV2'; did you mean MobileNetV2 or ")
    assert "it has ConvNeXtBase, " in refuse("app:zzz")
    assert refuse("app:MobileNet", "--weights", "gone.h5").endswith("is neither none, imagenet nor a file.")
    assert "cannot make MobileNet with weights none" in refuse("app:MobileNet", "--size", "3x3")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # no server answers on this port
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    assert refuse("app:MobileNet", "--weights", "imagenet").startswith(
        "keras.applications cannot make MobileNet with weights imagenet: "
    )


def test_a_folder_that_is_not_a_bundle_is_not_replaced(keras: ModuleType, tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert main(["import", "app:MobileNet", "-o", str(tmp_path / "mine"), "--force"]) == 2
    assert "exists and is not a bundle" in capfd.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").exists()


# Models that carry code


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that hostile code would write. Its path is a builtin, because bytecode has no closure."""
    path = tmp_path / "executed"
    monkeypatch.setattr(builtins, "path_of_the_mark", str(path), raising=False)
    return path


def lambda_model(keras: ModuleType, *, nested: bool) -> Any:
    layer = keras.layers.Lambda(lambda x: [open(path_of_the_mark, "w").close(), x][1])  # noqa: F821, PTH123
    model = keras.Sequential([keras.Input((8, 8, 3)), layer, keras.layers.Flatten(), keras.layers.Dense(3)])
    return keras.Sequential([keras.Input((8, 8, 3)), model]) if nested else model


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("maker", ["keras", "tf_keras"])
def test_lambda_layers_run_only_when_trusted(
    refuse: Refuse, tmp_path: Path, mark: Path, maker: str, name: str, nested: bool, request: pytest.FixtureRequest
) -> None:
    file = saved(lambda_model(request.getfixturevalue(maker), nested=nested), tmp_path / name)
    mark.unlink()  # building the model ran it
    assert refuse(file) == (
        f"{name} has a Lambda layer, which is code that would run on this machine;"
        " if you trust the file's source, add --trust-model."
    )
    assert not mark.exists()
    accepted(file, "--trust-model", "-o", tmp_path / "trusted.bundle")
    assert mark.exists()


def test_a_file_of_two_formats_is_read_as_one(refuse: Refuse, keras: ModuleType, tmp_path: Path, mark: Path) -> None:
    """An HDF5 file with an innocent archive at its end must not pass as the archive and be read as HDF5."""
    hostile = saved(lambda_model(keras, nested=False), tmp_path / "hostile.h5")
    mark.unlink()
    innocent = saved(classifier(keras, convolution), tmp_path / "innocent.keras")
    hostile.write_bytes(hostile.read_bytes() + innocent.read_bytes())
    accepted(hostile, "-o", tmp_path / "made.bundle")
    assert not mark.exists()
    assert json.loads((tmp_path / "made.bundle" / "bundle.json").read_text())["input"]["shape"] == [16, 16, 3]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"module": "os", "class_name": "system", "config": "true"}, "uses 'system' of the Python module 'os'"),
        ({"class_name": "TorchModuleWrapper", "config": {}}, "has a TorchModuleWrapper layer"),
        ({"class_name": "TFSMLayer", "config": {"filepath": "/x"}}, "has a TFSMLayer layer"),
        ({"class_name": "TFOpLambda", "config": {"function": "io.gfile.remove"}}, "calls tf.io.gfile.remove"),
        ({"class_name": "TFOpLambda", "config": {"function": "load_library"}}, "calls tf.load_library"),
        ({"class_name": "TFOpLambda", "config": {"function": "compat.v1.py_func"}}, "calls tf.compat.v1.py_func"),
        ({"class_name": "TFOpLambda", "config": {"function": "keras.utils.get_file"}}, "calls tf.keras.utils.get"),
    ],
)
def test_configurations_that_reach_outside_keras(
    refuse: Refuse, tf_keras: ModuleType, tmp_path: Path, layer: dict[str, Any], message: str
) -> None:
    whole = saved(classifier(tf_keras, convolution), tmp_path / "whole.keras")

    def change(name: str, data: bytes) -> bytes:
        config = json.loads(data) if name == "config.json" else None
        if config is None:
            return data
        config["config"]["layers"].append(layer)
        return json.dumps(config).encode()

    assert message in refuse(rewritten(whole, tmp_path / "changed.keras", change))


def test_custom_layers(refuse: Refuse, keras: ModuleType, tf_keras: ModuleType, tmp_path: Path) -> None:
    for maker in (keras, tf_keras):

        class Own(maker.layers.Layer):  # type: ignore[misc, name-defined]
            def call(self, x: Any) -> Any:
                return x * 2

        def body(keras: ModuleType, x: Any, own: Any = Own) -> Any:
            return keras.layers.Flatten()(own()(x))

        for name in ("model.keras", "model.h5"):
            message = refuse(saved(classifier(maker, body), tmp_path / name))
            assert message.startswith((f"{name} uses the layer 'Own', ", f"{name} uses 'Own' of the Python module "))
            assert message.endswith(
                "export the model with model.export('folder') where the code is, and import the folder."
            )


def hostile_module(tf: ModuleType, mark: Path, effect: str) -> Any:
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 3))])
        def __call__(self, images: Any) -> Any:
            scores = tf.reduce_mean(images, (1, 2))
            if effect == "PyFunc":
                return tf.ensure_shape(tf.numpy_function(lambda x: x, [scores], tf.float32), (None, 3))
            if effect == "ReadFile":
                return scores + tf.cast(tf.strings.length(tf.io.read_file(str(mark))), tf.float32)
            if effect == "WriteFile":
                tf.io.write_file(str(mark), "x")
            if effect == "RandomUniform":
                scores += tf.random.uniform(tf.shape(scores))
            return scores

    return Module()


@pytest.mark.parametrize("effect", ["PyFunc", "ReadFile", "WriteFile", "RandomUniform"])
def test_saved_models_with_side_effects(
    refuse: Refuse, tf: ModuleType, tmp_path: Path, mark: Path, effect: str
) -> None:
    with suppress_output():
        tf.saved_model.save(hostile_module(tf, mark, effect), str(tmp_path / "saved"))
    message = refuse(tmp_path / "saved")
    assert effect in message
    assert ("has side effects" if effect == "RandomUniform" else "may do more than compute on tensors") in message
    assert not mark.exists()
