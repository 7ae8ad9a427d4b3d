"""The settings of each service. Made from env.schema.json by `make generate`: edit that instead."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from groundswell.configuration.secret import Secret


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every service's settings have in common."""

    service: ClassVar[str]


class RelaySettings(Settings, frozen=True, kw_only=True):
    """What the service `relay` needs."""

    service: ClassVar[str] = "relay"

    environment: Literal["development", "staging", "production"]
    """Where this runs. Outside development, placeholder secrets, internal addresses where public ones belong,
    and secrets over unencrypted connections are refused."""
    data_dir: Path
    """Folder of the embedded database, the embedded vector index and everything else that is kept between
    runs."""
    log_level: Literal["debug", "info", "warning", "error"]
    """The least severe message that is logged."""
    log_format: Literal["console", "json"]
    """`console` for people, `json` for one JSON object a line."""
    clock_skew: str | None
    """For drills, and refused in production: by how many seconds the process's clock is wrong; `10800/2`
    jumps to the other side and back every 2 seconds. Empty: it is right."""
    metrics_format: Literal["none", "emf"]
    """`emf` also writes the metrics to the log once a minute, in CloudWatch's embedded metric format.
    `/metrics` has them in any case."""
    heartbeat_file: Path | None
    """File that the relay touches every ten seconds while its loop turns: the health check of its container
    looks at the age. Empty: none."""
    database_url: Secret
    """Postgres to store everything in. Empty: `groundswell up` brings its own, inside the data directory.
    Outside development a host on the public internet needs `sslmode=require` or stricter."""
    database_ca: str | None
    """Whose signature the database's certificate has to bear: the path of a certificate in PEM, `rds` for the
    authorities of Amazon RDS, or `system` for those that the system trusts. The host name is verified as well
    (`sslmode=verify-full`). Empty: as the URL says; for a secret in RDS's form, `rds`."""
    database_pool_size: int
    """Most database connections that one process holds."""
    database_pool_wait_s: float
    """Seconds that a request waits for a free database connection before it is answered with 503."""
    database_statement_timeout_s: float
    """Seconds after which Postgres cancels a statement."""
    database_schema_wait_s: float
    """Seconds that a service waits at its start for Postgres and for the schema that it was built for, before
    it gives up."""
    qdrant_url: str | None
    """Qdrant to search by meaning. Empty: `groundswell up` runs the embedded engine; separate services work
    without semantic search and say so."""
    qdrant_api_key: Secret | None
    """API key of that Qdrant. Empty where it needs none."""
    qdrant_collection: str
    """Collection that holds the post vectors."""
    embedding_chain: tuple[str, ...]
    """Embedding models in order of preference: the first that works here is used, and those before it are
    tried again now and then. `@gpu` and `@cpu` keep a model to one of them. `none` ends the chain; alone it
    switches embeddings off."""
    model_dir: Path | None
    """Folder of embedding models, one folder for each, such as `BAAI/bge-small-en-v1.5`; what is fetched is
    kept there too. Empty: `models` in the data directory."""
    model_fetch: Literal["allowed", "never"]
    """Whether an embedding model that is not in the model folder may be fetched from the network."""
    embedding_load_timeout_s: float
    """Seconds that an embedding model may take to be found or fetched, loaded and used for the first time.
    After that the next one is tried."""
    embedding_memory_mb: int
    """Most memory in megabytes that the process of an embedding model takes on the processor. The static
    model needs none of it."""
    reembed_posts_per_s: float
    """Most posts a second that are embedded anew after a better model came or the chain was changed; 0 leaves
    them as they are."""
    source: Literal["simulator", "jetstream", "sealed", "replay"]
    """The stream to watch: the built-in simulator, Bluesky's live Jetstream, a sealed feed, or a
    recording."""
    jetstream_hosts: tuple[str, ...]
    """Jetstream hosts, of v1 or v2. One is read until it fails; then the next one is. A bare host name means
    `wss://HOST/subscribe`, which leads to both versions."""
    jetstream_collections: tuple[str, ...]
    """Record collections to ask Jetstream for. Only `app.bsky.feed.post` carries posts;
    `app.bsky.actor.profile` says whose posts are for signed-in readers only."""
    jetstream_compression: Literal["none", "zstd"]
    """What Jetstream v2 hosts are asked to compress frames with: `zstd` halves the traffic, with the
    dictionary that they hand out, for a little processor time. v1 hosts send frames as they are."""
    sealed_url: str | None
    """Address of the sealed feed when the source is `sealed`: what is below it is in docs/sealed.md. Empty,
    with no keys given: the built-in simulator serves one, in development only."""
    sealed_wallet_kind: Literal["ed25519", "secp256k1"]
    """Which kind of wallet the sealed feed knows us by: `ed25519` (as Solana's), or `secp256k1` with EIP-191
    signatures (as Ethereum's)."""
    sealed_wallet_key: Secret | None
    """Private key of that wallet as hex, base58 or base64: 32 bytes, for `ed25519` also the 64 that wallets
    export. Use a wallet that holds nothing."""
    sealed_feed_key: Secret | None
    """Key that opens what the sealed feed hands out, as hex, base58 or base64: 32 bytes, given by whoever
    runs the feed."""
    replay_file: Path | None
    """Recording to play when the source is `replay`: Jetstream frames in any of the forms of
    docs/recordings.md."""
    replay_speed: float | Literal["max"]
    """How many times faster than it happened a recording plays, or `max` for as fast as possible."""
    simulator_rate: float
    """Average posts a second that the simulator sends."""
    simulator_seed: int
    """The same seed gives the same feed."""
    simulator_history_minutes: int
    """Minutes of simulated past that a first start stores, so that charts are not empty."""
    watch_list: Path | None
    """File with names to notice in texts: one name a line, other ways to write it after bars (`NASA | the
    space agency`). Empty: the list that comes with Groundswell."""
    batch_max_posts: int
    """Most posts that one database transaction stores."""
    batch_max_age_ms: int
    """Longest time in milliseconds that a post waits for its batch to fill."""
    spool_max_mb: int
    """Most megabytes of disk, in the data directory, that hold what the relay receives while the database is
    away. 0: no spool; the source is left unread at once."""
    momentum_interval_s: float
    """Seconds between two computations of momentum."""
    surges_interval_s: float
    """Seconds between two makings of labels and links for the top movers."""
    events_keep_hours: int
    """Hours that broadcast frames are kept for clients that catch up."""
    counts_minutes_keep_hours: int
    """Hours that counts are kept by the minute, back from the latest instant that was watched. Older ones are
    rolled up into buckets of five minutes, an hour and a day. Momentum needs the minutes, and so does asking
    what was moving at an instant of the past."""
    counts_five_minutes_keep_days: int
    """Days that counts are kept in buckets of five minutes."""
    counts_hours_keep_days: int
    """Days that counts are kept in buckets of an hour."""
    counts_days_keep_days: int
    """Days that counts are kept in buckets of a day, and changes of stage with them."""
    archive: str | None
    """Where posts go that are past the hot window: a directory, `s3://BUCKET/PREFIX`, or `off` to keep
    everything in Postgres. Empty: `archive` in the data directory where the database is the embedded one,
    otherwise off. Every service needs the same."""
    hot_days: int
    """Days that posts stay in Postgres, where they can be searched and listed, before they move to the
    archive."""
    archive_every_minutes: int
    """Minutes between two looks for posts to move."""
    maintenance: Literal["inside", "scheduled"]
    """Who moves old posts to the archive and cleans up: `inside`, the relay itself; `scheduled`, jobs that
    something else runs by the clock, as on AWS."""
    archive_keep_days: int
    """Days after which something else deletes the files of the archive, as the bucket's lifecycle rule does
    on AWS. Cleanup then forgets where their posts were. 0: nothing deletes them."""
    tombstones_keep_days: int
    """Days that a deletion is remembered, so that the post does not come back when a source or a recording
    sends it again. Deletions of archived posts are remembered as long as their file exists."""
    hidden_keep_days: int
    """Days that the posts of a suspended, deactivated or taken-down account are kept, unseen, in case it
    comes back. Then they are deleted."""
    alerts_keep_days: int
    """Days that alerts are kept."""
    ws_max_connections: int
    """Most WebSocket clients at once; further ones are asked to come back later."""
    ws_endpoint: str | None
    """Where messages for WebSocket clients are posted when API Gateway holds their sockets. Empty: the API
    holds them itself."""
    ws_messages_per_month: int
    """Messages that API Gateway may bill in a month: towards it the cadence of live frames is stretched.
    Counts only where API Gateway holds the sockets."""
    ws_heartbeat_s: float
    """Seconds between heartbeats to clients whose sockets API Gateway holds: each is a message, and after ten
    silent minutes it closes a socket."""
    crash_point: str | None
    """For drills, and refused in production: the place in the code where the process dies as if it had been
    killed; `@3` for the third time that it comes by. Empty: nowhere."""


