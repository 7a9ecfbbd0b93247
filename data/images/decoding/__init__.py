"""Decoding of image files in bounded memory and time: budget, headers, conversion, and a fair queue."""
