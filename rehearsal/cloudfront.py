"""CloudFront on this machine: what each behaviour forwards to its origin, as the deployed policies say.

An origin receives what the cache policy has in its key together with what the origin request policy adds. A header that
neither contributes does not arrive. The Host of the viewer is such a header: where no policy contributes it, the origin
receives its own name.
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/controlling-origin-requests.html
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from rehearsal.deployed import of_kind
from rehearsal.http_api import HttpApi, Request, read_body

EDGE = "130.176.0.7"
"""Address of the CloudFront server that passes requests on."""
NEVER_FORWARDED = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade", "via", "x-forwarded-for", "x-real-ip"}
)  # fmt: skip
"""Headers that CloudFront removes or writes itself, whatever the policies say."""
METHOD_OVERRIDES = ("origin", "x-http-method", "x-http-method-override", "x-method-override")


class UnknownPolicy(Exception):
    """A behaviour names a policy that neither the deployment made nor the table of AWS's own policies has."""


class InvalidPolicy(Exception):
    """CloudFront does not accept a policy like this."""


@dataclass(frozen=True)
class Selection:
    """Which headers, cookies or query strings a policy takes."""

    rule: str = "none"
    names: frozenset[str] = frozenset()

    def takes(self, name: str) -> bool:
        """Return whether it takes this one."""
        if self.rule == "none":
            return False
        if self.rule in ("all", "allViewer", "allViewerAndWhitelistCloudFront"):
            return True
        if self.rule == "whitelist":
            return name in self.names
        if self.rule == "allExcept":
            return name not in self.names
        raise InvalidPolicy(f"CloudFront has no rule {self.rule!r}")


ALL = Selection("all")


def only(*names: str) -> Selection:
    return Selection("whitelist", frozenset(names))


@dataclass(frozen=True)
class Policy:
    """What a cache policy or an origin request policy contributes to the request for the origin."""

    headers: Selection = Selection()
    cookies: Selection = Selection()
    query: Selection = Selection()
    compresses: bool = False
    """Whether Accept-Encoding reaches the origin in its normal form."""


CACHE_POLICIES: Mapping[str, Policy] = {
    # CachingOptimized
    "658327ea-f89d-4fab-a63d-7e88639e58f6": Policy(compresses=True),
    # CachingOptimizedForUncompressedObjects
    "b2884449-e4de-46a7-ac36-70bc7f1ddd6d": Policy(),
    # CachingDisabled
    "4135ea2d-6df8-44a3-9df3-4b5a84be39ad": Policy(),
    # Amplify
    "2e54312d-136d-493c-8eb9-b001f22f67d2": Policy(
        only("authorization", "cloudfront-viewer-country", "host"), ALL, ALL, compresses=True
    ),
    # UseOriginCacheControlHeaders
    "83da9c7e-98b4-4e11-a168-04f0df8e2c65": Policy(only("host", *METHOD_OVERRIDES), ALL, compresses=True),
    # UseOriginCacheControlHeaders-QueryStrings
    "4cc15a8a-d715-48a4-82b8-cc0b614638fe": Policy(only("host", *METHOD_OVERRIDES), ALL, ALL, compresses=True),
}
"""AWS's own cache policies by their ids."""
ORIGIN_REQUEST_POLICIES: Mapping[str, Policy] = {
    # AllViewer
    "216adef6-5c7f-47e4-b989-5492eafa07d3": Policy(ALL, ALL, ALL),
    # AllViewerAndCloudFrontHeaders-2022-06
    "33f36d7e-f396-46d9-90e0-52428a34d9dc": Policy(ALL, ALL, ALL),
    # AllViewerExceptHostHeader
    "b689b0a8-53d0-40ab-baf2-68738e2966ac": Policy(Selection("allExcept", frozenset({"host"})), ALL, ALL),
    # CORS-S3Origin
    "88a5eaf4-2fd4-4709-b370-b4c650ea3fcf": Policy(
        only("origin", "access-control-request-headers", "access-control-request-method")
    ),
    # CORS-CustomOrigin
    "59781a5b-3903-41f3-afcb-af62929ccde1": Policy(only("origin")),
    # UserAgentRefererHeaders
    "acba4595-bd28-49b8-b9fe-13317c0390fa": Policy(only("user-agent", "referer")),
}
"""AWS's own origin request policies by their ids."""