class ApiSettings(Settings, frozen=True, kw_only=True):
    """What the service `api` needs."""

    service: ClassVar[str] = "api"

    environment: Literal["development", "staging", "production"]
    """Where this runs. Outside development, placeholder secrets, internal addresses where public ones belong,
    and secrets over unencrypted connections are refused."""
    data_dir: Path
    """Folder of the embedded database, the embedded vector index and everything else that is kept between
    runs."""
    log_level: Literal["debug", "info", "warning", "error"]
    """The least severe message that is logged."""
    log_format: Literal["console", "json"]
    """`console` for people, `json` for one JSON object a line."""
    clock_skew: str | None
    """For drills, and refused in production: by how many seconds the process's clock is wrong; `10800/2`
    jumps to the other side and back every 2 seconds. Empty: it is right."""
    tracing: Literal["off", "xray"]
    """`xray`: functions tell AWS X-Ray how long the handler took, with what answer, and whether the start was
    cold. The SDK for it is loaded only then."""
    metrics_format: Literal["none", "emf"]
    """`emf` also writes the metrics to the log once a minute, in CloudWatch's embedded metric format.
    `/metrics` has them in any case."""
    database_url: Secret
    """Postgres to store everything in. Empty: `groundswell up` brings its own, inside the data directory.
    Outside development a host on the public internet needs `sslmode=require` or stricter."""
    database_ca: str | None
    """Whose signature the database's certificate has to bear: the path of a certificate in PEM, `rds` for the
    authorities of Amazon RDS, or `system` for those that the system trusts. The host name is verified as well
    (`sslmode=verify-full`). Empty: as the URL says; for a secret in RDS's form, `rds`."""
    database_pool_size: int
    """Most database connections that one process holds."""
    database_pool_wait_s: float
    """Seconds that a request waits for a free database connection before it is answered with 503."""
    database_statement_timeout_s: float
    """Seconds after which Postgres cancels a statement."""
    database_schema_wait_s: float
    """Seconds that a service waits at its start for Postgres and for the schema that it was built for, before
    it gives up."""
    agents_pool_size: int
    """Most database connections that agents hold: a share of their own, so that they never take one from a
    reader."""
    agents_statement_timeout_s: float
    """Seconds after which Postgres cancels a statement of an agent."""
    qdrant_url: str | None
    """Qdrant to search by meaning. Empty: `groundswell up` runs the embedded engine; separate services work
    without semantic search and say so."""
    qdrant_api_key: Secret | None
    """API key of that Qdrant. Empty where it needs none."""
    qdrant_collection: str
    """Collection that holds the post vectors."""
    qdrant_via: str | None
    """Lambda function that forwards requests to that Qdrant and holds its key, for functions in a network
    that has no way there. Set by the stack. Empty: it is asked directly."""
    embedding_chain: tuple[str, ...]
    """Embedding models in order of preference: the first that works here is used, and those before it are
    tried again now and then. `@gpu` and `@cpu` keep a model to one of them. `none` ends the chain; alone it
    switches embeddings off."""
    model_dir: Path | None
    """Folder of embedding models, one folder for each, such as `BAAI/bge-small-en-v1.5`; what is fetched is
    kept there too. Empty: `models` in the data directory."""
    model_fetch: Literal["allowed", "never"]
    """Whether an embedding model that is not in the model folder may be fetched from the network."""
    embedding_load_timeout_s: float
    """Seconds that an embedding model may take to be found or fetched, loaded and used for the first time.
    After that the next one is tried."""
    embedding_memory_mb: int
    """Most memory in megabytes that the process of an embedding model takes on the processor. The static
    model needs none of it."""
    source: Literal["simulator", "jetstream", "sealed", "replay"]
    """The stream to watch: the built-in simulator, Bluesky's live Jetstream, a sealed feed, or a
    recording."""
    archive: str | None
    """Where posts go that are past the hot window: a directory, `s3://BUCKET/PREFIX`, or `off` to keep
    everything in Postgres. Empty: `archive` in the data directory where the database is the embedded one,
    otherwise off. Every service needs the same."""
    api_host: str
    """Address to listen on. `0.0.0.0` makes the API reachable from other machines."""
    api_port: int
    """Port to listen on."""
    contact: str | None
    """Where people write to who want their posts removed: an e-mail address or an https address, shown on the
    page `/people.html`. Empty: the page says that none is set."""
    public_api_url: str | None
    """Where browsers reach the API. Empty: the address that served the page."""
    public_ws_url: str | None
    """Where browsers open the WebSocket. Empty: beside the API."""
    cors_origins: tuple[str, ...]
    """Other sites whose pages may call this API and open its WebSocket: origins such as
    `https://example.com`, or `*`."""
    allowed_hosts: tuple[str, ...]
    """Names that the API answers under, beside addresses, `localhost` and the names of the public URLs. `*`:
    every name, where a proxy in front already checks it."""
    trusted_proxies: tuple[str, ...]
    """Addresses or networks of reverse proxies that are believed about the client's address."""
    proxy_header: Literal["x-forwarded-for", "forwarded"]
    """The header in which trusted proxies say who the client is. The other one is ignored."""
    rate_limit_per_minute: int
    """Requests that one client address may make a minute; 0 for no limit."""
    ws_max_connections: int
    """Most WebSocket clients at once; further ones are asked to come back later."""
    ws_max_connections_per_address: int
    """Most WebSocket clients of one address at once."""
    ws_endpoint: str | None
    """Where messages for WebSocket clients are posted when API Gateway holds their sockets. Empty: the API
    holds them itself."""
    ws_heartbeat_s: float
    """Seconds between heartbeats to clients whose sockets API Gateway holds: each is a message, and after ten
    silent minutes it closes a socket."""
    ws_token_required: Literal["no", "yes"]
    """Whether a WebSocket client of API Gateway must bring an API key, as `?token=`."""
    crash_point: str | None
    """For drills, and refused in production: the place in the code where the process dies as if it had been
    killed; `@3` for the third time that it comes by. Empty: nowhere."""


