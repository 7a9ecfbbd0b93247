"""The reading of Keras models: files, whose configuration is checked against an allowlist, and keras.applications."""