def policy_of(config: Mapping[str, Any]) -> Policy:
    """Return what a deployed CachePolicyConfig or OriginRequestPolicyConfig contributes.

    Raises:
        InvalidPolicy: CloudFront refuses it.
    """
    said = config.get("ParametersInCacheKeyAndForwardedToOrigin", config)
    headers = _selection(said["HeadersConfig"], "HeaderBehavior", "Headers")
    cookies = _selection(said["CookiesConfig"], "CookieBehavior", "Cookies", fold=False)
    query = _selection(said["QueryStringsConfig"], "QueryStringBehavior", "QueryStrings", fold=False)
    compresses = _true(said.get("EnableAcceptEncodingGzip")) or _true(said.get("EnableAcceptEncodingBrotli"))
    if "MaxTTL" in config and float(config["MaxTTL"]) == 0:
        for name, chosen in (
            ("HeaderBehavior", headers.rule != "none"),
            ("CookieBehavior", cookies.rule != "none"),
            ("QueryStringBehavior", query.rule != "none"),
            ("EnableAcceptEncodingGzip", compresses),
        ):
            if chosen:
                raise InvalidPolicy(f"The parameter {name} is invalid for policy with caching disabled.")
    return Policy(headers, cookies, query, compresses)


def _selection(config: Mapping[str, Any], rule: str, names: str, *, fold: bool = True) -> Selection:
    return Selection(config[rule], frozenset(each.lower() if fold else each for each in config.get(names, ())))


def _true(value: object) -> bool:
    return str(value).lower() == "true"


@dataclass(frozen=True)
class Behaviour:
    """One behaviour of a distribution."""

    pattern: str
    """Of paths; `*` for the default."""
    origin: str
    """The domain name of its origin."""
    methods: frozenset[str]
    cache: Policy
    origin_request: Policy = Policy()

    def headers_for(self, headers: Mapping[str, str], *, peer: str) -> dict[str, str]:
        """Return the headers that arrive at the origin. Names are in lower case."""
        policies = (self.cache, self.origin_request)
        taken = {
            name: value
            for name, value in headers.items()
            if name not in NEVER_FORWARDED and name != "cookie" and any(each.headers.takes(name) for each in policies)
        }
        cookies = [
            each
            for each in headers.get("cookie", "").split("; ")
            if each and any(policy.cookies.takes(each.partition("=")[0]) for policy in policies)
        ]
        if cookies:
            taken["cookie"] = "; ".join(cookies)
        if self.cache.compresses:
            taken.pop("accept-encoding", None)
            offered = {each.partition(";")[0].strip() for each in headers.get("accept-encoding", "").split(",")}
            normal = [each for each in ("br", "gzip") if each in offered]
            if normal:
                taken["accept-encoding"] = ",".join(normal)
        taken.setdefault("host", self.origin)
        taken.setdefault("user-agent", "Amazon CloudFront")
        passed = headers.get("x-forwarded-for")
        taken["x-forwarded-for"] = f"{passed}, {peer}" if passed else peer
        taken["via"] = "2.0 rehearsal.cloudfront.net (CloudFront)"
        return taken

    def query_for(self, query: str) -> str:
        """Return the query string that arrives at the origin."""
        policies = (self.cache, self.origin_request)
        kept = [
            each
            for each in query.split("&")
            if each and any(policy.query.takes(unquote(each.partition("=")[0])) for policy in policies)
        ]
        return "&".join(kept)


@dataclass(frozen=True)
class DeployedSite:
    """The distribution, and the bucket of the page."""

    host: str
    bucket: str
    root: str
    default: Behaviour
    behaviours: Sequence[Behaviour]
    """In the order in which they are tried."""


