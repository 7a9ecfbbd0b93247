"""The deployment of a model's tails to AWS: its specification, CloudFormation stack, packages and Lambda function."""
