"""Monitoring of a server: counters that all its processes share, their documents, the log of requests, saturation."""
