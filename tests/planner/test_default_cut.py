"""The cut of a run for which nothing is measured."""

from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pytest

from hybrid_batch.data.errors import ModelRefused, WrongUsage
from hybrid_batch.data.images.images import find_images
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.planner.plan.default_cut import default_cut
from tests.conftest import ROOT
from tests.factories.profiles import WORK, chain


def files(*sizes: int) -> SimpleNamespace:
    """Images of these sizes in bytes."""
    return SimpleNamespace(table=pa.table({"size": pa.array(sizes, pa.int64())}))


def heavy(*cuts: tuple[int, int]) -> Bundle:
    """A chain whose whole model takes 100 ms at the stated speed of this machine, 10 ms in the tail."""
    bundle = chain(*cuts)
    scaled = [replace(cut, head_macs=cut.head_macs * 10**6, tail_macs=cut.tail_macs * 10**6) for cut in bundle.cuts]
    return replace(bundle, cuts=tuple(scaled))


def test_the_smallest_boundary_is_not_taken_if_it_is_larger_than_the_files():
    """As in ResNet50, whose smallest early boundary is eight times the file: the only smaller one is late."""
    bundle = heavy((80_000, 100), (200_000, 500), (1000, 990))
    assert default_cut(bundle, files(42_000)).cut.id == "c003"
    assert default_cut(bundle, files(500_000)).cut.id == "c001"


def test_of_smaller_boundaries_the_fastest_over_20_mbit_is_taken():
    """The heads take 20 and 80 ms; 4,000 bytes take 1.6 ms on the link."""
    assert default_cut(heavy((2000, 200), (1000, 800)), files(10**6)).cut.id == "c001"


def test_the_size_is_that_of_the_codec():
    bundle = heavy((80_000, 100), (1000, 990))
    assert default_cut(bundle, files(42_000)).cut.id == "c002"
    assert default_cut(bundle, files(42_000), "q4").cut.id == "c001"
    chosen = default_cut(bundle, files(42_000), "auto")
    assert (chosen.cut.id, chosen.codec) == ("c001", None)


def test_a_cut_leaves_work_to_the_tail_if_one_can():
    assert default_cut(chain((5000, 500), (10, WORK)), files(100)).cut.id == "c001"
    assert default_cut(chain((10, WORK)), files(100)).cut.id == "c001"


def test_the_reason_names_the_link_the_bytes_and_what_competes():
    bundle = chain((100, 500), (10, 900))
    chosen = default_cut(bundle, files(1000, 3000))
    assert "20 Mbit/s" in chosen.reason
    sent = f"{chosen.cut_bytes:,.0f} bytes per image in a request, 2,018 with the image files"  # headers included
    assert f"sends no more than the image files: {sent}" in chosen.reason
    larger = default_cut(bundle, files(5))
    assert "every cut with work after it sends more than the image file" in larger.reason


def test_a_model_without_cuts_is_refused_with_the_option_to_use():
    with pytest.raises(ModelRefused, match="--split local"):
        default_cut(chain(), files(100))


def test_a_codec_of_image_files_is_refused():
    with pytest.raises(WrongUsage, match="Codec image sends image files and needs --split remote"):
        default_cut(chain((100, 500)), files(100), "image")


def test_the_sample_model_is_cut_at_its_bottleneck():
    images = find_images(str(ROOT / "data" / "digits" / "images"))
    chosen = default_cut(resolve_model("digits"), images)
    assert (chosen.cut.id, chosen.codec) == ("c010", "fp16")
    assert chosen.cut_bytes == pytest.approx(chosen.upload_bytes, rel=0.03)
