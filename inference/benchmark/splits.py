"""The splits that a benchmark measures, and the one that concurrent users send."""

from collections.abc import Sequence

from hybrid_batch.data.errors import ModelRefused, WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.protocol.codecs import IMAGE
from hybrid_batch.inference.runner.split import CutSplit, RemoteSplit, UploadSplit

_HEAD_SHARES = (0.5, 0.8)  # of the work
_EARLY_HEAD_SHARE = 0.5


def choose_splits(bundle: Bundle, names: Sequence[str], codec: str) -> list[RemoteSplit]:
    """The splits to measure: at the cuts of these ids or names, with `codec`; the input cut is an upload.

    Without names: the upload, the `early_cut`, the two cuts nearest to half and to four fifths of the
    work among those with a smaller boundary than all earlier cuts, and the last cut. Raises CutNotFound."""
    cuts = [bundle.cut(name) for name in names] if names else _default_cuts(bundle)
    return [UploadSplit(IMAGE) if cut is bundle.input_cut else CutSplit(cut, codec) for cut in dict.fromkeys(cuts)]


def choose_load_split(bundle: Bundle, splits: Sequence[RemoteSplit], codec: str) -> CutSplit:
    """The split that concurrent users send beside uploads: at the `early_cut` if `splits` has it or only an upload,
    else the first that is not an upload. Raises WrongUsage for a model without cuts."""
    try:
        auto = early_cut(bundle)
    except ModelRefused as error:
        raise WrongUsage(f"{bundle.name} has no cut for a comparison with uploads; use --users none.") from error
    inner = [split for split in splits if isinstance(split, CutSplit)] or [CutSplit(auto, codec)]
    return next((split for split in inner if split.cut is auto), inner[0])


def early_cut(bundle: Bundle) -> Cut:
    """The smallest boundary in the first half of the work, the latest of equals; the first cut when none is in the
    first half. Cuts with several tensors are not considered. Raises ModelRefused when there is none."""
    inner = [cut for cut in bundle.cuts if cut is not bundle.input_cut and not cut.is_multi_tensor]
    if not inner:
        raise ModelRefused(f"{bundle.name} has no cut; run the whole model locally with --split local.")
    early = [cut for cut in inner if cut.head_share <= _EARLY_HEAD_SHARE] or inner[:1]
    return min(reversed(early), key=lambda cut: cut.elements)


def split_title(split: RemoteSplit) -> str:
    """The name of a split in a terminal: `upload`, or its cut and codec."""
    return "upload" if isinstance(split, UploadSplit) else f"{split.name} {split.codec}"


def _default_cuts(bundle: Bundle) -> list[Cut]:
    inner = [cut for cut in bundle.cuts if cut is not bundle.input_cut and not cut.is_multi_tensor]
    if not inner:
        return [bundle.input_cut]
    smallest: dict[int, Cut] = {}  # by boundary size; of equal sizes the last, which leaves the least work to the tail
    for cut in inner:
        if cut.elements <= min(smallest, default=cut.elements):
            smallest[cut.elements] = cut
    near = [min(smallest.values(), key=lambda cut, at=at: abs(cut.head_share - at)) for at in _HEAD_SHARES]  # type: ignore[misc]
    chosen = {cut.id: cut for cut in [early_cut(bundle), *near, inner[-1]]}
    return [bundle.input_cut, *sorted(chosen.values(), key=lambda cut: cut.head_macs)]
