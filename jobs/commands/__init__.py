"""The commands `evaluate`, `compare` and `report`."""
