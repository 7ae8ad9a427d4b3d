"""Where posts go when they are no longer hot: a bucket that grows cold, and in the end empties itself."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cdk.nag import accept
from cdk.parts.bucket import private_bucket
from deployment.knobs import Knobs


class Archive(Construct):
    """The archive's bucket. It outlives the stack where the deployment is protected."""

    def __init__(self, scope: Construct, id: str, chosen: Knobs) -> None:
        super().__init__(scope, id)
        self.bucket = private_bucket(
            self,
            # The bucket is never emptied by a deploy: what the mover put there exists nowhere else.
            removal_policy=RemovalPolicy.RETAIN,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="grow-cold",
                    transitions=[
                        s3.Transition(
                            storage_class=s3.StorageClass.GLACIER_INSTANT_RETRIEVAL,
                            transition_after=Duration.days(chosen.archive_cold_after_days),
                        )
                    ]
                    if chosen.archive_grows_cold
                    else None,
                    expiration=Duration.days(chosen.archive_keep_days) if chosen.archive_keep_days else None,
                    abort_incomplete_multipart_upload_after=Duration.days(1),
                )
            ],
        )
        # Named, so that whoever reads the export's name in a policy knows what it is.
        self.arn = Stack.of(self).export_value(self.bucket.bucket_arn, name=f"{Stack.of(self).stack_name}ArchiveArn")
        self.name = Stack.of(self).export_value(self.bucket.bucket_name, name=f"{Stack.of(self).stack_name}ArchiveName")
        self.location = f"s3://{self.name}"
        accept(
            self.bucket,
            {"AwsSolutions-S1": "Two functions read and write here; their own logs say what they did."},
        )
