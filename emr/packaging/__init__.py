"""The files that a job needs on EMR: archives of libraries and code, the Spark script and the bootstrap script."""
