"""Readers of the structure of image files, which bound the work of Pillow before it opens a file."""
