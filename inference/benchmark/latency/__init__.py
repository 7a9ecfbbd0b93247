"""Latency of tails: one tail and split at a time, with one image a request."""
