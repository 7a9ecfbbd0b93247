"""Submitted jobs: their ID, state, logs, result and end."""