class MoverSettings(Settings, frozen=True, kw_only=True):
    """What the service `mover` needs."""

    service: ClassVar[str] = "mover"

    environment: Literal["development", "staging", "production"]
    """Where this runs. Outside development, placeholder secrets, internal addresses where public ones belong,
    and secrets over unencrypted connections are refused."""
    data_dir: Path
    """Folder of the embedded database, the embedded vector index and everything else that is kept between
    runs."""
    log_level: Literal["debug", "info", "warning", "error"]
    """The least severe message that is logged."""
    log_format: Literal["console", "json"]
    """`console` for people, `json` for one JSON object a line."""
    clock_skew: str | None
    """For drills, and refused in production: by how many seconds the process's clock is wrong; `10800/2`
    jumps to the other side and back every 2 seconds. Empty: it is right."""
    tracing: Literal["off", "xray"]
    """`xray`: functions tell AWS X-Ray how long the handler took, with what answer, and whether the start was
    cold. The SDK for it is loaded only then."""
    database_url: Secret | None
    """Postgres to store everything in. Empty: `groundswell up` brings its own, inside the data directory.
    Outside development a host on the public internet needs `sslmode=require` or stricter."""
    database_ca: str | None
    """Whose signature the database's certificate has to bear: the path of a certificate in PEM, `rds` for the
    authorities of Amazon RDS, or `system` for those that the system trusts. The host name is verified as well
    (`sslmode=verify-full`). Empty: as the URL says; for a secret in RDS's form, `rds`."""
    database_pool_size: int
    """Most database connections that one process holds."""
    database_pool_wait_s: float
    """Seconds that a request waits for a free database connection before it is answered with 503."""
    database_statement_timeout_s: float
    """Seconds after which Postgres cancels a statement."""
    archive: str | None
    """Where posts go that are past the hot window: a directory, `s3://BUCKET/PREFIX`, or `off` to keep
    everything in Postgres. Empty: `archive` in the data directory where the database is the embedded one,
    otherwise off. Every service needs the same."""
    hot_days: int
    """Days that posts stay in Postgres, where they can be searched and listed, before they move to the
    archive."""
    crash_point: str | None
    """For drills, and refused in production: the place in the code where the process dies as if it had been
    killed; `@3` for the third time that it comes by. Empty: nowhere."""


