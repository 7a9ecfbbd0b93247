"""Reports and comparisons computed from the records of runs."""
