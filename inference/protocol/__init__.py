"""The protocol between client and tail: requests and replies, frames, codecs, and bodies sent through S3."""
