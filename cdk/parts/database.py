"""Postgres on RDS: encrypted at rest and on the way, reachable from inside alone, its password known to nobody."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from constructs import Construct

from cdk.environment import ROOT, SecretReference
from cdk.nag import accept, accept_wildcards
from cdk.parts.function import retention
from cdk.parts.network import Network
from deployment.connections import MAX_CONNECTIONS
from deployment.database_parameters import LOG_PARAMETERS
from deployment.knobs import DeploymentError, Knobs

NAME = "groundswell"
ENGINE_VERSION = "18"
ROLES = ("relay", "api", "jobs", "operator")
"""Who connects to the database, apart from the migration; groundswell/core/database_roles.py has what each may do."""


class Database(Construct):
    """One instance. `reference` and `logins` name the secrets to connect with, `clients` is who may."""

    def __init__(self, scope: Construct, id: str, chosen: Knobs, network: Network) -> None:
        super().__init__(scope, id)
        _require_authorities(chosen.region)
        engine = rds.DatabaseInstanceEngine.postgres(
            version=rds.PostgresEngineVersion.of(ENGINE_VERSION, ENGINE_VERSION)
        )
        self.max_connections = MAX_CONNECTIONS[chosen.database_class]
        self.instance = rds.DatabaseInstance(
            self,
            "Instance",
            engine=engine,
            instance_type=ec2.InstanceType(chosen.database_class),
            vpc=network.vpc,
            vpc_subnets=network.isolated,
            # No zone is set: one that is set later replaces the database by an empty one, so that Multi-AZ could never
            # be switched off again. `services_zone` brings the services to where RDS put it.
            multi_az=chosen.database_multi_az,
            database_name=NAME,
            credentials=rds.Credentials.from_generated_secret(NAME),
            parameter_group=rds.ParameterGroup(
                self,
                "Parameters",
                engine=engine,
                description="TLS for every connection, and the number that the connection budget counts with",
                parameters={
                    **LOG_PARAMETERS,
                    "rds.force_ssl": "1",
                    "max_connections": str(self.max_connections),
                    "log_min_duration_statement": "1000",
                },
            ),
            storage_type=rds.StorageType.GP3,
            allocated_storage=chosen.database_storage_gb,
            max_allocated_storage=chosen.database_storage_max_gb,
            storage_encrypted=True,
            backup_retention=Duration.days(chosen.database_backup_days),
            deletion_protection=chosen.deletion_protection,
            removal_policy=RemovalPolicy.RETAIN if chosen.deletion_protection else RemovalPolicy.SNAPSHOT,
            delete_automated_backups=not chosen.deletion_protection,
            auto_minor_version_upgrade=True,
            # Past the end of a version's support RDS upgrades the engine, and charges nothing for each core and hour.
            engine_lifecycle_support=rds.EngineLifecycleSupport.OPEN_SOURCE_RDS_EXTENDED_SUPPORT_DISABLED,
            copy_tags_to_snapshot=True,
            cloudwatch_logs_exports=["postgresql"] if chosen.production else None,
            # RDS makes the log group by itself, and would keep it for ever.
            cloudwatch_logs_retention=retention(chosen.log_days) if chosen.production else None,
        )
        if chosen.production:
            self._accept_log_helper()
        self.clients = ec2.SecurityGroup(
            self,
            "Clients",
            vpc=network.vpc,
            description="Groundswell services: what may connect to the database",
            allow_all_ipv6_outbound=True,
        )
        self.instance.connections.allow_default_port_from(self.clients, "services")
        secret = self.instance.secret
        assert secret is not None, "generated credentials have a secret"
        self.reference = SecretReference.to_secret(secret)
        """What the migration connects with, and nobody else."""
        self.logins = {role: SecretReference.to_parameter(self, f"/{chosen.name}/database/{role}") for role in ROLES}
        """What each role connects with. The migration makes the parameters: CloudFormation makes no SecureString."""
        if chosen.rotate_database_password_days:
            self.instance.add_rotation_single_user(
                automatically_after=Duration.days(chosen.rotate_database_password_days), vpc_subnets=network.private
            )
        else:
            accept(
                self,
                {"AwsSolutions-SMG4": "Rotated by hand; `rotate_database_password_days` automates it."},
            )
        accept(
            self,
            {
                "AwsSolutions-RDS11": "The port is open to the services' security groups alone.",
                "AwsSolutions-RDS10": "`deletion_protection` is on in production; others can be taken down.",
                "AwsSolutions-RDS3": "`database_multi_az` is on in production; a second zone doubles the price.",
            },
        )

    def _accept_log_helper(self) -> None:
        """Accept what CDK gives the function that sets how long RDS's own log group is kept."""
        helper = next(each for each in Stack.of(self).node.children if each.node.id.startswith("LogRetention"))
        managed = "arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
        accept(helper, {f"AwsSolutions-IAM4[Policy::{managed}]": "CDK's own helper: it runs in a deploy alone."})
        accept_wildcards(helper, "CDK's own helper: it runs in a deploy alone.", resources=("*",))


def _require_authorities(region: str) -> None:
    """Raise DeploymentError where no service could verify the database's certificate."""
    file = f"groundswell/rds_authorities/{region}.pem"
    if not (ROOT / file).is_file():
        raise DeploymentError(
            [
                f"{file}: is not there, and without it no service can verify the database's certificate. Run "
                f"`curl -fo {file} https://truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem`."
            ]
        )
