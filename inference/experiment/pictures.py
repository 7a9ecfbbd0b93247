"""The pictures of the experiment: some of the user's own, all of which can be read."""

from data.decode import CannotDecode, decode
from data.errors import NoImages
from data.images import Images
from inference.bundle import Bundle
from inference.planner.sample import sample_files


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
