"""Services of AWS that may act here, for this account alone."""

from __future__ import annotations

from aws_cdk import Aws
from aws_cdk import aws_iam as iam


def of_this_account(service: str) -> iam.ServicePrincipal:
    """Return a service as a principal, when it acts for this account: others cannot make it act on our resources."""
    return iam.ServicePrincipal(service, conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}})
