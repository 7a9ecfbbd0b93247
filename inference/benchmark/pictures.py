"""The pictures of the experiment: some of the user's own, all of which can be read."""

from hybrid_batch.data.errors import NoImages
from hybrid_batch.data.images.decode import CannotDecode, decode
from hybrid_batch.data.images.images import Images
from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.planner.profile.sample import sample_files


def read_pictures(bundle: Bundle, images: Images) -> list[bytes]:
    """The files of up to 16 images, evenly over them. Raises NoImages when none of these can be read."""
    files = [file for file in sample_files(images) if _is_readable(bundle, file)]
    if not files:
        raise NoImages(
            f"None of {min(16, images.table.num_rows)} images tried of {images.root.uri} can be read; give others."
        )
    return files


def _is_readable(bundle: Bundle, file: bytes) -> bool:
    try:
        decode(file, bundle.preparation)
    except CannotDecode:
        return False
    return True
