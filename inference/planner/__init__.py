"""The planner: measure this machine, the tail and the link, and choose where to cut; keep choosing during a run."""
