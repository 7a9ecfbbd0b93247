"""Listing, labelling and decoding of images."""
