"""The experiment: what each tail and each cut really does, first time, warm, and for many users at once; measured."""
