"""Errors, the log, images, storage, AWS clients, packaging, terminal output, and the sample data."""
