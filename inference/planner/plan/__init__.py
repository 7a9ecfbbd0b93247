"""The plan: predict every candidate split from a profile and choose one, within constraints of accuracy and cost."""
