"""The sample: 360 images of handwritten digits, their class names and a model."""
