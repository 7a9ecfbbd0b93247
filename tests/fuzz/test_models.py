"""Hostile models are refused before anything of them runs; mutated bundles and graphs end in one kind of sentence.

The models are made by combination: an attack, and a place of the configuration, the graph or the file that hides it.
"""

import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hybrid_batch.data.errors import ModelRefused, NotABundle
from hybrid_batch.inference.model.bundle import read_bundle, write_bundle
from hybrid_batch.inference.model.importing.keras.configuration import check_configuration
from hybrid_batch.inference.model.importing.keras.keras_files import check_weights, read_keras
from hybrid_batch.inference.model.importing.resolve_model import BUILT_IN_PATH
from hybrid_batch.inference.model.importing.sandbox.isolated_import import import_isolated
from hybrid_batch.inference.model.importing.saved_model.allowed_ops import check_saved_model
from hybrid_batch.inference.model.importing.saved_model.saved_models import read_saved_model
from hybrid_batch.inference.model.runtimes.graph_nodes import check_graph
from hybrid_batch.inference.model.tensorflow_loader import import_tensorflow
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
Rounds = Callable[[int, int], int]
SEED = 11
_PROCESS_MEMORY_BYTES, _PROCESS_TIME_S = 4 << 30, 300


def report(title: str, counts: Counter[str]) -> None:
    sys.stdout.write(f"\n{title}, seed {SEED}: {sum(counts.values())} in all; {dict(counts)}\n")


# Configurations of Keras

CALLS = ["io.gfile.copy", "compat.v1.gfile.Remove", "io.write_file", "load_library", "keras.models.load_model"]
CODE = [
    *(
        {"class_name": kind, "config": {"function": call}}
        for kind in ("TFOpLambda", "SlicingOpLambda")
        for call in CALLS
    ),
    *({"class_name": kind, "config": {"cls_symbol": "io.gfile.GFile"}} for kind in ("ClassMethod", "InstanceMethod")),
    *({"class_name": kind, "config": {}} for kind in ("Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "Own")),
    {"class_name": "__lambda__", "config": {"value": "4wEA"}},
    {"class_name": "TFSMLayer", "config": {"filepath": "/model"}},
    {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
    {"class_name": "TextVectorization", "config": {"vocabulary": "/etc/passwd"}},
    {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "WriteFile"}}},
    {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "PyFunc"}}},
    {"class_name": "TensorFlowOpLayer", "config": {"node_def": "\n\x01a\x12\x08ReadFile"}},
    {"class_name": "function", "config": "get_file", "module": "keras.utils"},
    {"class_name": "function", "config": "exec", "module": "builtins"},
    {"class_name": "system", "config": "true", "module": "os"},
    {"class_name": "Popen", "config": ["true"], "module": "subprocess", "registered_name": "Dense"},
    {"class_name": "Dense", "config": {}, "registered_name": "Any>Lambda"},
    {"class_name": "Dense", "config": {"activation": "get_file"}},
    {"class_name": "Dense", "config": {"kernel_initializer": {"class_name": "function", "config": "eval"}}},
]


def dumped(value: Any) -> str:
    return json.dumps(value)


PLACES: list[Callable[[Any], Any]] = [
    lambda layer: layer,
    lambda layer: {"class_name": "TimeDistributed", "config": {"layer": layer}},
    lambda layer: {"class_name": "Bidirectional", "config": {"backward_layer": [layer]}},
    lambda layer: {"class_name": "Sequential", "config": {"layers": [{"class_name": "Flatten", "config": {}}, layer]}},
    lambda layer: {"class_name": "Dense", "config": {"note": dumped(layer)}},
    lambda layer: {"class_name": "Dense", "config": {"note": " " + dumped([[layer]])}},
    lambda layer: {"class_name": "Dense", "config": {"note": dumped(dumped(dumped(layer)))}},
    lambda layer: {"class_name": "Reshape", "config": {"target_shape": [1, {"inner": layer}]}},
    lambda layer: {"class_name": "Dense", "config": {"kernel_regularizer": layer}},
    lambda layer: {"class_name": "Add", "config": {}, "inbound_nodes": [[["a", 0, 0, {"y": layer}]]]},
    lambda layer: {"class_name": "Add", "config": {}, "build_config": {"input_shape": layer}},
]


