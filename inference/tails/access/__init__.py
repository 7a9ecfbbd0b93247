"""What gives a client access to a tail behind HTTP: tokens, passwords, signatures and proxies."""
