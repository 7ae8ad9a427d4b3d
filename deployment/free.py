"""Types of resources that cost nothing, each with why. A line of the costs names every other type."""

from __future__ import annotations

from collections.abc import Mapping

_API = "requests and messages are what API Gateway bills"
_NETWORK = "AWS does not charge for it"
_RIGHTS = "IAM is free"
_DISTRIBUTION = "part of the distribution, whose traffic is billed"
_OF_CDK = "runs in a deploy alone, as a function whose seconds are far within the free ones"

FREE: Mapping[str, str] = {
    "AWS::ApiGatewayV2::Integration": _API,
    "AWS::ApiGatewayV2::Route": _API,
    "AWS::ApiGatewayV2::Stage": _API,
    "AWS::ApiGatewayV2::VpcLink": "links of HTTP APIs are free",
    "AWS::Budgets::Budget": "budgets without actions are free",
    "AWS::CDK::Metadata": "no resource: which constructs were used",
    "AWS::CloudFront::CachePolicy": _DISTRIBUTION,
    "AWS::CloudFront::OriginAccessControl": _DISTRIBUTION,
    "AWS::CloudFront::ResponseHeadersPolicy": _DISTRIBUTION,
    "AWS::EC2::EgressOnlyInternetGateway": "free, by the hour and by the byte",
    "AWS::EC2::FlowLog": "its log is billed as a log",
    "AWS::EC2::InternetGateway": "free; what leaves through it is a line",
    "AWS::EC2::Route": _NETWORK,
    "AWS::EC2::RouteTable": _NETWORK,
    "AWS::EC2::SecurityGroup": _NETWORK,
    "AWS::EC2::SecurityGroupEgress": _NETWORK,
    "AWS::EC2::SecurityGroupIngress": _NETWORK,
    "AWS::EC2::Subnet": _NETWORK,
    "AWS::EC2::SubnetRouteTableAssociation": _NETWORK,
    "AWS::EC2::VPC": _NETWORK,
    "AWS::EC2::VPCCidrBlock": "IPv6 addresses are free",
    "AWS::EC2::VPCEndpoint": "a gateway endpoint: only interface endpoints cost",
    "AWS::EC2::VPCGatewayAttachment": _NETWORK,
    "AWS::ECS::ClusterCapacityProviderAssociations": "tasks are what Fargate bills",
    "AWS::IAM::ManagedPolicy": _RIGHTS,
    "AWS::IAM::Policy": _RIGHTS,
    "AWS::IAM::Role": _RIGHTS,
    "AWS::Lambda::EventInvokeConfig": "attempts are billed as calls; what it sends to the topic is free",
    "AWS::Lambda::LayerVersion": "75 GB of code are free",
    "AWS::Lambda::Permission": _RIGHTS,
    "AWS::Lambda::Version": "75 GB of code are free",
    "AWS::RDS::DBParameterGroup": "part of the instance",
    "AWS::RDS::DBSubnetGroup": "part of the instance",
    "AWS::S3::BucketPolicy": _RIGHTS,
    "AWS::SNS::Subscription": "1,000 mails a month are always free",
    "AWS::SNS::Topic": "a million messages a month are always free",
    "AWS::SNS::TopicPolicy": _RIGHTS,
    "AWS::SecretsManager::ResourcePolicy": _RIGHTS,
    "AWS::SecretsManager::RotationSchedule": "the secret is what is billed; the function runs some seconds a month",
    "AWS::SecretsManager::SecretTargetAttachment": "part of the secret",
    "AWS::Serverless::Application": "the function that rotates: some seconds a month of the free ones",
    "AWS::ServiceDiscovery::Service": "instances that ECS registers are free; the zone is a line",
    "Custom::CDKBucketDeployment": _OF_CDK,
    "Custom::LogRetention": _OF_CDK,
    "Custom::S3AutoDeleteObjects": _OF_CDK,
    "Custom::Trigger": _OF_CDK,
}