def configurations(rng: random.Random) -> Iterator[dict[str, Any]]:
    """A model around each attack in each place, and then in places of places."""
    for depth in itertools.count(1):
        for attack in CODE:
            for place in PLACES:
                layer = place(attack)
                for _ in range(depth - 1):
                    layer = rng.choice(PLACES)(layer)
                yield {
                    "class_name": "Functional",
                    "config": {"layers": [{"class_name": "Conv2D", "config": {}}, layer]},
                }


def test_hostile_configurations_are_refused(rounds: Rounds) -> None:
    counts: Counter[str] = Counter()
    for config in itertools.islice(configurations(random.Random(SEED)), rounds(300, 3000)):
        with pytest.raises(ModelRefused) as caught:
            check_configuration("hostile.keras", config)
        assert "\n" not in str(caught.value)
        counts[str(caught.value).split()[1]] += 1
    report("configurations", counts)


# SavedModels

OPS = """
    PrintV2 WriteFile ReadFile PyFunc EagerPyFunc SaveV2 Save MergeV2Checkpoints DebugIdentity DebugIdentityV2
    CreateSummaryFileWriter WriteGraphSummary ImmutableConst LoadDataset SaveDataset CacheDataset TFRecordDataset
    FixedLengthRecordDataset TextLineDataset MatchingFiles InitializeTableFromTextFile InitializeTableFromTextFileV2
    XlaCustomCall MlirPassthroughOp Send Recv RemoteCall DistributedSave RegisterDataset RpcCall LMDBDataset
    SqlDataset IteratorGetNext AudioSummary Unknown
"""


def saved_models() -> Iterator[tuple[str, Any]]:
    """A SavedModel for each op in each place: main graph, function, function of a function, second graph, branch."""
    import_tensorflow()
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    for op, place in itertools.product(OPS.split(), ("graph", "function", "second", "called", "initialiser")):
        stored = SavedModel()
        meta = stored.meta_graphs.add()
        meta.graph_def.node.add(name="x", op="Placeholder")
        if place in ("graph", "initialiser"):
            meta.graph_def.node.add(name="hostile", op=op)
            if place == "initialiser":
                meta.collection_def["saved_model_main_op"].node_list.value.append("hostile")
        elif place == "second":
            stored.meta_graphs.add().graph_def.node.add(name="hostile", op=op)
        else:
            function = meta.graph_def.library.function.add()
            function.signature.name = "inner"
            function.node_def.add(name="hostile", op=op)
            caller = meta.graph_def.node.add(name="call", op="PartitionedCall")
            caller.attr["f"].func.name = "inner"
            if place == "called":
                meta.object_graph_def.nodes.add().function.concrete_functions.append("inner")
        if op in ("SaveV2", "Save", "MergeV2Checkpoints") and place in ("graph", "function", "second"):
            continue  # a saver that is not run, which every SavedModel has
        yield f"{op} in {place}", stored


def test_hostile_saved_models_are_refused() -> None:
    counts: Counter[str] = Counter()
    for name, stored in saved_models():
        with pytest.raises(ModelRefused) as caught:
            check_saved_model(Path("hostile"), stored)
        assert name.split()[0] in str(caught.value)
        counts[name.split()[-1]] += 1
    report("SavedModels", counts)


# Files of HDF5


def virtual(file: h5py.Group, name: str) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "data", (4,))
    file.create_virtual_dataset(name, layout)


Store = Callable[[h5py.Group, str], object]
LINKS: dict[str, Store] = {
    "external link": lambda group, name: group.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/a")),
    "soft link": lambda group, name: group.__setitem__(name, h5py.SoftLink("/etc/passwd")),
    "storage": lambda group, name: group.create_dataset(name, (4,), "f4", external=[("/etc/passwd", 0, 16)]),
    "virtual": virtual,
    "shape": lambda group, name: group.create_dataset(name, (1 << 40,), "f4", chunks=(1 << 10,)),
    "shapes": lambda group, name: [group.create_dataset(f"{name}{i}", (1 << 26,), "f4", chunks=(9,)) for i in range(4)],
    "filter": lambda group, name: group.create_dataset(name, (4,), "i4", chunks=(4,), scaleoffset=3),
    "references": lambda group, name: group.create_dataset(name, (4,), h5py.ref_dtype),
    "region": lambda group, name: group.create_dataset(name, (4,), h5py.regionref_dtype),
    "long texts": lambda group, name: group.create_dataset(name, (4,), h5py.string_dtype()),
    "lists": lambda group, name: group.create_dataset(name, (4,), h5py.vlen_dtype(np.dtype("f4"))),
    "type": lambda group, name: group.__setitem__(name, np.dtype("f4")),
    "attribute": lambda group, name: group.attrs.create(name, group.ref, dtype=h5py.ref_dtype),
}


