"""The log: the schema of a record and the layout of a run folder."""
