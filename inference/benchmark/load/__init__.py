"""Load on one server: concurrent users, and more users than it admits."""
