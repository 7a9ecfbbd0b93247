"""The process that imports a model: its rights and limits, its start and end, and the publication of its result."""
