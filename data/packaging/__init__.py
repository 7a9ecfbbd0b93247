"""Archives of code and libraries for other platforms."""
