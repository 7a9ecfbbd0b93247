"""Evaluation of runs on Amazon EMR: packaging, submission, waiting and fetching the report."""
