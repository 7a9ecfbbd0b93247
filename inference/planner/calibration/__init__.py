"""The calibration of codecs: the smallest payload that keeps the accuracy on a sample of images."""
