"""Comparison of two runs, joined image by image."""
