"""The choice of the sample among the user's images."""

from itertools import pairwise

import pytest
from PIL import Image

from hybrid_batch.data.images.images import find_images
from hybrid_batch.inference.planner.profile.sample import sample_files


@pytest.mark.parametrize("count", [1, 5, 16, 17, 31, 47, 160])
def test_the_sample_is_taken_at_even_distances(tmp_path, count):
    """Images of a class are in one folder, and classes may differ in file size."""
    for number in range(count):
        Image.new("L", (1 + number, 1)).save(tmp_path / f"{number:03}.bmp")
    files = sample_files(find_images(str(tmp_path)))
    widths = [int.from_bytes(file[18:22], "little") - 1 for file in files]
    assert len(widths) == min(16, count)
    distances = [after - before for before, after in pairwise([*widths, count])]
    assert widths[0] == 0
    assert max(distances) - min(distances) <= 1
