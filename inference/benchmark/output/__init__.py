"""The output of a benchmark: terminal and figure."""
