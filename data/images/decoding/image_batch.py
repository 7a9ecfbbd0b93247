"""The image files of one request, decoded one at a time within a budget."""

from collections.abc import Callable, Sequence

import numpy as np

from hybrid_batch.data.images.decode import Preprocessing, UndecodableImage, decode_opened
from hybrid_batch.data.images.decoding.opened_image import OpenedImage, open_image
from hybrid_batch.data.images.decoding.pixel_budget import DecodingCost, PixelBudget


class ImageBatch:
    """Decodes image files in order to an array (images, height, width, channels) of `dtype`. `check` is called before
    each of them, and ends the work by raising. Images beyond the pixels of one request, like those beyond the pixels of
    one image, get an error."""

    def __init__(
        self,
        files: Sequence[memoryview],
        preprocessing: Preprocessing,
        dtype: np.dtype,
        budget: PixelBudget,
        check: Callable[[], None],
    ) -> None:
        self._files, self._preprocessing, self._budget, self._check = files, preprocessing, budget, check
        shape = preprocessing.height, preprocessing.width, preprocessing.channels
        self._pixels = np.empty((len(files), *shape), dtype)
        self._errors: list[str | None] = []
        self._decoded = 0
        self._work = 0
        self._opened: OpenedImage | None = None

    def open_next(self) -> DecodingCost | None:
        """Open the next file that can be decoded; returns the cost of decoding it, None after the last file. Raises
        what `check` raises."""
        while self._opened is None and len(self._errors) < len(self._files):
            self._check()
            try:
                self._opened = self._open(self._files[len(self._errors)])
            except UndecodableImage as error:
                self._errors.append(str(error))
        return None if self._opened is None else self._opened.cost

    def decode_next(self) -> None:
        """Decode the open file."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            self._pixels[self._decoded] = decode_opened(opened, self._preprocessing).pixels
            self._decoded += 1
            self._errors.append(None)
        except UndecodableImage as error:
            self._errors.append(str(error))

    def finish(self) -> tuple[np.ndarray, tuple[str | None, ...]]:
        """Decode the files that are left. Returns the pixels of the images that could be decoded, and for each image
        None or a sentence on why it could not."""
        while self.open_next() is not None:
            self.decode_next()
        return self._pixels[: self._decoded], tuple(self._errors)

    def _open(self, file: memoryview) -> OpenedImage:
        limit = self._budget.request_pixels
        if self._work > limit:
            raise UndecodableImage(
                f"the images of this request have more than {limit:,} pixels together; send fewer at once "
                "(--batch-size), or serve with a greater --max-pixels"
            )
        opened = open_image(bytes(file), self._budget)
        self._work += opened.cost.work
        return opened
