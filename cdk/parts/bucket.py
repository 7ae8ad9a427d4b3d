"""A bucket that nobody but its owners can reach."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct


def private_bucket(
    scope: Construct,
    *,
    removal_policy: RemovalPolicy,
    lifecycle_rules: Sequence[s3.LifecycleRule] = (),
    emptied_on_removal: bool = False,
) -> s3.Bucket:
    """Return a bucket that is encrypted, closed to the public, and refuses requests without TLS.

    Args:
        emptied_on_removal: delete the objects before the bucket. CloudFormation deletes no bucket that has objects.
    """
    return s3.Bucket(
        scope,
        "Bucket",
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        removal_policy=removal_policy,
        auto_delete_objects=emptied_on_removal or None,
        lifecycle_rules=list(lifecycle_rules) or None,
    )
