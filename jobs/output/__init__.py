"""The files of an evaluation, and the thumbnails in its report."""
