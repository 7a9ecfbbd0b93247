"""Connections of the HTTP server: how many are open, how long each may wait, and which close first."""
