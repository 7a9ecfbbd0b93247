"""Access to mrjob and Spark, shared by the jobs."""
