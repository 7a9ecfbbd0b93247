"""Packages of tails for Lambda and containers, and the libraries in them."""
