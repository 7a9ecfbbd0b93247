"""The sections of the page: one module for each question that a reader has."""
