"""The benchmark of tails: cold and warm latency of every tail and split, and throughput with concurrent users."""
