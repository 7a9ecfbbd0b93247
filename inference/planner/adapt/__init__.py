"""Adaptation during a run: estimate the link, plan again, and route each batch."""
