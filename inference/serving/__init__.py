"""Serving: requests for the tails of one bundle are decoded, computed and answered, over HTTP or from an SQS queue."""