def hostile_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each link in groups of several depths, in an `.h5` file and in the weights of a `.keras` file."""
    with zipfile.ZipFile(ROOT / "data/digits/digits.keras") as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    for (kind, store), depth, suffix in itertools.product(LINKS.items(), (0, 1, 3), (".h5", ".keras")):
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            file.attrs["model_config"] = members["config.json"]
            file.attrs["layer_names"] = ["a"]
            group = file.require_group("/".join("abc"[:depth])) if depth else file
            group.create_dataset("honest", data=np.ones(4, "f4"))
            store(group, "hostile")
        path = folder / f"hostile{suffix}"
        if suffix == ".h5":
            path.write_bytes(content.getvalue())
        else:
            with zipfile.ZipFile(path, "w") as archive:
                for name, data in (members | {"model.weights.h5": content.getvalue()}).items():
                    archive.writestr(name, data)
        yield f"{kind} {suffix}", path


def test_hostile_hdf5_files_are_refused(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for name, path in hostile_files(tmp_path):
        with pytest.raises(ModelRefused) as caught:
            read_keras(path, trust=True)  # trust does not lift this check
        assert "Keras does not write" in str(caught.value), name
        counts[name.split()[-1]] += 1
    report("HDF5 files", counts)


def test_weights_of_an_application_are_checked_too(tmp_path: Path) -> None:
    """`--weights FILE` is a file of a stranger as well; Keras would read others that it names."""
    for name, path in hostile_files(tmp_path):
        with pytest.raises(ModelRefused):
            check_weights(path)
        assert name
    shards = tmp_path / "model.weights.json"
    shards.write_text('{"metadata": {}, "weight_map": {"a": "../../secret.h5"}}')
    with pytest.raises(NotABundle, match="is not a file of weights"):
        check_weights(shards)


def link_out(folder: Path) -> None:
    (folder / "variables").symlink_to("/etc")


def link_to_a_file(folder: Path) -> None:
    (folder / "variables").mkdir()
    (folder / "variables" / "variables.index").symlink_to("/etc/passwd")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "fingerprint.pb")


def dangling(folder: Path) -> None:
    (folder / "assets").symlink_to("nowhere")


@pytest.mark.parametrize("add", [link_out, link_to_a_file, pipe, dangling])
def test_a_saved_model_of_other_files_is_refused(tmp_path: Path, add: Callable[[Path], None]) -> None:
    (tmp_path / "saved_model.pb").touch()
    add(tmp_path)
    with pytest.raises(ModelRefused, match=" holds "):
        read_saved_model(tmp_path, None)


MEMBERS = [
    *("../../outside", "/etc/cron.d/a", "assets/../../outside", "assets/a\\..\\b", "model.weights.npz", "extra.json"),
    *("assets/C:evil", "model.weights.json", "config.json/", "assets/./a", "assets"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [*MEMBERS, "config.json", "model.weights.h5"])
def test_archives_with_other_members_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.keras"
    path.write_bytes((ROOT / "data/digits/digits.keras").read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "{}")
    with pytest.raises(NotABundle, match=r"hostile\.keras holds "):
        read_keras(path, trust=True)


# Bundles and graphs


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, removed, repeated or cut off; half of them in the text, which is most of the structure."""
    result = bytearray(content)
    kind = rng.randrange(5)
    places = [i for i, byte in enumerate(content[:4096]) if 32 <= byte < 127] if kind < 2 else range(len(content))
    if kind == 2:
        del result[rng.choice(places) :]
    elif kind == 3:
        start = rng.choice(places)
        del result[start : start + rng.randrange(1, 60)]
    elif kind == 4:
        start = rng.choice(places)
        result[start:start] = result[start : start + rng.randrange(1, 60)]
    else:
        for _ in range(rng.randrange(1, 20)):
            result[rng.choice(places)] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(result)