def deployed_site() -> DeployedSite:
    """Return the distribution that was deployed.

    Raises:
        UnknownPolicy: a behaviour names a policy that is not known.
        InvalidPolicy: CloudFront refuses a policy that was deployed with it.
    """
    (record,) = of_kind("AWS::CloudFront::Distribution")
    said = record.properties["DistributionConfig"]
    origins = {each["Id"]: each["DomainName"] for each in said["Origins"]}
    (deployment, *_) = of_kind("Custom::CDKBucketDeployment")
    cache = {
        **CACHE_POLICIES,
        **{
            each.id: policy_of(each.properties["CachePolicyConfig"]) for each in of_kind("AWS::CloudFront::CachePolicy")
        },
    }
    request = {
        "": Policy(),
        **ORIGIN_REQUEST_POLICIES,
        **{
            each.id: policy_of(each.properties["OriginRequestPolicyConfig"])
            for each in of_kind("AWS::CloudFront::OriginRequestPolicy")
        },
    }

    def behaviour(config: Mapping[str, Any]) -> Behaviour:
        return Behaviour(
            config.get("PathPattern", "*"),
            origins[config["TargetOriginId"]],
            frozenset(config.get("AllowedMethods", ("GET", "HEAD"))),
            _known(cache, config["CachePolicyId"]),
            _known(request, config.get("OriginRequestPolicyId", "")),
        )

    return DeployedSite(
        host=f"{record.id}.cloudfront.net",
        bucket=deployment.properties["DestinationBucketName"],
        root=said["DefaultRootObject"],
        default=behaviour(said["DefaultCacheBehavior"]),
        behaviours=[behaviour(each) for each in said.get("CacheBehaviors", ())],
    )


def _known(policies: Mapping[str, Policy], id: str) -> Policy:
    if id not in policies:
        raise UnknownPolicy(
            f"What the policy {id} forwards is not known here. Add it to the tables of rehearsal/cloudfront.py."
        )
    return policies[id]


class CloudFront:
    """Answers the requests of viewers from the page's bucket, or from the HTTP API.

    Args:
        buckets: a client of S3.
    """

    def __init__(self, site: DeployedSite, http_api: HttpApi, buckets: Any) -> None:
        self.host = site.host
        self._site = site
        self._http_api = http_api
        self._buckets = buckets

    async def answer(self, request: web.Request, *, viewer: str) -> web.StreamResponse:
        """Answer one request of a viewer."""
        path = request.raw_path.partition("?")[0]
        matching = (each for each in self._site.behaviours if fnmatch.fnmatchcase(path, each.pattern))
        behaviour = next(matching, self._site.default)
        if request.method not in behaviour.methods:
            return _refusal("This distribution is not configured to allow the HTTP request method.")
        body = await read_body(request)
        if request.method in ("GET", "HEAD") and body:
            return _refusal("Bad request. A GET has no body.")
        if behaviour is self._site.default:
            return await self._page(path)
        assert behaviour.origin == self._http_api.host, f"the distribution leads to {behaviour.origin}"
        headers = {name.lower(): value for name, value in request.headers.items()}
        passed = Request(
            request.method,
            path,
            behaviour.query_for(request.query_string and request.raw_path.partition("?")[2]),
            behaviour.headers_for(headers, peer=viewer),
            body or b"",
            EDGE,
        )
        return await self._http_api.answer(None if body is None else passed)

    async def _page(self, path: str) -> web.StreamResponse:
        key = unquote(path).lstrip("/") or self._site.root
        try:
            found = await asyncio.to_thread(self._buckets.get_object, Bucket=self._site.bucket, Key=key)
        except self._buckets.exceptions.NoSuchKey:
            return web.Response(status=403, text="AccessDenied")
        headers = {"Cache-Control": found["CacheControl"]} if found.get("CacheControl") else {}
        kind = found["ContentType"].partition(";")[0]
        return web.Response(body=found["Body"].read(), content_type=kind, headers=headers)


def _refusal(text: str) -> web.Response:
    return web.Response(status=403, text=f"403 ERROR\nThe request could not be satisfied.\n{text}")
