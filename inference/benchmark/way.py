"""A way to divide the work in the experiment: a cut, and how its boundary travels."""

from collections.abc import Sequence
from dataclasses import dataclass

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.runner.split import AUTO, choose_split

_MIDDLE = (0.5, 0.8)  # of the work here


@dataclass(frozen=True, slots=True)
class Way:
    """With the codec `image` the cut is the whole model, and pictures are uploaded as they are."""

    cut: Cut
    codec: str

    @property
    def is_upload(self) -> bool:
        """Whether pictures themselves travel."""
        return self.codec in codecs.PICTURE_CODECS

    @property
    def name(self) -> str:
        """For people."""
        return "upload" if self.is_upload else f"{self.cut.id} {self.codec}"


def choose_ways(bundle: Bundle, names: Sequence[str], codec: str) -> list[Way]:
    """The ways by the cuts' ids or names; without any the upload, the cut that a run would take, those nearest to half
    and four fifths of the work among cuts that carry less than all before them, and the last. Raises CutNotFound."""
    cuts = [bundle.cut(name) for name in names] if names else _useful(bundle)
    return [way_of(bundle, cut, codec) for cut in dict.fromkeys(cuts)]


def way_of(bundle: Bundle, cut: Cut, codec: str) -> Way:
    """A cut with the codec; the whole model always has its pictures uploaded."""
    return Way(cut, codecs.IMAGE if cut is bundle.whole else codec)


def choose_split_way(bundle: Bundle, ways: Sequence[Way], codec: str) -> Way:
    """Against the upload: the first way that keeps layers here, by default the cut that a run would take."""
    if inner := [way for way in ways if not way.is_upload]:
        wanted = choose_split(bundle, AUTO, None).cut
        return next((way for way in inner if way.cut is wanted), inner[0])
    cut = choose_split(bundle, AUTO, None).cut
    if cut is None:
        raise WrongUsage(f"{bundle.name} has no place to cut; leave out the users: --users none.")
    return Way(cut, codec)


def _useful(bundle: Bundle) -> list[Cut]:
    inner = [cut for cut in bundle.cuts if cut is not bundle.whole and not cut.is_frontier]
    if not inner:
        return [bundle.whole]
    falling: dict[int, Cut] = {}  # of equals the last, which leaves the least for the tail
    for cut in inner:
        if cut.elements <= min(falling, default=cut.elements):
            falling[cut.elements] = cut
    near = [min(falling.values(), key=lambda cut, at=at: abs(cut.head_share - at)) for at in _MIDDLE]  # type: ignore[misc]
    chosen = choose_split(bundle, AUTO, None).cut
    useful = {cut.id: cut for cut in [chosen, *near, inner[-1]] if cut is not None}
    return [bundle.whole, *sorted(useful.values(), key=lambda cut: cut.head_macs)]
