"""Clients of AWS services and of SQS queues."""
