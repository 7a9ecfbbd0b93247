"""Counters of one kind each: groups of a column, calibration cells, minutes of throughput."""
