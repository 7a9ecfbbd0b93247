"""`--codec auto`: what a codec loses is measured, and the smallest payload that keeps the accuracy is taken."""

import json
from pathlib import Path

import numpy as np
import pytest

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.images.images import Images, find_images
from hybrid_batch.data.images.labels import label_images
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cache import cache_folder
from hybrid_batch.inference.model.cuts import TensorSpec
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.model.runtimes import Engine, open_engine
from hybrid_batch.inference.planner.calibration.calibration import Choice, choose_codec, measure_drop
from hybrid_batch.inference.planner.calibration.sensitivity import tune
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs.jpeg import JPEG_QUALITY, recompress

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def digits() -> Bundle:
    return open_model("digits")


@pytest.fixture(scope="module")
def engine(digits: Bundle) -> Engine:
    return open_engine("openvino", digits, cached=False)


def images(source: str = "folders") -> Images:
    found = find_images(str(ROOT / "data/digits/images"))
    return Images(found.root, label_images(found.table, source, [str(digit) for digit in range(10)]).table)


class Said(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


def scores(*rows: list[float]) -> np.ndarray:
    return np.array(rows)


CAT, DOG, UNSURE_CAT = [0.9, 0.1], [0.1, 0.9], [0.6, 0.4]


def test_a_drop_is_accuracy_lost_less_accuracy_won():
    before, after = scores(CAT, CAT, DOG, DOG), scores(DOG, CAT, CAT, UNSURE_CAT)
    drop = measure_drop(before, after, np.array([0, 0, 0, 1]))
    assert drop.labelled
    assert drop.points == 100 * (2 - 1) / 4
    assert drop.probability_points == pytest.approx(100 * (0.8 + 0 - 0.8 + 0.5) / 4)


def test_images_without_a_label_do_not_count_where_others_have_one():
    drop = measure_drop(scores(CAT, CAT), scores(CAT, DOG), np.array([0, -1]))
    assert (drop.images, drop.points) == (1, 0)


def test_an_image_that_coding_leaves_without_scores_is_lost():
    after = scores([np.nan, 0.1], CAT, [0.2, np.inf])
    drop = measure_drop(scores(CAT, CAT, DOG), after, np.array([0, 0, 1]))
    assert drop.points == pytest.approx(100 * 2 / 3)
    assert drop.probability_points == pytest.approx(100 * 1.8 / 3)
    assert measure_drop(scores(CAT, CAT, DOG), after, None).points == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("truth", [None, np.array([-1, -1])])
def test_without_labels_a_drop_is_predictions_changed(truth):
    drop = measure_drop(scores(CAT, DOG), scores(DOG, DOG), truth)
    assert not drop.labelled
    assert drop.points == 50
    assert str(drop) == "changes 50.0 % of the predictions on 2 images (95 % sure: at most 87.9)"


def test_nothing_lost_on_few_images_says_little_and_on_many_much():
    few, many = (measure_drop(*[np.tile([CAT], (count, 1))] * 2, np.zeros(count, int)) for count in (20, 2000))
    assert few.points == many.points == 0
    assert few.most_points > 4
    assert many.most_points < 0.2


def test_the_bounds_are_those_of_the_papers():
    before = np.array([CAT] * 200)
    after = np.array([CAT] * 190 + [DOG] * 10)
    # Wilson, one-sided 95 %, 10 of 200; Agresti and Min's interval of 10 against 0 of 200.
    assert measure_drop(before, after, None).most_points == pytest.approx(8.18, abs=0.01)
    assert measure_drop(before, after, np.zeros(200, int)).most_points == pytest.approx(7.59, abs=0.01)


def test_the_codec_chosen_keeps_the_accuracy_and_is_smaller_than_int8(digits, engine):
    cut = digits.cut("c004")
    said = Said()
    choice = choose_codec(digits, engine, cut, images(), limit_points=0.5, say=said)
    assert choice.codec.startswith("tuned-")
    assert choice.drop.within(0.5)
    assert choice.drop.images == 200
    assert choice.image_bytes < 0.6 * sum(spec.elements for spec in cut.boundary)
    assert "200 images" in said[0]


def test_a_choice_is_made_once_and_again_when_it_is_lost(digits, engine):
    def choose(limit_points: float = 0.5) -> tuple[Choice, bool]:
        said = Said()
        return choose_codec(digits, engine, digits.cut("pool"), images(), limit_points=limit_points, say=said), bool(
            said
        )

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


def test_a_larger_loss_allowed_is_a_smaller_payload(digits, engine):
    cut = digits.cut("c004")
    strict, loose = (choose_codec(digits, engine, cut, images(), limit_points=limit, say=Said()) for limit in (0, 10))
    assert loose.image_bytes < 0.8 * strict.image_bytes
    assert strict.drop.within(0)
    assert loose.drop.within(10)


def test_without_labels_predictions_are_kept(digits, engine):
    choice = choose_codec(digits, engine, digits.cut("c004"), images("none"), limit_points=0.5, say=Said())
    assert not choice.drop.labelled
    assert choice.drop.points <= 0.5


def test_of_pictures_the_smallest_form_is_taken(digits, engine):
    choice = choose_codec(digits, engine, digits.whole, images(), limit_points=0.5, say=Said())
    sizes = [len(path.read_bytes()) for path in (ROOT / "data/digits/images").rglob("*.png")]
    assert choice.codec in codecs.PICTURE_CODECS
    assert choice.image_bytes < 1.05 * np.mean(sizes)


def test_images_that_cannot_be_read_are_left_out_until_none_is_left(digits, engine, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    with pytest.raises(WrongUsage, match="name a codec"):
        choose_codec(digits, engine, digits.cut("pool"), find_images(str(tmp_path / "in")), limit_points=1, say=Said())
    good = next((ROOT / "data/digits/images").rglob("*.png"))
    (tmp_path / "in/good.png").write_bytes(good.read_bytes())
    choice = choose_codec(
        digits, engine, digits.cut("pool"), find_images(str(tmp_path / "in")), limit_points=1, say=Said()
    )
    assert choice.drop.images == 1


class Unsure:
    """The model, but that it gives no number where it is not sure enough."""

    name = "openvino"

    def __init__(self, engine: Engine, least: float) -> None:
        self._engine, self._least = engine, least

    def compile(self, inputs, outputs):
        segment = self._engine.compile(inputs, outputs)
        if outputs[0].elements != 10:
            return segment
        return lambda tensors: [
            np.where(scores.max(axis=1, keepdims=True) > self._least, scores, np.nan) for scores in segment(tensors)
        ]


@pytest.mark.parametrize("cut", ["c008", "c016", "c000"])
def test_images_without_finite_scores_are_left_out_until_none_is_left(digits, engine, cut):
    choice = choose_codec(digits, Unsure(engine, 0.95), digits.cut(cut), images(), limit_points=1, say=Said())
    assert 100 < choice.drop.images < 200
    assert 0 <= choice.drop.most_points < 10
    with pytest.raises(WrongUsage, match="none of 200 images finite scores"):
        choose_codec(digits, Unsure(engine, 2), digits.cut(cut), images(), limit_points=2, say=Said())


def test_jpeg_is_of_the_models_size_and_the_smaller_the_lower_its_quality(digits):
    from hybrid_batch.data.images.decode import decode

    file = next((ROOT / "data/digits/images").rglob("*.png")).read_bytes()
    small = {codec: recompress(file, digits.preparation, codec) for codec in JPEG_QUALITY}
    assert len(small["jpeg75"]) < len(small["jpeg90"])
    before = decode(file, digits.preparation)
    errors = [abs(decode(small[codec], digits.preparation) - before).mean() for codec in ("jpeg90", "jpeg75")]
    assert 0 < errors[0] < errors[1] < 0.1 * np.ptp(before)


def halves(*sums: np.ndarray) -> np.ndarray:
    """Scores of a tail that hears these sums (images), each apart from the others."""
    sure = [1 / (1 + np.exp(-total)) / len(sums) for total in sums]
    return np.stack([share for one in sure for share in (one, 1 / len(sums) - one)], axis=1)


def test_channels_that_matter_more_get_finer_steps():
    values = np.random.default_rng(0).normal(size=(32, 4, 4, 3)).astype(np.float32)

    def tail(tensors):
        means = tensors[0].mean(axis=(1, 2))
        return halves(0 * means[:, 0], 1 * means[:, 1], 8 * means[:, 2])

    tuning = tune([TensorSpec("a:0", (4, 4, 3), "FP32")], [values], tail)
    ignored, heard, loud = tuning.steps["a:0"]
    assert 3 < heard / loud < 8.5
    assert ignored > 2 * heard


def test_errors_are_carried_into_channels_that_add_up_with_them():
    values = np.random.default_rng(0).normal(size=(32, 4, 4, 4)).astype(np.float32)

    def tail(tensors):
        means = tensors[0].mean(axis=(1, 2))
        return halves(2 * means[:, 0] + 3 * means[:, 1], 2 * means[:, 2] - 3 * means[:, 3])

    carry = tune([TensorSpec("a:0", (4, 4, 4), "FP32")], [values], tail).carries["a:0"]
    assert carry is not None
    place = [carry.order.index(channel) for channel in range(4)]
    assert place[0] < place[1]
    assert place[2] < place[3]
    assert carry.shares[place[1], place[0]] == pytest.approx(2 / 3, rel=0.2)
    assert carry.shares[place[3], place[2]] == pytest.approx(-2 / 3, rel=0.2)
    assert abs(carry.shares[place[3], place[0]]) < 0.1


def test_what_images_do_not_agree_on_is_carried_with_caution():
    random = np.random.default_rng(0)
    values = random.normal(size=(32, 4, 4, 6)).astype(np.float32)
    of_all, of_each = random.normal(size=6), random.normal(size=(32, 6))

    def shares(heard: np.ndarray) -> float:
        def tail(tensors):
            return halves((tensors[0].mean(axis=(1, 2)) * heard).sum(axis=1))

        carry = tune([TensorSpec("a:0", (4, 4, 6), "FP32")], [values], tail).carries["a:0"]
        assert carry is not None
        return float(np.abs(carry.shares).sum())

    assert shares(of_each) < 0.5 * shares(np.tile(of_all, (32, 1)))


@pytest.mark.parametrize("images", [1, 2])
def test_hardly_any_images_are_enough_to_tune(images):
    values = np.random.default_rng(0).normal(size=(images, 4, 4, 3)).astype(np.float32)
    boundary = [TensorSpec("a:0", (4, 4, 3), "FP32")]
    tuning = tune(boundary, [values], lambda tensors: halves(tensors[0].sum(axis=(1, 2, 3)) / 9))
    assert np.isfinite(tuning.steps["a:0"]).all()
    assert (tuning.steps["a:0"] > 0).all()


def test_very_many_channels_are_tried_in_groups():
    values = np.random.default_rng(0).normal(size=(8, 300)).astype(np.float32) * np.geomspace(0.1, 10, 300)
    tuning = tune([TensorSpec("a:0", (300,), "FP32")], [values], lambda tensors: halves(tensors[0].mean(axis=1)))
    assert tuning.carries["a:0"] is None
    assert tuning.steps["a:0"].shape == (300,)
    assert (tuning.steps["a:0"] > 0).all()


def test_a_tail_that_hears_nothing_gives_equal_steps():
    values = np.zeros((8, 4, 4, 3), np.float32)
    steps = tune([TensorSpec("a:0", (4, 4, 3), "FP32")], [values], lambda _: np.ones((8, 2)) / 2).steps["a:0"]
    assert (steps == steps[0]).all()
    assert steps[0] > 0


def test_noise_that_leads_where_the_model_has_no_scores_tells_nothing():
    values = np.abs(np.random.default_rng(0).normal(size=(32, 4, 4, 3)).astype(np.float32))

    def tail(tensors):
        least = tensors[0].min(axis=(1, 2, 3))
        return np.where(least[:, None] >= 0, halves(tensors[0].mean(axis=(1, 2, 3))), np.nan)

    tuning = tune([TensorSpec("a:0", (4, 4, 3), "FP32")], [values], tail)
    assert np.isfinite(tuning.steps["a:0"]).all()
    assert np.isfinite(tuning.carries["a:0"].shares).all()


def test_whole_numbers_are_not_tuned():
    boundary = [TensorSpec("a:0", (3,), "INT32")]
    assert tune(boundary, [np.zeros((4, 3), np.int32)], lambda _: np.ones((4, 2)) / 2).steps == {}


def test_a_run_with_codec_auto_records_the_codec_it_resolved_and_finds_itself_again(tmp_path, capsys):
    from hybrid_batch.cli import main

    def run(*more: str) -> tuple[int, dict, str]:
        folder = str(ROOT / "data/digits/images")
        code = main(["run", folder, "--split", "c004", "--log", str(tmp_path / "log"), "--json", *more])
        out, said = capsys.readouterr()
        return code, json.loads(out) if out else {}, said

    code, first, said = run("--codec", "auto")
    assert code == 0
    assert first["codec"].startswith("tuned-")
    assert first["cuts"] == {f"c004 {first['codec']}": 360}
    assert "on 200 images" in said
    assert first["accuracy"] > 0.97
    _, again, said = run("--codec", "auto")
    assert again["run"] == first["run"]
    assert "nothing to do" in said
    assert run("--codec", "auto", "--max-accuracy-drop", "5")[1]["sent_bytes"] < first["sent_bytes"]
    assert run("--codec", "q4")[1]["cuts"] == {"c004 q4": 360}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--codec", "q4", "--max-accuracy-drop", "1"], "for --codec auto"),
        (["--codec", "auto", "--split", "local"], "leave it out"),
        (["--codec", "jpeg90", "--split", "c004"], "--split remote"),
    ],
)
def test_contradictions_are_refused(options, reason, capsys, tmp_path):
    from hybrid_batch.cli import main

    assert main(["run", str(ROOT / "data/digits/images"), "--log", str(tmp_path), *options]) == 2
    assert reason in capsys.readouterr().err


