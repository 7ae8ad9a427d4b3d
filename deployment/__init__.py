"""What is deployed on AWS, what it may connect to, and what it costs: values and arithmetic, without AWS.

Shared by `cdk/`, which builds it, and by `groundswell cost`, which reports on it. Imports the standard library alone.
"""
