"""The services that run a job: an existing cluster, a new cluster, and an EMR Serverless application."""
