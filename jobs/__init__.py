"""Jobs that evaluate and compare runs: in threads, with mrjob, or with Spark."""