def test_mutated_descriptions_of_bundles(tmp_path: Path, rounds: Rounds) -> None:
    rng, counts = random.Random(SEED), Counter[str]()
    bundle = read_bundle(BUILT_IN_PATH)
    write_bundle(replace(bundle, path=tmp_path / "m.bundle"), bundle.graph_path.read_bytes())
    description = (tmp_path / "m.bundle" / "bundle.json").read_bytes()
    for _ in range(rounds(300, 1000)):
        (tmp_path / "m.bundle" / "bundle.json").write_bytes(mutated(description, rng))
        try:
            read_bundle(tmp_path / "m.bundle")
            counts["read"] += 1  # the mutation is in a name or in white space
        except NotABundle as error:
            assert "\n" not in str(error)
            counts["NotABundle"] += 1
    report("descriptions", counts)
    assert counts["NotABundle"] > counts["read"]


@pytest.mark.parametrize("name", ["graph.pb", "bundle.json"])
@pytest.mark.parametrize("content", ["pipe", "/dev/zero", "sparse"])
def test_files_without_an_end_are_refused(tmp_path: Path, name: str, content: str) -> None:
    folder = tmp_path / "m.bundle"
    shutil.copytree(BUILT_IN_PATH, folder)
    (folder / name).unlink()
    if content == "pipe":
        os.mkfifo(folder / name)
    elif content == "sparse":
        with (folder / name).open("wb") as file:
            file.truncate(3 << 30)
    else:
        (folder / name).symlink_to(content)
    with pytest.raises(NotABundle, match="so it does not describe a bundle"):
        read_bundle(folder)
    for model in ("m.keras", "m.h5"):
        (tmp_path / model).symlink_to("/dev/zero")
        with pytest.raises(NotABundle, match="neither a file nor a folder"):
            import_isolated(str(tmp_path / model), tmp_path / "made.bundle")


class Opener:
    """A process that opens bundles, compiles and runs them; a new one after each that ends by a signal."""

    PROGRAM = f"""
import resource, sys
from pathlib import Path
from hybrid_batch.data.errors import HybridBatchError
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.model.runtimes import compile_tail, open_runtime
from hybrid_batch.inference.model.runtimes.verify import synthetic_images
resource.setrlimit(resource.RLIMIT_DATA, ({_PROCESS_MEMORY_BYTES}, {_PROCESS_MEMORY_BYTES}))
resource.setrlimit(resource.RLIMIT_CPU, ({_PROCESS_TIME_S}, {_PROCESS_TIME_S}))
for line in sys.stdin:
    runtime, folder = line.split()
    try:
        bundle = read_bundle(Path(folder))
        tail = compile_tail(open_runtime(runtime, bundle, cached=False), bundle, bundle.input_cut)
        tail([synthetic_images(bundle, 2)])
        print('computed', flush=True)
    except HybridBatchError as error:
        print(type(error).__name__, flush=True)
    except BaseException as error:
        print('raised', type(error).__name__, *str(error).splitlines(), flush=True)
"""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def outcome(self, runtime: str, folder: Path) -> str:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self.PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=ROOT,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{runtime} {folder}\n")
        self._process.stdin.flush()
        if line := self._process.stdout.readline():
            return line.strip()
        return f"signal {signal.Signals(-self.close()).name}"

    def close(self) -> int:
        """End the process, and return its exit code."""
        if self._process is None:
            return 0
        self._process.communicate()
        code, self._process = self._process.returncode, None
        return code


@pytest.fixture
def opener() -> Iterator[Opener]:
    process = Opener()
    yield process
    process.close()


def test_mutated_graphs_end_in_one_exception(tmp_path: Path, rounds: Rounds, opener: Opener) -> None:
    """The hash is that of the mutated graph, as in a bundle of a stranger. The process of a run is not protected."""
    rng, counts = random.Random(SEED), Counter[str]()
    bundle = replace(read_bundle(BUILT_IN_PATH), path=tmp_path / "m.bundle")
    graph = read_bundle(BUILT_IN_PATH).graph_path.read_bytes()
    for _ in range(rounds(60, 1000)):
        changed = write_bundle(bundle, mutated(graph, rng))
        try:
            check_graph(changed)
        except (NotABundle, ModelRefused) as error:
            assert "\n" not in str(error)
            counts[type(error).__name__] += 1
            continue
        counts[opener.outcome("openvino", changed.path)] += 1
    report("graphs", counts)
    assert set(counts) <= {"NotABundle", "ModelRefused", "computed"}
