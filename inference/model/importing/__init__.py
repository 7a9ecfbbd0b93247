"""The import of a model into a bundle: read it, freeze it with TensorFlow, and find its cuts."""
