"""What is rehearsed of a deployment's life: the next release over it, one whose migration fails, and its end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from groundswell.adapters.migrations import REQUIRED_VERSION
from rehearsal import deletion, local_aws
from rehearsal.acts import STOP_GRACE_S, Act, browser, expect, get, until
from rehearsal.deploying import ROOT, STACKS, DeployFailed
from rehearsal.stage import Stage

COPIED = ("groundswell", "functions", "cdk", "deployment", "relay_container", "web/dist")
COPIED_FILES = ("env.schema.json", "pyproject.toml", "requirements.lock", "sbom.cdx.json")
LEFT_OUT = shutil.ignore_patterns("node_modules", "__pycache__", ".assets", "cdk.out")
NEXT, BROKEN = (f"{int(REQUIRED_VERSION) + step:04}" for step in (1, 2))
ADDS = "ALTER TABLE posts ADD COLUMN rehearsed text"
FAILS = "ALTER TABLE posts ADD COLUMN half text; ALTER TABLE no_table_of_this_name ADD COLUMN other text"
OF_EVERY_RELEASE = frozenset({"api", "api.sockets", "migrate", "mover", "cleanup"})


def release(stage: Stage, name: str, migrations: Mapping[str, str]) -> Path:
    """Return a copy of this checkout that has more migrations: SQL by version."""
    sources = stage.folder / name
    for folder in COPIED:
        shutil.copytree(ROOT / folder, sources / folder, ignore=LEFT_OUT)
    for file in COPIED_FILES:
        shutil.copy(ROOT / file, sources / file)
    # What was fetched for zips is named by its content, and serves every release.
    (sources / "cdk" / ".assets").symlink_to(ROOT / "cdk" / ".assets")
    before = REQUIRED_VERSION
    for version, sql in migrations.items():
        (sources / "groundswell" / "sql" / "migrations" / "versions" / f"{version}_rehearsed.py").write_text(
            f"from alembic import op\n\nrevision, down_revision = {version!r}, {before!r}\n"
            f"branch_labels = depends_on = None\n\n\ndef upgrade() -> None:\n    op.execute({sql!r})\n",
            "utf-8",
        )
        before = version
    return sources


def schema(stage: Stage) -> str:
    """Return the version that the database is at."""
    with stage.database() as conn:
        row = conn.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row is not None, "a migrated database has a version"
    return str(row[0])


def has_column(stage: Stage, name: str) -> bool:
    with stage.database() as conn:
        found = conn.execute(
            "SELECT 1 FROM information_schema.columns WHERE table_name = 'posts' AND column_name = %s", (name,)
        )
        return found.fetchone() is not None


async def goes_on(stage: Stage) -> None:
    """The relay stores, and the API answers."""
    with stage.database() as conn:
        row = conn.execute("SELECT coalesce(max(pk), 0) FROM posts").fetchone()
        before = int(row[0]) if row else 0

        async def stored() -> bool:
            expect(stage.relay.running, f"the relay ended:\n{stage.relay.said()[-1500:]}")
            row = conn.execute("SELECT coalesce(max(pk), 0) FROM posts").fetchone()
            return row is not None and int(row[0]) > before

        await until("the relay stores", stored, 90.0)
    async with browser(stage) as session:

        async def answered() -> bool:
            return (await get(session, f"https://{stage.site}/v1/posts?limit=1"))[0] == 200

        await until("the API answers", answered)


async def upgrade(stage: Stage) -> str:
    """The next release is deployed while the relay of this one runs, which has to bear the newer schema."""
    if not stage.relay.running:
        await stage.relay.start()
    await stage.deploy(release(stage, "next", {NEXT: ADDS})).deploy()
    said = json.loads(stage.triggered[-1])
    expect((said["before"], said["after"]) == (REQUIRED_VERSION, NEXT), said)
    expect(set(said["logins"].values()) == {"kept"}, said)
    expect(schema(stage) == NEXT and has_column(stage, "rehearsed"), schema(stage))
    changed = set(await stage.start_functions())
    expect(changed >= OF_EVERY_RELEASE, f"functions of the new release: {sorted(changed)}")
    await goes_on(stage)
    return f"schema {NEXT} by the deploy; {len(changed)} functions replaced; the relay of before stores on"


async def failed_migration(stage: Stage) -> str:
    """A deploy whose migration fails: CloudFormation takes everything back, and what ran goes on."""
    functions, task = dict(stage.deployed), stage.account.relay_task()
    sources = release(stage, "broken", {NEXT: ADDS, BROKEN: FAILS})
    try:
        await stage.deploy(sources).deploy()
    except DeployFailed as failed:
        said = str(failed)
    else:
        raise DeployFailed("the deploy did not fail")
    expect("no_table_of_this_name" in said, f"the deploy does not say why it failed:\n{said[-2000:]}")
    clouds = stage.account.client("cloudformation")
    (platform,) = clouds.describe_stacks(StackName=STACKS[1])["Stacks"]
    expect(platform["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE", platform["StackStatus"])
    expect(schema(stage) == NEXT and not has_column(stage, "half"), f"the schema is at {schema(stage)}")
    changed = await stage.start_functions()
    expect(changed == [] and stage.deployed == functions, f"functions after the rollback: {changed}")
    expect(stage.account.relay_task() == task, "the task changed")
    await goes_on(stage)
    return f"rolled back; schema still {NEXT}; functions and task as before"


async def destroy(stage: Stage) -> str:
    """`cdk destroy --all` deletes everything but what is to be kept."""
    if stage.relay.running:
        await stage.relay.stop(STOP_GRACE_S)
    buckets = stage.account.client("s3")
    archive = stage.deployed["mover"].variables["GROUNDSWELL_ARCHIVE"].removeprefix("s3://")
    kept = buckets.list_objects_v2(Bucket=archive)["KeyCount"]
    await stage.deploy().destroy()
    expect(set(STACKS).isdisjoint(local_aws.failed_stacks[1:]), f"stacks that stay: {local_aws.failed_stacks}")
    stacks = stage.account.client("cloudformation").list_stacks()["StackSummaries"]
    left = {each["StackName"] for each in stacks if each["StackStatus"] != "DELETE_COMPLETE"}
    expect(not left & set(STACKS), f"stacks that stay: {sorted(left)}")
    names = {each["Name"] for each in buckets.list_buckets()["Buckets"]}
    expect(archive in names and buckets.list_objects_v2(Bucket=archive)["KeyCount"] == kept > 0, "the archive is gone")
    sites = [name for name in names if name != archive and not name.startswith("cdk-")]
    expect(not sites, f"buckets that stay: {sites}")
    left = left_behind(stage)
    documented = documented_leftovers()
    for what, found in left.items():
        expect(found, f"docs/deploy.md says that {what} stay, and nothing of them does")
        expect(any(row.startswith(what) for row in documented), f"docs/deploy.md does not say that {found} stay")
    kinds = "; ".join(f"{what}: {len(found)}" for what, found in left.items())
    return (
        f"three stacks are gone; the archive stays with {kept} files; what stays is what docs/deploy.md says: {kinds}"
    )


def left_behind(stage: Stage) -> dict[str, list[str]]:
    """Return what is left in the account, by the words that docs/deploy.md has for it."""
    buckets = [each["Name"] for each in stage.account.client("s3").list_buckets()["Buckets"]]
    repositories = stage.account.client("ecr").describe_repositories()["repositories"]
    parameters = stage.account.client("ssm").describe_parameters()["Parameters"]
    secrets = stage.account.client("secretsmanager").list_secrets(IncludePlannedDeletion=True)["SecretList"]
    groups = stage.account.client("logs").describe_log_groups()["logGroups"]
    return {
        "the last snapshot of the database": list(deletion.snapshots),
        "the archive's bucket": [name for name in buckets if not name.startswith("cdk-")],
        "log groups of the relay": [each["logGroupName"] for each in groups],
        "images in ECR and zips in S3": [
            *(name for name in buckets if name.startswith("cdk-")),
            *(each["repositoryName"] for each in repositories),
        ],
        "SSM parameters": [each["Name"] for each in parameters if not each["Name"].startswith("/cdk-bootstrap/")],
        "the secret": [each["Name"] for each in secrets if "DeletedDate" in each],
    }


def documented_leftovers() -> list[str]:
    """Return the first column of the table of what stays, in docs/deploy.md."""
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8").partition("\n## Taking it down\n")[2].partition("\n## ")[0]
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]


RELEASES: Sequence[tuple[str, Act]] = (
    ("the next release migrates and replaces", upgrade),
    ("a migration that fails is rolled back", failed_migration),
    ("cdk destroy leaves the archive alone", destroy),
)
