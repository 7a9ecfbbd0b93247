"""Reports and comparisons as JSON, CSV files, terminal tables and HTML."""
