"""The HTTP server: an ASGI application with admission control and dynamic batching, and the processes that run it."""
