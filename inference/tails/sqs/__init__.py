"""The tail behind an SQS work queue: the transport, the session with its threads, and the reply queues."""
