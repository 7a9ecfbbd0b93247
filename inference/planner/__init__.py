"""The planner: measure this machine, the tail and the link, choose where to cut, and adapt the choice during a run."""
