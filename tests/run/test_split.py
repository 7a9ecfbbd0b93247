from dataclasses import replace

import pytest

from hybrid_batch.data.errors import CutNotFound, ModelRefused, WrongUsage
from hybrid_batch.inference.model.importing.resolve_model import open_model
from hybrid_batch.inference.runner.split import choose_split


@pytest.fixture(scope="module")
def digits():
    return open_model("digits")


def test_auto_takes_the_smallest_boundary_of_the_first_half(digits):
    split = choose_split(digits, "auto", None)
    assert split.cut is not None
    early = [cut for cut in digits.cuts[1:] if cut.head_share <= 0.5]
    assert split.cut.elements == min(cut.elements for cut in early)
    assert split.cut.head_macs == max(cut.head_macs for cut in early if cut.elements == split.cut.elements)
    assert split.codec == "fp16"


def test_auto_goes_past_the_half_when_nothing_lies_before(digits):
    late = replace(digits, cuts=(digits.cuts[0], *(cut for cut in digits.cuts[1:] if cut.head_share > 0.5)))
    assert choose_split(late, "auto", None).cut == late.cuts[1]


def test_a_model_without_cuts_says_run_locally(digits):
    with pytest.raises(ModelRefused, match="--split local"):
        choose_split(replace(digits, cuts=digits.cuts[:1]), "auto", None)


def test_local_sends_nothing_and_remote_sends_pictures(digits):
    assert choose_split(digits, "local", None).name == "local"
    assert choose_split(digits, "remote", None).codec == "image"
    assert choose_split(digits, "remote", "int8").codec == "int8"
    assert choose_split(digits, "pool", "int8").cut == digits.cut("pool")


@pytest.mark.parametrize(("split", "codec"), [("local", "fp16"), ("pool", "image"), ("auto", "image")])
def test_codecs_that_mean_nothing_are_refused(digits, split, codec):
    with pytest.raises(WrongUsage, match=codec):
        choose_split(digits, split, codec)


def test_an_unknown_cut_suggests_near_names(digits):
    with pytest.raises(CutNotFound, match=r"did you mean.*'block_1_add'.*hybrid-batch cuts digits"):
        choose_split(digits, "blok_1_add", None)
