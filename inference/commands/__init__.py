"""The commands of inference, one module each."""
