"""Access to the HTTP server: tokens, TLS, and the limits of each client."""