class CleanupSettings(Settings, frozen=True, kw_only=True):
    """What the service `cleanup` needs."""

    service: ClassVar[str] = "cleanup"

    environment: Literal["development", "staging", "production"]
    """Where this runs. Outside development, placeholder secrets, internal addresses where public ones belong,
    and secrets over unencrypted connections are refused."""
    data_dir: Path
    """Folder of the embedded database, the embedded vector index and everything else that is kept between
    runs."""
    log_level: Literal["debug", "info", "warning", "error"]
    """The least severe message that is logged."""
    log_format: Literal["console", "json"]
    """`console` for people, `json` for one JSON object a line."""
    clock_skew: str | None
    """For drills, and refused in production: by how many seconds the process's clock is wrong; `10800/2`
    jumps to the other side and back every 2 seconds. Empty: it is right."""
    tracing: Literal["off", "xray"]
    """`xray`: functions tell AWS X-Ray how long the handler took, with what answer, and whether the start was
    cold. The SDK for it is loaded only then."""
    database_url: Secret | None
    """Postgres to store everything in. Empty: `groundswell up` brings its own, inside the data directory.
    Outside development a host on the public internet needs `sslmode=require` or stricter."""
    database_ca: str | None
    """Whose signature the database's certificate has to bear: the path of a certificate in PEM, `rds` for the
    authorities of Amazon RDS, or `system` for those that the system trusts. The host name is verified as well
    (`sslmode=verify-full`). Empty: as the URL says; for a secret in RDS's form, `rds`."""
    database_pool_size: int
    """Most database connections that one process holds."""
    database_pool_wait_s: float
    """Seconds that a request waits for a free database connection before it is answered with 503."""
    database_statement_timeout_s: float
    """Seconds after which Postgres cancels a statement."""
    qdrant_url: str | None
    """Qdrant to search by meaning. Empty: `groundswell up` runs the embedded engine; separate services work
    without semantic search and say so."""
    qdrant_api_key: Secret | None
    """API key of that Qdrant. Empty where it needs none."""
    qdrant_collection: str
    """Collection that holds the post vectors."""
    qdrant_via: str | None
    """Lambda function that forwards requests to that Qdrant and holds its key, for functions in a network
    that has no way there. Set by the stack. Empty: it is asked directly."""
    events_keep_hours: int
    """Hours that broadcast frames are kept for clients that catch up."""
    counts_minutes_keep_hours: int
    """Hours that counts are kept by the minute, back from the latest instant that was watched. Older ones are
    rolled up into buckets of five minutes, an hour and a day. Momentum needs the minutes, and so does asking
    what was moving at an instant of the past."""
    counts_five_minutes_keep_days: int
    """Days that counts are kept in buckets of five minutes."""
    counts_hours_keep_days: int
    """Days that counts are kept in buckets of an hour."""
    counts_days_keep_days: int
    """Days that counts are kept in buckets of a day, and changes of stage with them."""
    archive_keep_days: int
    """Days after which something else deletes the files of the archive, as the bucket's lifecycle rule does
    on AWS. Cleanup then forgets where their posts were. 0: nothing deletes them."""
    tombstones_keep_days: int
    """Days that a deletion is remembered, so that the post does not come back when a source or a recording
    sends it again. Deletions of archived posts are remembered as long as their file exists."""
    hidden_keep_days: int
    """Days that the posts of a suspended, deactivated or taken-down account are kept, unseen, in case it
    comes back. Then they are deleted."""
    alerts_keep_days: int
    """Days that alerts are kept."""
    crash_point: str | None
    """For drills, and refused in production: the place in the code where the process dies as if it had been
    killed; `@3` for the third time that it comes by. Empty: nowhere."""


