"""The AWS resources of a deployment: the CloudFormation stack with its template, the bucket, and the client."""
