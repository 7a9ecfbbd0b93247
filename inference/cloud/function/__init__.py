"""The Lambda function: handlers of HTTP events, S3 events and access tokens."""
