"""The parts of runs that a job reads, and how a worker reads them."""