class MigrateSettings(Settings, frozen=True, kw_only=True):
    """What the service `migrate` needs."""

    service: ClassVar[str] = "migrate"

    environment: Literal["development", "staging", "production"]
    """Where this runs. Outside development, placeholder secrets, internal addresses where public ones belong,
    and secrets over unencrypted connections are refused."""
    data_dir: Path
    """Folder of the embedded database, the embedded vector index and everything else that is kept between
    runs."""
    log_level: Literal["debug", "info", "warning", "error"]
    """The least severe message that is logged."""
    log_format: Literal["console", "json"]
    """`console` for people, `json` for one JSON object a line."""
    tracing: Literal["off", "xray"]
    """`xray`: functions tell AWS X-Ray how long the handler took, with what answer, and whether the start was
    cold. The SDK for it is loaded only then."""
    database_url: Secret | None
    """Postgres to store everything in. Empty: `groundswell up` brings its own, inside the data directory.
    Outside development a host on the public internet needs `sslmode=require` or stricter."""
    database_ca: str | None
    """Whose signature the database's certificate has to bear: the path of a certificate in PEM, `rds` for the
    authorities of Amazon RDS, or `system` for those that the system trusts. The host name is verified as well
    (`sslmode=verify-full`). Empty: as the URL says; for a secret in RDS's form, `rds`."""
    database_logins: tuple[str, ...]
    """SSM parameters, by ARN, that keep what each role connects to the database with: the migration makes
    role and password. Set by the stack; empty: no role is made."""


class CostsSettings(Settings, frozen=True, kw_only=True):
    """What the service `costs` needs."""

    service: ClassVar[str] = "costs"

    log_level: Literal["debug", "info", "warning", "error"]
    """The least severe message that is logged."""
    log_format: Literal["console", "json"]
    """`console` for people, `json` for one JSON object a line."""
    tracing: Literal["off", "xray"]
    """`xray`: functions tell AWS X-Ray how long the handler took, with what answer, and whether the start was
    cold. The SDK for it is loaded only then."""
    deployment: tuple[str, ...]
    """Knobs of the deployment that is reported on, where they differ from the `budget` profile. Set by the
    stack; empty: what `cdk/cdk.json` says."""
    report_topic: str
    """SNS topic that the weekly report is published to. Set by the stack."""


