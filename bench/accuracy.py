"""The accuracy of a model with some split, on all its labelled images."""

from collections.abc import Iterator, Sequence

import numpy as np

from hybrid_batch.data.images.decode import decode
from hybrid_batch.data.images.images import ImageSet
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.runtimes import Runtime, compile_head, compile_tail
from hybrid_batch.inference.model.scores import to_scores
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.runner.split import LocalSplit, Split

_BATCH = 20


class Accuracy:
    """The accuracy of a bundle on labelled images, computed once per split."""

    def __init__(self, bundle: Bundle, runtime: Runtime, images: ImageSet) -> None:
        self._bundle, self._runtime = bundle, runtime
        self._files = [images.root.read(name) for name in images.table["image"].to_pylist()]
        self._truth = np.array([bundle.labels.index(label) for label in images.table["label"].to_pylist()])
        self._accuracies: dict[Split, float] = {}

    def of(self, split: Split) -> float:
        """Return the share of images whose prediction is their label, from 0 to 1."""
        if split.codec == codecs.IMAGE:
            split = LocalSplit()
        if split not in self._accuracies:
            found = np.concatenate([*self._predictions(split)])
            self._accuracies[split] = float((found == self._truth).mean())
        return self._accuracies[split]

    def _predictions(self, split: Split) -> Iterator[np.ndarray]:
        cut = self._bundle.input_cut if isinstance(split, LocalSplit) else self._bundle.cut(split.name)
        inner = cut is not self._bundle.input_cut
        head = compile_head(self._runtime, self._bundle, cut) if inner else None
        tail = compile_tail(self._runtime, self._bundle, cut)
        for start in range(0, len(self._files), _BATCH):
            tensors: Sequence[np.ndarray] = [self._pixels(split, self._files[start : start + _BATCH])]
            if head is not None:
                tensors = head(tensors)
            if not isinstance(split, LocalSplit) and split.codec not in codecs.IMAGE_CODECS:
                tensors = wire_tensors.decode(
                    cut.boundary, Frame(wire_tensors.encode(split.codec, cut.boundary, tensors))
                )
            yield to_scores(self._bundle, tail(tensors)[0]).argmax(axis=1)

    def _pixels(self, split: Split, files: Sequence[bytes]) -> np.ndarray:
        preprocessing = self._bundle.preprocessing
        if split.codec in codecs.IMAGE_CODECS:
            files = [codecs.open_image_codec(split.codec).recompress(file, preprocessing) for file in files]
        return np.stack([decode(file, preprocessing) for file in files])
