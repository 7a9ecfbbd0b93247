"""Defaults of options: the file of the user, the file of the working folder, and what each of them may set."""