class AdminSettings(Settings, frozen=True, kw_only=True):
    """What the service `admin` needs."""

    service: ClassVar[str] = "admin"

    environment: Literal["development", "staging", "production"]
    """Where this runs. Outside development, placeholder secrets, internal addresses where public ones belong,
    and secrets over unencrypted connections are refused."""
    data_dir: Path
    """Folder of the embedded database, the embedded vector index and everything else that is kept between
    runs."""
    log_level: Literal["debug", "info", "warning", "error"]
    """The least severe message that is logged."""
    log_format: Literal["console", "json"]
    """`console` for people, `json` for one JSON object a line."""
    clock_skew: str | None
    """For drills, and refused in production: by how many seconds the process's clock is wrong; `10800/2`
    jumps to the other side and back every 2 seconds. Empty: it is right."""
    tracing: Literal["off", "xray"]
    """`xray`: functions tell AWS X-Ray how long the handler took, with what answer, and whether the start was
    cold. The SDK for it is loaded only then."""
    database_url: Secret
    """Postgres to store everything in. Empty: `groundswell up` brings its own, inside the data directory.
    Outside development a host on the public internet needs `sslmode=require` or stricter."""
    database_ca: str | None
    """Whose signature the database's certificate has to bear: the path of a certificate in PEM, `rds` for the
    authorities of Amazon RDS, or `system` for those that the system trusts. The host name is verified as well
    (`sslmode=verify-full`). Empty: as the URL says; for a secret in RDS's form, `rds`."""
    database_pool_size: int
    """Most database connections that one process holds."""
    database_pool_wait_s: float
    """Seconds that a request waits for a free database connection before it is answered with 503."""
    database_statement_timeout_s: float
    """Seconds after which Postgres cancels a statement."""
    qdrant_url: str | None
    """Qdrant to search by meaning. Empty: `groundswell up` runs the embedded engine; separate services work
    without semantic search and say so."""
    qdrant_api_key: Secret | None
    """API key of that Qdrant. Empty where it needs none."""
    qdrant_collection: str
    """Collection that holds the post vectors."""
    qdrant_via: str | None
    """Lambda function that forwards requests to that Qdrant and holds its key, for functions in a network
    that has no way there. Set by the stack. Empty: it is asked directly."""
    archive: str | None
    """Where posts go that are past the hot window: a directory, `s3://BUCKET/PREFIX`, or `off` to keep
    everything in Postgres. Empty: `archive` in the data directory where the database is the embedded one,
    otherwise off. Every service needs the same."""
    hot_days: int
    """Days that posts stay in Postgres, where they can be searched and listed, before they move to the
    archive."""
    crash_point: str | None
    """For drills, and refused in production: the place in the code where the process dies as if it had been
    killed; `@3` for the third time that it comes by. Empty: nowhere."""


class VectorsSettings(Settings, frozen=True, kw_only=True):
    """What the service `vectors` needs."""

    service: ClassVar[str] = "vectors"

    environment: Literal["development", "staging", "production"]
    """Where this runs. Outside development, placeholder secrets, internal addresses where public ones belong,
    and secrets over unencrypted connections are refused."""
    log_level: Literal["debug", "info", "warning", "error"]
    """The least severe message that is logged."""
    log_format: Literal["console", "json"]
    """`console` for people, `json` for one JSON object a line."""
    tracing: Literal["off", "xray"]
    """`xray`: functions tell AWS X-Ray how long the handler took, with what answer, and whether the start was
    cold. The SDK for it is loaded only then."""
    qdrant_url: str
    """Qdrant to search by meaning. Empty: `groundswell up` runs the embedded engine; separate services work
    without semantic search and say so."""
    qdrant_api_key: Secret | None
    """API key of that Qdrant. Empty where it needs none."""
    qdrant_collection: str
    """Collection that holds the post vectors."""


