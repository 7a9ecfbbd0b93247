"""Published models on real images, split over HTTP, compared with stored predictions of Keras."""

import csv

import pytest

from hybrid_batch.cli import main
from tests.run_logs import read_records

pytestmark = pytest.mark.slow

# model file, --scale, class names
MODELS = {
    "fer": ("fer_mini_xception.hdf5", "-1-1", 0.583),
    "cifar10": ("cifar10_resnet8.h5", "0-255", 0.728),
    "mnist": ("mnist_cnn.keras", "0-1", 0.962),
    "imagenet": ("imagenet_mobilenet_v1_025_224.keras", "-1-1", 0.600),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_split_run_predicts_the_same_as_keras(name, shared_data, tmp_path, serve, capsys):
    file, scale, accuracy = MODELS[name]
    bundle, classes = str(tmp_path / f"{name}.bundle"), str(shared_data / "labels" / f"{name}.txt")
    model = str(shared_data / "models" / file)
    assert main(["import", model, "-o", bundle, f"--scale={scale}", "--classes", classes]) == 0
    server = serve(bundle)
    images = str(shared_data / "images" / name)
    assert main(["run", images, "--model", bundle, "--tail", server.url, "--log", str(tmp_path / "log")]) == 0
    records = {record["image"]: record for record in read_records(tmp_path / "log")}
    with (shared_data / "expected" / f"{name}.csv").open() as file:
        expected = list(csv.DictReader(file))
    differing = [row["image"] for row in expected if records[row["image"]]["prediction"] != row["prediction"]]
    assert len(records) == len(expected)
    assert len(differing) <= 0.005 * len(expected), differing
    right = sum(record["prediction"] == record["label"] for record in records.values())
    assert right / len(records) == pytest.approx(accuracy, abs=0.005)


def test_every_edge_case_image_has_a_record(shared_data, tmp_path, capsys):
    images, log = str(shared_data / "images" / "edge"), tmp_path / "log"
    assert main(["run", images, "--log", str(log)]) == 0
    records = {record["image"]: record for record in read_records(log)}
    with (shared_data / "expected" / "edge.csv").open() as file:
        expected = {row["image"]: row["pillow"] == "ok" for row in csv.DictReader(file)}
    assert {name: record["error"] is None for name, record in records.items()} == expected
    assert len(records) == 97
