"""A bucket that nobody but its owners can reach."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct


def private_bucket(
    scope: Construct, *, removal_policy: RemovalPolicy, lifecycle_rules: Sequence[s3.LifecycleRule] = ()
) -> s3.Bucket:
    """Encrypted, closed to the public, and deaf to whoever does not use TLS."""
    return s3.Bucket(
        scope,
        "Bucket",
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        removal_policy=removal_policy,
        lifecycle_rules=list(lifecycle_rules) or None,
    )