class EmbeddedSettings(Settings, frozen=True, kw_only=True):
    """What `groundswell up` needs: everything."""

    service: ClassVar[str] = "embedded"

    environment: Literal["development", "staging", "production"]
    """Where this runs. Outside development, placeholder secrets, internal addresses where public ones belong,
    and secrets over unencrypted connections are refused."""
    data_dir: Path
    """Folder of the embedded database, the embedded vector index and everything else that is kept between
    runs."""
    log_level: Literal["debug", "info", "warning", "error"]
    """The least severe message that is logged."""
    log_format: Literal["console", "json"]
    """`console` for people, `json` for one JSON object a line."""
    clock_skew: str | None
    """For drills, and refused in production: by how many seconds the process's clock is wrong; `10800/2`
    jumps to the other side and back every 2 seconds. Empty: it is right."""
    tracing: Literal["off", "xray"]
    """`xray`: functions tell AWS X-Ray how long the handler took, with what answer, and whether the start was
    cold. The SDK for it is loaded only then."""
    metrics_format: Literal["none", "emf"]
    """`emf` also writes the metrics to the log once a minute, in CloudWatch's embedded metric format.
    `/metrics` has them in any case."""
    heartbeat_file: Path | None
    """File that the relay touches every ten seconds while its loop turns: the health check of its container
    looks at the age. Empty: none."""
    database_url: Secret | None
    """Postgres to store everything in. Empty: `groundswell up` brings its own, inside the data directory.
    Outside development a host on the public internet needs `sslmode=require` or stricter."""
    database_ca: str | None
    """Whose signature the database's certificate has to bear: the path of a certificate in PEM, `rds` for the
    authorities of Amazon RDS, or `system` for those that the system trusts. The host name is verified as well
    (`sslmode=verify-full`). Empty: as the URL says; for a secret in RDS's form, `rds`."""
    database_logins: tuple[str, ...]
    """SSM parameters, by ARN, that keep what each role connects to the database with: the migration makes
    role and password. Set by the stack; empty: no role is made."""
    database_pool_size: int
    """Most database connections that one process holds."""
    database_pool_wait_s: float
    """Seconds that a request waits for a free database connection before it is answered with 503."""
    database_statement_timeout_s: float
    """Seconds after which Postgres cancels a statement."""
    database_schema_wait_s: float
    """Seconds that a service waits at its start for Postgres and for the schema that it was built for, before
    it gives up."""
    agents_pool_size: int
    """Most database connections that agents hold: a share of their own, so that they never take one from a
    reader."""
    agents_statement_timeout_s: float
    """Seconds after which Postgres cancels a statement of an agent."""
    qdrant_url: str | None
    """Qdrant to search by meaning. Empty: `groundswell up` runs the embedded engine; separate services work
    without semantic search and say so."""
    qdrant_api_key: Secret | None
    """API key of that Qdrant. Empty where it needs none."""
    qdrant_collection: str
    """Collection that holds the post vectors."""
    qdrant_via: str | None
    """Lambda function that forwards requests to that Qdrant and holds its key, for functions in a network
    that has no way there. Set by the stack. Empty: it is asked directly."""
    embedding_chain: tuple[str, ...]
    """Embedding models in order of preference: the first that works here is used, and those before it are
    tried again now and then. `@gpu` and `@cpu` keep a model to one of them. `none` ends the chain; alone it
    switches embeddings off."""
    model_dir: Path | None
    """Folder of embedding models, one folder for each, such as `BAAI/bge-small-en-v1.5`; what is fetched is
    kept there too. Empty: `models` in the data directory."""
    model_fetch: Literal["allowed", "never"]
    """Whether an embedding model that is not in the model folder may be fetched from the network."""
    embedding_load_timeout_s: float
    """Seconds that an embedding model may take to be found or fetched, loaded and used for the first time.
    After that the next one is tried."""
    embedding_memory_mb: int
    """Most memory in megabytes that the process of an embedding model takes on the processor. The static
    model needs none of it."""
    reembed_posts_per_s: float
    """Most posts a second that are embedded anew after a better model came or the chain was changed; 0 leaves
    them as they are."""
    source: Literal["simulator", "jetstream", "sealed", "replay"]
    """The stream to watch: the built-in simulator, Bluesky's live Jetstream, a sealed feed, or a
    recording."""
    jetstream_hosts: tuple[str, ...]
    """Jetstream hosts, of v1 or v2. One is read until it fails; then the next one is. A bare host name means
    `wss://HOST/subscribe`, which leads to both versions."""
    jetstream_collections: tuple[str, ...]
    """Record collections to ask Jetstream for. Only `app.bsky.feed.post` carries posts;
    `app.bsky.actor.profile` says whose posts are for signed-in readers only."""
    jetstream_compression: Literal["none", "zstd"]
    """What Jetstream v2 hosts are asked to compress frames with: `zstd` halves the traffic, with the
    dictionary that they hand out, for a little processor time. v1 hosts send frames as they are."""
    sealed_url: str | None
    """Address of the sealed feed when the source is `sealed`: what is below it is in docs/sealed.md. Empty,
    with no keys given: the built-in simulator serves one, in development only."""
    sealed_wallet_kind: Literal["ed25519", "secp256k1"]
    """Which kind of wallet the sealed feed knows us by: `ed25519` (as Solana's), or `secp256k1` with EIP-191
    signatures (as Ethereum's)."""
    sealed_wallet_key: Secret | None
    """Private key of that wallet as hex, base58 or base64: 32 bytes, for `ed25519` also the 64 that wallets
    export. Use a wallet that holds nothing."""
    sealed_feed_key: Secret | None
    """Key that opens what the sealed feed hands out, as hex, base58 or base64: 32 bytes, given by whoever
    runs the feed."""
    replay_file: Path | None
    """Recording to play when the source is `replay`: Jetstream frames in any of the forms of
    docs/recordings.md."""
    replay_speed: float | Literal["max"]
    """How many times faster than it happened a recording plays, or `max` for as fast as possible."""
    simulator_rate: float
    """Average posts a second that the simulator sends."""
    simulator_seed: int
    """The same seed gives the same feed."""
    simulator_history_minutes: int
    """Minutes of simulated past that a first start stores, so that charts are not empty."""
    watch_list: Path | None
    """File with names to notice in texts: one name a line, other ways to write it after bars (`NASA | the
    space agency`). Empty: the list that comes with Groundswell."""
    batch_max_posts: int
    """Most posts that one database transaction stores."""
    batch_max_age_ms: int
    """Longest time in milliseconds that a post waits for its batch to fill."""
    spool_max_mb: int
    """Most megabytes of disk, in the data directory, that hold what the relay receives while the database is
    away. 0: no spool; the source is left unread at once."""
    momentum_interval_s: float
    """Seconds between two computations of momentum."""
    surges_interval_s: float
    """Seconds between two makings of labels and links for the top movers."""
    events_keep_hours: int
    """Hours that broadcast frames are kept for clients that catch up."""
    counts_minutes_keep_hours: int
    """Hours that counts are kept by the minute, back from the latest instant that was watched. Older ones are
    rolled up into buckets of five minutes, an hour and a day. Momentum needs the minutes, and so does asking
    what was moving at an instant of the past."""
    counts_five_minutes_keep_days: int
    """Days that counts are kept in buckets of five minutes."""
    counts_hours_keep_days: int
    """Days that counts are kept in buckets of an hour."""
    counts_days_keep_days: int
    """Days that counts are kept in buckets of a day, and changes of stage with them."""
    archive: str | None
    """Where posts go that are past the hot window: a directory, `s3://BUCKET/PREFIX`, or `off` to keep
    everything in Postgres. Empty: `archive` in the data directory where the database is the embedded one,
    otherwise off. Every service needs the same."""
    hot_days: int
    """Days that posts stay in Postgres, where they can be searched and listed, before they move to the
    archive."""
    archive_every_minutes: int
    """Minutes between two looks for posts to move."""
    maintenance: Literal["inside", "scheduled"]
    """Who moves old posts to the archive and cleans up: `inside`, the relay itself; `scheduled`, jobs that
    something else runs by the clock, as on AWS."""
    archive_keep_days: int
    """Days after which something else deletes the files of the archive, as the bucket's lifecycle rule does
    on AWS. Cleanup then forgets where their posts were. 0: nothing deletes them."""
    tombstones_keep_days: int
    """Days that a deletion is remembered, so that the post does not come back when a source or a recording
    sends it again. Deletions of archived posts are remembered as long as their file exists."""
    hidden_keep_days: int
    """Days that the posts of a suspended, deactivated or taken-down account are kept, unseen, in case it
    comes back. Then they are deleted."""
    alerts_keep_days: int
    """Days that alerts are kept."""
    api_host: str
    """Address to listen on. `0.0.0.0` makes the API reachable from other machines."""
    api_port: int
    """Port to listen on."""
    contact: str | None
    """Where people write to who want their posts removed: an e-mail address or an https address, shown on the
    page `/people.html`. Empty: the page says that none is set."""
    public_api_url: str | None
    """Where browsers reach the API. Empty: the address that served the page."""
    public_ws_url: str | None
    """Where browsers open the WebSocket. Empty: beside the API."""
    cors_origins: tuple[str, ...]
    """Other sites whose pages may call this API and open its WebSocket: origins such as
    `https://example.com`, or `*`."""
    allowed_hosts: tuple[str, ...]
    """Names that the API answers under, beside addresses, `localhost` and the names of the public URLs. `*`:
    every name, where a proxy in front already checks it."""
    trusted_proxies: tuple[str, ...]
    """Addresses or networks of reverse proxies that are believed about the client's address."""
    proxy_header: Literal["x-forwarded-for", "forwarded"]
    """The header in which trusted proxies say who the client is. The other one is ignored."""
    rate_limit_per_minute: int
    """Requests that one client address may make a minute; 0 for no limit."""
    ws_max_connections: int
    """Most WebSocket clients at once; further ones are asked to come back later."""
    ws_max_connections_per_address: int
    """Most WebSocket clients of one address at once."""
    ws_endpoint: str | None
    """Where messages for WebSocket clients are posted when API Gateway holds their sockets. Empty: the API
    holds them itself."""
    ws_messages_per_month: int
    """Messages that API Gateway may bill in a month: towards it the cadence of live frames is stretched.
    Counts only where API Gateway holds the sockets."""
    ws_heartbeat_s: float
    """Seconds between heartbeats to clients whose sockets API Gateway holds: each is a message, and after ten
    silent minutes it closes a socket."""
    ws_token_required: Literal["no", "yes"]
    """Whether a WebSocket client of API Gateway must bring an API key, as `?token=`."""
    crash_point: str | None
    """For drills, and refused in production: the place in the code where the process dies as if it had been
    killed; `@3` for the third time that it comes by. Empty: nowhere."""
    deployment: tuple[str, ...]
    """Knobs of the deployment that is reported on, where they differ from the `budget` profile. Set by the
    stack; empty: what `cdk/cdk.json` says."""
    report_topic: str | None
    """SNS topic that the weekly report is published to. Set by the stack."""


SETTINGS: tuple[type[Settings], ...] = (
    RelaySettings,
    ApiSettings,
    MoverSettings,
    CleanupSettings,
    MigrateSettings,
    CostsSettings,
    AdminSettings,
    VectorsSettings,
    EmbeddedSettings,
)
