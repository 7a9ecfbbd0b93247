"""The queue worker: receives requests from an SQS work queue and sends the replies to the clients' reply queues."""
