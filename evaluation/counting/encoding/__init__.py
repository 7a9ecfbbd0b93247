"""Numbers and strings as integers: fixed point, latency buckets, vocabularies, histograms of integer pairs."""
