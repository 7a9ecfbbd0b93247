import pytest

from hybrid_batch.data.errors import CutNotFound, WrongUsage
from hybrid_batch.inference.model.importing.resolve_model import resolve_model
from hybrid_batch.inference.runner.split import CutSplit, LocalSplit, UploadSplit, choose_split, split_at


@pytest.fixture(scope="module")
def digits():
    return resolve_model("digits")


def test_local_sends_nothing_and_remote_sends_images(digits):
    assert choose_split(digits, "local", None) == LocalSplit()
    assert choose_split(digits, "remote", None) == choose_split(digits, "c000", None) == UploadSplit("image")
    assert choose_split(digits, "remote", "int8") == UploadSplit("int8")
    assert choose_split(digits, "pool", "int8") == CutSplit(digits.cut("pool"), "int8")


def test_a_split_at_the_input_is_an_upload(digits):
    assert split_at(digits.input_cut, "int8") == UploadSplit("int8")
    assert split_at(digits.cuts[1], "int8") == CutSplit(digits.cuts[1], "int8")


@pytest.mark.parametrize(("split", "codec"), [("local", "fp16"), ("pool", "image"), ("auto", "image")])
def test_a_codec_that_does_not_fit_the_split_is_refused(digits, split, codec):
    with pytest.raises(WrongUsage, match=codec):
        choose_split(digits, split, codec)


def test_an_unknown_cut_suggests_near_names(digits):
    with pytest.raises(CutNotFound, match=r"did you mean.*'block_1_add'.*hybrid-batch cuts digits"):
        choose_split(digits, "blok_1_add", None)
