"""Where a run divides the model: what the user asked for, made definite."""

from dataclasses import dataclass

from hybrid_batch.data.errors import ModelRefused, WrongUsage
from hybrid_batch.data.log.records import LOCAL_CUT
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.protocol import codecs

AUTO, LOCAL, REMOTE = "auto", "local", "remote"
NO_CODEC = "none"


@dataclass(frozen=True, slots=True)
class Split:
    """A cut and how its boundary travels. `cut` None: the whole model runs here and nothing travels."""

    cut: Cut | None
    codec: str

    @property
    def name(self) -> str:
        """The record's `cut`."""
        return self.cut.id if self.cut else LOCAL_CUT


HERE = Split(None, NO_CODEC)


def choose_split(bundle: Bundle, wanted: str, codec: str | None) -> Split:
    """The split for `auto`, `local`, `remote`, or a cut's id or name.

    `auto` takes the smallest boundary in the first half of the work, of equals the last. Pictures go as they are
    (`image`) when the whole model is remote, boundaries as `fp16`, unless `codec` says otherwise. Raises CutNotFound,
    ModelRefused without any cut to choose, WrongUsage for a codec that does not fit.
    """
    if wanted == LOCAL:
        if codec is not None:
            raise WrongUsage(f"With --split local nothing travels, so --codec {codec} has no meaning; leave it out.")
        return HERE
    cut = bundle.whole if wanted == REMOTE else _smallest_early(bundle) if wanted == AUTO else bundle.cut(wanted)
    if codec in codecs.PICTURE_CODECS and cut is not bundle.whole:
        raise WrongUsage(f"Codec {codec} sends the pictures themselves, so it needs --split remote, not {cut.name!r}.")
    return Split(cut, codec or (codecs.IMAGE if cut is bundle.whole else codecs.HALF))


def _smallest_early(bundle: Bundle) -> Cut:
    inner = [cut for cut in bundle.cuts if cut is not bundle.whole and not cut.is_frontier]
    if not inner:
        raise ModelRefused(f"{bundle.name} has no place to cut; run it locally: --split local.")
    early = [cut for cut in inner if cut.head_share <= 0.5] or inner[:1]
    return min(reversed(early), key=lambda cut: cut.elements)
