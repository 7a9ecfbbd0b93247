"""Loading a SavedModel writes and reads no file but its own, whatever its initialisers and its saver do."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hybrid_batch.data.errors import HybridBatchError, ModelRefused
from hybrid_batch.inference.model.importing.importer import ImportSettings, import_model

pytestmark = pytest.mark.usefixtures("suppressed_output")
Effect = Callable[[ModuleType, str], Any]


def print_line(tf: ModuleType, target: str) -> Any:
    return tf.print("taken", output_stream=f"file://{target}")


def write_file(tf: ModuleType, target: str) -> Any:
    return tf.io.write_file(target, "taken")


def save(tf: ModuleType, target: str) -> Any:
    """The op of every saver, on a path of the attacker."""
    return tf.raw_ops.SaveV2(prefix=target, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.ones(1)])


def debug(tf: ModuleType, target: str) -> Any:
    return tf.raw_ops.DebugIdentity(input=tf.ones(1), tensor_name="a:0", debug_urls=[f"file://{target}"])


def cached_data(tf: ModuleType, target: str) -> Any:
    zero = tf.constant(0, tf.int64)
    return tf.data.Dataset.range(2).cache(target).reduce(zero, lambda state, item: state + item)


def summary(tf: ModuleType, target: str) -> Any:
    writer = tf.raw_ops.SummaryWriter(shared_name="", container="")
    with tf.control_dependencies(
        [
            tf.raw_ops.CreateSummaryFileWriter(
                writer=writer, logdir=target, max_queue=0, flush_millis=0, filename_suffix=""
            )
        ]
    ):
        return tf.raw_ops.FlushSummaryWriter(writer=writer)


EFFECTS = [print_line, write_file, save, debug, cached_data, summary]


def resource_module(tf: ModuleType, effect: Callable[[], Any]) -> Any:
    """A classifier with a resource, whose initialiser TensorFlow runs when it loads the model."""

    class Resource(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc, name-defined]
        def _create_resource(self) -> Any:
            return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name="resource")

        def _initialize(self) -> None:
            if tf.inside_function():
                effect()

    class Module(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(np.random.default_rng(0).normal(0, 0.1, (48, 3)).astype(np.float32))
            self.resource = Resource()
            self.resource.resource_handle  # noqa: B018 - makes the resource

        @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 3))])
        def __call__(self, images: Any) -> Any:
            return tf.nn.softmax(tf.reshape(images, (-1, 48)) @ self.weights)

    return Module()


def refusal(folder: Path, output: Path, targets: Path) -> str:
    found: Exception | None = None
    try:
        import_model(str(folder), output, ImportSettings())
    except HybridBatchError as error:
        found = error
    assert not list(targets.iterdir())
    assert isinstance(found, ModelRefused)
    assert not output.exists()
    return str(found)


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    """The folder that an attack would write to."""
    folder = tmp_path / "taken"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.__name__)
def test_initialisers_write_no_file(tf: ModuleType, tmp_path: Path, targets: Path, effect: Effect) -> None:
    module = resource_module(tf, lambda: effect(tf, str(targets / "file")))
    tf.saved_model.save(module, str(tmp_path / "saved"))
    assert not list(targets.iterdir())
    message = refusal(tmp_path / "saved", tmp_path / "made.bundle", targets)
    assert message.startswith(f"{tmp_path / 'saved'} ")
    assert message.endswith("; export the model without it.")


def test_an_honest_resource_is_accepted(tf: ModuleType, tmp_path: Path) -> None:
    """A table of class names in memory, which a second signature uses."""
    module = resource_module(tf, lambda: None)
    names = tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1, 2], tf.int64), tf.constant(["a", "b", "c"]))
    module.table = tf.lookup.StaticHashTable(names, "")

    @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 3))])
    def name(images: Any) -> Any:
        return module.table.lookup(tf.argmax(module(images), 1))

    signatures = {"serving_default": module.__call__, "names": name}
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=signatures)
    assert import_model(str(tmp_path / "saved"), tmp_path / "made.bundle", ImportSettings()).bundle.cuts


def saved_in_graph(
    tf: ModuleType, folder: Path, main_op: Callable[[], Any], *, references: bool = False, restore: str = ""
) -> None:
    """A SavedModel of TensorFlow 1, whose main op runs when it is loaded."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, (None, 4, 4, 3), "images")
        weights = v1.get_variable("weights", (48, 3), use_resource=not references)
        scores = tf.nn.softmax(tf.matmul(tf.reshape(images, (-1, 48)), weights))
        session.run(v1.global_variables_initializer())
        operation = main_op()
        builder = v1.saved_model.Builder(str(folder))
        signature = v1.saved_model.predict_signature_def({"images": images}, {"scores": scores})
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            main_op=None if restore or operation is None else tf.group(operation),
        )
        builder.save()
    if restore:
        change(folder, lambda meta: setattr(meta.saver_def, "restore_op_name", restore))


