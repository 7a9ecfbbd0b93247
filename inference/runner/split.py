"""How a run divides the model between this machine and the tail."""

from dataclasses import dataclass

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.data.log.records import LOCAL_CUT
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import INPUT_CUT, Cut
from hybrid_batch.inference.protocol import codecs

AUTO, LOCAL, REMOTE = "auto", "local", "remote"
NO_CODEC = "none"


@dataclass(frozen=True, slots=True)
class LocalSplit:
    """The whole model runs on this machine; nothing is sent."""

    @property
    def name(self) -> str:
        """The record's `cut`."""
        return LOCAL_CUT

    @property
    def codec(self) -> str:
        """The record's `codec`."""
        return NO_CODEC


@dataclass(frozen=True, slots=True)
class UploadSplit:
    """The whole model runs in the tail. A codec of `IMAGE_CODECS` sends image files, any other the input tensor."""

    codec: str

    @property
    def name(self) -> str:
        """The record's `cut`."""
        return INPUT_CUT

    @property
    def sends_files(self) -> bool:
        """Whether image files are sent, as stored or recompressed, instead of the input tensor."""
        return self.codec in codecs.IMAGE_CODECS


@dataclass(frozen=True, slots=True)
class CutSplit:
    """The layers before `cut` run on this machine, the others in the tail; the boundary is sent with `codec`."""

    cut: Cut
    codec: str

    @property
    def name(self) -> str:
        """The record's `cut`."""
        return self.cut.id


RemoteSplit = UploadSplit | CutSplit
Split = LocalSplit | RemoteSplit


def split_at(cut: Cut, codec: str) -> RemoteSplit:
    """The split whose tail starts at `cut`: an upload when that is the model's input."""
    return UploadSplit(codec) if cut.id == INPUT_CUT else CutSplit(cut, codec)


def choose_split(bundle: Bundle, wanted: str, codec: str | None) -> Split:
    """The split for `local`, `remote`, or the id or name of a cut.

    Without `codec`, image files are sent as stored (`image`) when the whole model is remote, and boundaries as `fp16`.
    Raises CutNotFound; WrongUsage for a codec that does not fit the split.
    """
    if wanted == LOCAL:
        if codec is not None:
            raise WrongUsage(f"--codec {codec} has no effect with --split local, which sends nothing; leave it out.")
        return LocalSplit()
    if wanted == AUTO:
        check_sends_tensors(codec, AUTO)
    cut = bundle.cut(INPUT_CUT if wanted == REMOTE else wanted)
    if cut is bundle.input_cut:
        return UploadSplit(codec or codecs.IMAGE)
    check_sends_tensors(codec, cut.name)
    return CutSplit(cut, codec or codecs.FP16)


def check_sends_tensors(codec: str | None, split: str) -> None:
    """Raises WrongUsage for a codec of image files with a split that sends boundaries."""
    if codec in codecs.IMAGE_CODECS:
        raise WrongUsage(f"Codec {codec} sends image files and needs --split remote, not {split!r}.")
