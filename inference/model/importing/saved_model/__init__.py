"""Reading SavedModel folders, after a check of their ops and files."""
