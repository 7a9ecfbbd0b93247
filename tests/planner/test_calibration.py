"""`--codec auto`: the loss of codecs is measured, and the smallest payload that keeps the accuracy is chosen."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.images.images import ImageSet, find_images
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cache import cache_folder
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.model.runtimes import Runtime, open_runtime
from hybrid_batch.inference.planner.calibration.accuracy_drop import AccuracyDrop, CodecChoice, measure_drop
from hybrid_batch.inference.planner.calibration.calibration import choose_codec
from hybrid_batch.inference.planner.calibration.sensitivity import TensorSensitivity, measure_sensitivity
from hybrid_batch.inference.protocol import codecs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def digits() -> Bundle:
    return resolve_model("digits")


@pytest.fixture(scope="module")
def runtime(digits: Bundle) -> Runtime:
    return open_runtime("openvino", digits, cached=False)


def images(source: str = "folders") -> ImageSet:
    found = find_images(str(ROOT / "data/digits/images"))
    return ImageSet(found.root, label_images(found.table, source, [str(digit) for digit in range(10)]).table)


class Lines(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


def scores(*rows: list[float]) -> np.ndarray:
    return np.array(rows)


CAT, DOG, UNSURE_CAT = [0.9, 0.1], [0.1, 0.9], [0.6, 0.4]


def test_a_drop_is_lost_minus_gained_accuracy():
    before, after = scores(CAT, CAT, DOG, DOG), scores(DOG, CAT, CAT, UNSURE_CAT)
    drop = measure_drop(before, after, np.array([0, 0, 0, 1]))
    assert drop.labelled
    assert drop.points == 100 * (2 - 1) / 4
    assert drop.probability_points == pytest.approx(100 * (0.8 + 0 - 0.8 + 0.5) / 4)


def test_images_without_a_label_do_not_count_if_others_have_one():
    drop = measure_drop(scores(CAT, CAT), scores(CAT, DOG), np.array([0, -1]))
    assert (drop.images, drop.points) == (1, 0)


def test_an_image_without_finite_scores_after_coding_is_lost():
    after = scores([np.nan, 0.1], CAT, [0.2, np.inf])
    drop = measure_drop(scores(CAT, CAT, DOG), after, np.array([0, 0, 1]))
    assert drop.points == pytest.approx(100 * 2 / 3)
    assert drop.probability_points == pytest.approx(100 * 1.8 / 3)
    assert measure_drop(scores(CAT, CAT, DOG), after, None).points == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("truth", [None, np.array([-1, -1])])
def test_without_labels_a_drop_is_changed_predictions(truth):
    drop = measure_drop(scores(CAT, DOG), scores(DOG, DOG), truth)
    assert not drop.labelled
    assert drop.points == 50
    assert str(drop) == "changes 50.0 % of the predictions on 2 images (at most 87.9 % with 95 % confidence)"


@pytest.mark.parametrize(
    ("points", "bound", "images", "text"),
    [
        (0.5, 1.2, 200, "loses 0.5 points of accuracy on 200 images (with 95 % confidence it loses at most 1.2)"),
        (-0.5, 0.4, 200, "gains 0.5 points of accuracy on 200 images (with 95 % confidence it loses at most 0.4)"),
        (-4, -1.5, 1, "gains 4.0 points of accuracy on 1 image (with 95 % confidence it gains at least 1.5)"),
        (
            -0.04,
            -0.04,
            2000,
            "loses 0.0 points of accuracy on 2,000 images (with 95 % confidence it loses at most 0.0)",
        ),
    ],
)
def test_a_gain_is_not_called_a_loss(points, bound, images, text):
    assert str(AccuracyDrop(images, True, points, bound, 0.0)).replace("-0.0", "minus") == text


def test_the_bound_of_no_loss_falls_with_the_number_of_images():
    few, many = (measure_drop(*[np.tile([CAT], (count, 1))] * 2, np.zeros(count, int)) for count in (20, 2000))
    assert few.points == many.points == 0
    assert few.upper_bound_points > 4
    assert many.upper_bound_points < 0.2


def test_the_bounds_are_those_of_the_papers():
    before = np.array([CAT] * 200)
    after = np.array([CAT] * 190 + [DOG] * 10)
    # Wilson, one-sided 95 %, 10 of 200; Agresti and Min's interval of 10 against 0 of 200.
    assert measure_drop(before, after, None).upper_bound_points == pytest.approx(8.18, abs=0.01)
    assert measure_drop(before, after, np.zeros(200, int)).upper_bound_points == pytest.approx(7.59, abs=0.01)


def test_the_chosen_codec_keeps_the_accuracy_and_is_smaller_than_int8(digits, runtime):
    cut = digits.cut("c004")
    lines = Lines()
    choice = choose_codec(digits, runtime, cut, images(), limit_points=0.5, notify=lines)
    assert choice.codec.startswith("calibrated-")
    assert choice.drop.is_within(0.5)
    assert choice.drop.images == 200
    assert choice.image_bytes < 0.6 * sum(spec.elements for spec in cut.boundary)
    assert "200 images" in lines[0]


def test_a_choice_is_cached_and_made_again_when_the_cache_is_damaged(digits, runtime):
    def choose(limit_points: float = 0.5) -> tuple[CodecChoice, bool]:
        lines = Lines()
        return choose_codec(
            digits, runtime, digits.cut("pool"), images(), limit_points=limit_points, notify=lines
        ), bool(lines)

    first, measured = choose()
    assert measured
    assert choose() == (first, False)
    assert choose(5)[1], "another limit is another choice"
    for lose in (Path.unlink, lambda file: file.write_text("{")):
        for grids in cache_folder("grids").iterdir():
            lose(grids)
        assert choose() == (first, True)
    for kept in cache_folder("calibrations").iterdir():
        kept.write_text("{")
    assert choose() == (first, True)


def test_a_larger_allowed_loss_gives_a_smaller_payload(digits, runtime):
    cut = digits.cut("c004")
    strict, loose = (
        choose_codec(digits, runtime, cut, images(), limit_points=limit, notify=Lines()) for limit in (0, 10)
    )
    assert loose.image_bytes < 0.8 * strict.image_bytes
    assert strict.drop.is_within(0)
    assert loose.drop.is_within(10)


def test_without_labels_the_predictions_are_kept(digits, runtime):
    choice = choose_codec(digits, runtime, digits.cut("c004"), images("none"), limit_points=0.5, notify=Lines())
    assert not choice.drop.labelled
    assert choice.drop.points <= 0.5


def test_at_the_input_cut_the_smallest_image_codec_is_chosen(digits, runtime):
    choice = choose_codec(digits, runtime, digits.input_cut, images(), limit_points=0.5, notify=Lines())
    sizes = [len(path.read_bytes()) for path in (ROOT / "data/digits/images").rglob("*.png")]
    assert choice.codec in codecs.IMAGE_CODECS
    assert choice.image_bytes < 1.05 * np.mean(sizes)


def test_unreadable_images_are_left_out_and_refused_if_there_are_no_others(digits, runtime, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.png").write_bytes(b"not an image")
    with pytest.raises(WrongUsage, match="name a codec"):
        choose_codec(
            digits, runtime, digits.cut("pool"), find_images(str(tmp_path / "in")), limit_points=1, notify=Lines()
        )
    good = next((ROOT / "data/digits/images").rglob("*.png"))
    (tmp_path / "in/good.png").write_bytes(good.read_bytes())
    choice = choose_codec(
        digits, runtime, digits.cut("pool"), find_images(str(tmp_path / "in")), limit_points=1, notify=Lines()
    )
    assert choice.drop.images == 1


class UnsureRuntime:
    """The real runtime, but scores without a high enough maximum become NaN."""

    name = "openvino"

    def __init__(self, runtime: Runtime, threshold: float) -> None:
        self._runtime, self._threshold = runtime, threshold

    def compile(self, inputs, outputs):
        segment = self._runtime.compile(inputs, outputs)
        if outputs[0].elements != 10:
            return segment
        return lambda tensors: [
            np.where(scores.max(axis=1, keepdims=True) > self._threshold, scores, np.nan) for scores in segment(tensors)
        ]


@pytest.mark.parametrize("cut", ["c008", "c016", "c000"])
def test_images_without_finite_scores_are_left_out_and_refused_if_there_are_no_others(digits, runtime, cut):
    choice = choose_codec(
        digits, UnsureRuntime(runtime, 0.95), digits.cut(cut), images(), limit_points=1, notify=Lines()
    )
    assert 100 < choice.drop.images < 200
    assert 0 <= choice.drop.upper_bound_points < 10
    with pytest.raises(WrongUsage, match="none of 200 images finite scores"):
        choose_codec(digits, UnsureRuntime(runtime, 2), digits.cut(cut), images(), limit_points=2, notify=Lines())


def test_jpeg_has_the_models_size_and_fewer_bytes_at_lower_quality(digits):
    from hybrid_batch.data.images.decode import decode

    file = next((ROOT / "data/digits/images").rglob("*.png")).read_bytes()
    small = {
        codec: codecs.open_image_codec(codec).recompress(file, digits.preprocessing)
        for codec in codecs.list_recompressing_codecs()
    }
    assert len(small["jpeg75"]) < len(small["jpeg90"])
    before = decode(file, digits.preprocessing)
    errors = [abs(decode(small[codec], digits.preprocessing) - before).mean() for codec in ("jpeg90", "jpeg75")]
    assert 0 < errors[0] < errors[1] < 0.1 * np.ptp(before)


def sigmoid_pairs(*sums: np.ndarray) -> np.ndarray:
    """Scores (images, classes) with a pair of classes for each sum (images,), independent of the others."""
    sigmoids = [1 / (1 + np.exp(-total)) / len(sums) for total in sums]
    return np.stack([share for one in sigmoids for share in (one, 1 / len(sums) - one)], axis=1)


def sensitivity_of(values: np.ndarray, tail: Callable[[Sequence[np.ndarray]], np.ndarray]) -> TensorSensitivity:
    """The sensitivity of a boundary of one tensor (images, …, channels)."""
    (sensitivity,) = measure_sensitivity([TensorSpec("a:0", values.shape[1:], "FP32")], [values], tail).values()
    return sensitivity


def test_channels_with_more_effect_get_finer_steps():
    values = np.random.default_rng(0).normal(size=(32, 4, 4, 3)).astype(np.float32)

    def tail(tensors):
        means = tensors[0].mean(axis=(1, 2))
        return sigmoid_pairs(0 * means[:, 0], 1 * means[:, 1], 8 * means[:, 2])

    none, weak, strong = sensitivity_of(values, tail).steps
    assert 3 < weak / strong < 8.5
    assert none > 2 * weak


def test_errors_are_fed_into_channels_that_add_up_with_them():
    values = np.random.default_rng(0).normal(size=(32, 4, 4, 4)).astype(np.float32)

    def tail(tensors):
        means = tensors[0].mean(axis=(1, 2))
        return sigmoid_pairs(2 * means[:, 0] + 3 * means[:, 1], 2 * means[:, 2] - 3 * means[:, 3])

    feedback = sensitivity_of(values, tail).feedback
    assert feedback is not None
    place = [feedback.order.index(channel) for channel in range(4)]
    assert place[0] < place[1]
    assert place[2] < place[3]
    assert feedback.weights[place[1], place[0]] == pytest.approx(2 / 3, rel=0.2)
    assert feedback.weights[place[3], place[2]] == pytest.approx(-2 / 3, rel=0.2)
    assert abs(feedback.weights[place[3], place[0]]) < 0.1


def test_feedback_is_regularised_where_images_disagree():
    random = np.random.default_rng(0)
    values = random.normal(size=(32, 4, 4, 6)).astype(np.float32)
    of_all, of_each = random.normal(size=6), random.normal(size=(32, 6))

    def shares(weights: np.ndarray) -> float:
        def tail(tensors):
            return sigmoid_pairs((tensors[0].mean(axis=(1, 2)) * weights).sum(axis=1))

        feedback = sensitivity_of(values, tail).feedback
        assert feedback is not None
        return float(np.abs(feedback.weights).sum())

    assert shares(of_each) < 0.5 * shares(np.tile(of_all, (32, 1)))


@pytest.mark.parametrize("images", [1, 2])
def test_one_or_two_images_are_enough(images):
    values = np.random.default_rng(0).normal(size=(images, 4, 4, 3)).astype(np.float32)
    sensitivity = sensitivity_of(values, lambda tensors: sigmoid_pairs(tensors[0].sum(axis=(1, 2, 3)) / 9))
    assert np.isfinite(sensitivity.steps).all()
    assert (sensitivity.steps > 0).all()


def test_many_channels_are_measured_in_groups():
    values = np.random.default_rng(0).normal(size=(8, 300)).astype(np.float32) * np.geomspace(0.1, 10, 300)
    sensitivity = sensitivity_of(values, lambda tensors: sigmoid_pairs(tensors[0].mean(axis=1)))
    assert sensitivity.feedback is None
    assert sensitivity.steps.shape == (300,)
    assert (sensitivity.steps > 0).all()


def test_a_tail_without_any_effect_gives_equal_steps():
    values = np.zeros((8, 4, 4, 3), np.float32)
    steps = sensitivity_of(values, lambda _: np.ones((8, 2)) / 2).steps
    assert (steps == steps[0]).all()
    assert steps[0] > 0


def test_noise_that_leaves_no_finite_scores_is_ignored():
    values = np.abs(np.random.default_rng(0).normal(size=(32, 4, 4, 3)).astype(np.float32))

    def tail(tensors):
        least = tensors[0].min(axis=(1, 2, 3))
        return np.where(least[:, None] >= 0, sigmoid_pairs(tensors[0].mean(axis=(1, 2, 3))), np.nan)

    sensitivity = sensitivity_of(values, tail)
    assert np.isfinite(sensitivity.steps).all()
    assert np.isfinite(sensitivity.feedback.weights).all()


def test_integer_tensors_are_left_out():
    boundary = [TensorSpec("a:0", (3,), "INT32")]
    assert measure_sensitivity(boundary, [np.zeros((4, 3), np.int32)], lambda _: np.ones((4, 2)) / 2) == {}


def test_a_run_with_codec_auto_records_the_chosen_codec_and_resumes(tmp_path, capsys):
    from hybrid_batch.cli import main

    def run(*more: str) -> tuple[int, dict, str]:
        folder = str(ROOT / "data/digits/images")
        code = main(["run", folder, "--split", "c004", "--log", str(tmp_path / "log"), "--json", *more])
        out, lines = capsys.readouterr()
        return code, json.loads(out) if out else {}, lines

    code, first, lines = run("--codec", "auto")
    assert code == 0
    assert first["codec"].startswith("calibrated-")
    assert first["cuts"] == {f"c004 {first['codec']}": 360}
    assert "on 200 images" in lines
    assert first["accuracy"] > 0.97
    _, again, lines = run("--codec", "auto")
    assert again["run"] == first["run"]
    assert "nothing to do" in lines
    assert run("--codec", "auto", "--max-accuracy-drop", "5")[1]["cut_bytes"] < first["cut_bytes"]
    assert run("--codec", "q4")[1]["cuts"] == {"c004 q4": 360}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--codec", "q4", "--max-accuracy-drop", "1"], "--max-accuracy-drop needs --codec auto"),
        (["--codec", "jpeg90", "--split", "c004"], "--split remote"),
    ],
)
def test_contradictions_are_refused(options, reason, capsys, tmp_path):
    from hybrid_batch.cli import main

    assert main(["run", str(ROOT / "data/digits/images"), "--log", str(tmp_path), *options]) == 2
    assert reason in capsys.readouterr().err


def test_a_jpeg_upload_records_an_unreadable_image(tmp_path, capsys):
    from hybrid_batch.cli import main

    folder = tmp_path / "in" / "7"
    folder.mkdir(parents=True)
    for number, path in enumerate(sorted((ROOT / "data/digits/images/7").iterdir())[:5]):
        (folder / f"{number}.png").write_bytes(path.read_bytes())
    (folder / "broken.png").write_bytes(b"not an image")
    command = ["run", str(tmp_path / "in"), "--split", "remote", "--codec", "jpeg90", "--json"]
    assert main([*command, "--log", str(tmp_path / "log")]) == 0
    totals = json.loads(capsys.readouterr().out)
    assert (totals["images"], totals["errors"]) == (6, 1)
    assert totals["correct"] == 5
    assert totals["cuts"] == {"c000 jpeg90": 6}


def test_a_codec_is_calibrated_without_a_writable_cache(tmp_path, capsys, monkeypatch):
    from hybrid_batch.cli import main

    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").touch()
    command = ["run", str(ROOT / "data/digits/images"), "--split", "c008", "--codec", "auto", "--log", str(tmp_path)]
    assert main(command) == 0
    assert capsys.readouterr().err.count("cannot be used (Not a directory)") == 1


def test_image_codecs_are_chosen_without_a_writable_cache(digits, runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").touch()
    choice = choose_codec(digits, runtime, digits.input_cut, images(), limit_points=100, notify=Lines())
    assert choice.codec == codecs.IMAGE