def change(folder: Path, edit: Callable[[Any], None]) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    stored = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    edit(stored.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(stored.SerializeToString())


@pytest.mark.parametrize("references", [False, True], ids=["resources", "references"])
@pytest.mark.parametrize("effect", [print_line, write_file, save, debug], ids=lambda effect: effect.__name__)
def test_main_ops_of_tensorflow_1_write_no_file(
    tf: ModuleType, tmp_path: Path, targets: Path, effect: Effect, references: bool
) -> None:
    saved_in_graph(tf, tmp_path / "saved", lambda: effect(tf, str(targets / "file")), references=references)
    assert "op" in refusal(tmp_path / "saved", tmp_path / "made.bundle", targets)
    assert not (targets / "file").exists()


@pytest.mark.parametrize("references", [False, True], ids=["resources", "references"])
def test_a_restore_op_of_the_attacker_writes_no_file(
    tf: ModuleType, tmp_path: Path, targets: Path, references: bool
) -> None:
    """The description of the saver names the op that runs, and names one that saves."""

    def main_op() -> Any:
        with tf.control_dependencies([save(tf, str(targets / "file"))]):
            return tf.no_op(name="attack")

    saved_in_graph(tf, tmp_path / "saved", main_op, references=references, restore="attack")
    message = refusal(tmp_path / "saved", tmp_path / "made.bundle", targets)
    assert "would run the op SaveV2 when it is loaded" in message


def test_a_foreign_checkpoint_is_not_restored(tf: ModuleType, tmp_path: Path, targets: Path) -> None:
    """A path may be an address of a network, which TensorFlow opens."""
    saved_in_graph(
        tf,
        tmp_path / "saved",
        lambda: tf.raw_ops.RestoreV2(
            prefix="/secret/checkpoint", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
        )[0],
    )
    message = refusal(tmp_path / "saved", tmp_path / "made.bundle", targets)
    assert "would run the op RestoreV2 when it is loaded" in message


@pytest.mark.parametrize("references", [False, True], ids=["resources", "references"])
def test_an_honest_model_of_tensorflow_1_is_accepted(tf: ModuleType, tmp_path: Path, references: bool) -> None:
    saved_in_graph(tf, tmp_path / "saved", tf.compat.v1.tables_initializer, references=references)
    assert import_model(str(tmp_path / "saved"), tmp_path / "made.bundle", ImportSettings()).bundle.cuts


def test_a_text_form_beside_the_checked_form_is_not_read(tf: ModuleType, tmp_path: Path, targets: Path) -> None:
    """TensorFlow reads the form that was checked; a model in text form alone is no SavedModel for the import."""
    from google.protobuf import text_format
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    hostile, honest = tmp_path / "hostile", tmp_path / "honest"
    tf.saved_model.save(resource_module(tf, lambda: print_line(tf, str(targets / "file"))), str(hostile))
    tf.saved_model.save(resource_module(tf, lambda: None), str(honest))
    text = text_format.MessageToString(SavedModel.FromString((hostile / "saved_model.pb").read_bytes()))
    (honest / "saved_model.pbtxt").write_text(text)
    assert import_model(str(honest), tmp_path / "made.bundle", ImportSettings()).bundle.cuts
    assert not list(targets.iterdir())


def test_ops_that_are_never_called_are_checked(tf: ModuleType, tmp_path: Path, targets: Path) -> None:
    module = resource_module(tf, lambda: None)

    def unused() -> Any:
        return tf.raw_ops.Timestamp(name="now")

    module.unused = tf.function(unused, input_signature=[])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    message = refusal(tmp_path / "saved", tmp_path / "made.bundle", targets)
    assert "holds the op Timestamp, which may do more than compute on tensors" in message