def test_jpeg_upload_runs_and_an_unreadable_picture_is_a_record(tmp_path, capsys):
    from hybrid_batch.cli import main

    folder = tmp_path / "in" / "7"
    folder.mkdir(parents=True)
    for number, path in enumerate(sorted((ROOT / "data/digits/images/7").iterdir())[:5]):
        (folder / f"{number}.png").write_bytes(path.read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    command = ["run", str(tmp_path / "in"), "--split", "remote", "--codec", "jpeg90", "--json"]
    assert main([*command, "--log", str(tmp_path / "log")]) == 0
    totals = json.loads(capsys.readouterr().out)
    assert (totals["images"], totals["errors"]) == (6, 1)
    assert totals["correct"] == 5
    assert totals["cuts"] == {"c000 jpeg90": 6}


def test_the_commands_offer_every_codec():
    from hybrid_batch.inference.commands.run import _CODECS

    assert ["auto", *codecs.TENSOR_CODECS, *codecs.PICTURE_CODECS] == _CODECS


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, capsys, monkeypatch):
    from hybrid_batch.cli import main

    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").touch()
    command = ["run", str(ROOT / "data/digits/images"), "--split", "c008", "--codec", "auto", "--log", str(tmp_path)]
    assert main(command) == 1
    assert capsys.readouterr().err.endswith(
        ".json: a file stands where a folder is needed; choose another place, by HYBRID_BATCH_CACHE.\n"
    )


def test_what_cannot_be_kept_of_pictures_is_found_all_the_same(digits, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_BATCH_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").touch()
    choice = choose_codec(digits, engine, digits.whole, images(), limit_points=100, say=Said())
    assert choice.codec == codecs.IMAGE
