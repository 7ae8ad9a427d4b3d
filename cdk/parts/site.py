"""The page: a private bucket behind CloudFront, which also fronts the API, so that both have one address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_deployment as s3_deployment
from constructs import Construct

from cdk.nag import accept, accept_wildcards
from cdk.parts.bucket import private_bucket

HELPER = "Custom::CDKBucketDeployment8693BB64968944B69AAFB0CC9EB8756C"
DEFAULT_QUALIFIER = "hnb659fds"
"""Of `cdk bootstrap`."""

HASHED = "assets/*"
"""Files whose names are made from their content."""
IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
"""How long browsers keep the page's files: as the API says where it serves them itself."""

API_PATHS = ("/v1/*", "/healthz", "/readyz", "/openapi.json", "/docs*")
"""What CloudFront passes on to the API."""


class Site(Construct):
    """The bucket, the distribution, and what a deploy puts there: the built page and its config.json."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        built: Sequence[str],
        api_host: str,
        ws_url: str,
        version: str,
        contact: str,
    ) -> None:
        super().__init__(scope, id)
        self.bucket = private_bucket(self, removal_policy=RemovalPolicy.DESTROY, emptied_on_removal=True)
        api = cloudfront.BehaviorOptions(
            origin=origins.HttpOrigin(api_host, protocol_policy=cloudfront.OriginProtocolPolicy.HTTPS_ONLY),
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
            allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
            cache_policy=_api_cache(self),
            origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
        )
        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment="Groundswell",
            default_root_object="index.html",
            price_class=cloudfront.PriceClass.PRICE_CLASS_100,
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            default_behavior=cloudfront.BehaviorOptions(
                origin=origins.S3BucketOrigin.with_origin_access_control(self.bucket),
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
                response_headers_policy=_safety(self, ws_url),
            ),
            additional_behaviors=dict.fromkeys(API_PATHS, api),
        )
        self.url = f"https://{self.distribution.domain_name}"
        config: Mapping[str, str] = {"apiUrl": "", "wsUrl": ws_url, "version": version, "contact": contact}
        log_group = logs.LogGroup(
            self, "DeployLog", retention=logs.RetentionDays.ONE_WEEK, removal_policy=RemovalPolicy.DESTROY
        )
        page = [s3_deployment.Source.asset(folder) for folder in built]
        hashed = s3_deployment.BucketDeployment(
            self,
            "HashedFiles",
            sources=page,
            destination_bucket=self.bucket,
            exclude=["*"],
            include=[HASHED],
            # A browser that holds an older index.html still finds the files that it names.
            prune=False,
            cache_control=[s3_deployment.CacheControl.from_string(IMMUTABLE)],
            log_group=log_group,
        )
        self.deployment = s3_deployment.BucketDeployment(
            self,
            "Files",
            sources=[*page, s3_deployment.Source.json_data("config.json", dict(config))],
            destination_bucket=self.bucket,
            exclude=[HASHED],
            cache_control=[s3_deployment.CacheControl.from_string(REVALIDATE)],
            distribution=self.distribution,
            distribution_paths=["/index.html", "/", "/people.html", "/config.json"],
            log_group=log_group,
        )
        # The files that a new index.html names are there before it is.
        self.deployment.node.add_dependency(hashed)
        self._accept_helper()
        accept(
            self,
            {
                "AwsSolutions-S1": "The page is public; who fetched which file is worth no second bucket.",
                "AwsSolutions-CFR1": "Everybody everywhere may look.",
                "AwsSolutions-CFR2": "A firewall starts at five dollars a month; reads are throttled.",
                "AwsSolutions-CFR3": "The API logs its requests; the page is static.",
                "AwsSolutions-CFR4": "The domain is CloudFront's own, whose certificate fixes the version.",
            },
        )

    def _accept_helper(self) -> None:
        """The function that CDK brings to copy the files: its policies are CDK's."""
        helper = Stack.of(self).node.find_child(HELPER)
        assets = f"cdk-{DEFAULT_QUALIFIER}-assets-{Aws.ACCOUNT_ID}-{Stack.of(self).region}"
        accept_wildcards(
            helper,
            "CDK's own helper copies from the assets' bucket to the page's, and tells CloudFront.",
            resources=("*", f"arn:aws:s3:::{assets}/*", f"{self.bucket.bucket_arn}/*"),
            actions=("s3:GetBucket*", "s3:GetObject*", "s3:List*", "s3:Abort*", "s3:DeleteObject*"),
        )
        policy = "arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
        accept(
            helper,
            {
                f"AwsSolutions-IAM4[Policy::{policy}]": "CDK's own helper writes its log by AWS's own policy.",
                "AwsSolutions-L1": "The runtime of CDK's own helper comes with the library.",
            },
        )


def _api_cache(scope: Construct) -> cloudfront.CachePolicy:
    """Return a policy that keeps answers as long as the API says, at most a minute.

    What is in the key is also sent to the origin. Host is not: API Gateway answers 403 to a Host that is not its own,
    and the managed policies that follow the origin's Cache-Control have it in their keys.
    """
    return cloudfront.CachePolicy(
        scope,
        "ApiCache",
        comment="Groundswell: what the Cache-Control of the API says",
        min_ttl=Duration.seconds(0),
        default_ttl=Duration.seconds(0),
        max_ttl=Duration.minutes(1),
        header_behavior=cloudfront.CacheHeaderBehavior.allow_list("Accept", "Authorization", "Origin"),
        query_string_behavior=cloudfront.CacheQueryStringBehavior.all(),
        cookie_behavior=cloudfront.CacheCookieBehavior.none(),
        enable_accept_encoding_gzip=True,
        enable_accept_encoding_brotli=True,
    )


def _safety(scope: Construct, ws_url: str) -> cloudfront.ResponseHeadersPolicy:
    """The headers that the API itself sends with the page where it serves it."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        f"font-src 'self'; manifest-src 'self'; connect-src 'self'{f' {ws_url}' if ws_url else ''}; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )
    return cloudfront.ResponseHeadersPolicy(
        scope,
        "Safety",
        security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
            content_security_policy=cloudfront.ResponseHeadersContentSecurityPolicy(
                content_security_policy=policy, override=True
            ),
            content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
            referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                referrer_policy=cloudfront.HeadersReferrerPolicy.NO_REFERRER, override=True
            ),
            strict_transport_security=cloudfront.ResponseHeadersStrictTransportSecurity(
                access_control_max_age=Duration.days(365), override=True
            ),
        ),
    )
