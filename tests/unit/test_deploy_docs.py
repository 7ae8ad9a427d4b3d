"""docs/deploy.md names what a real account needs, in the order in which it is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "deploy.md").read_text("utf-8")


@pytest.mark.parametrize(
    "needed",
    [
        "aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com",
        "Your account must be verified",
        "Receive CloudWatch billing alerts",
        "open Cost Explorer once",
        "aws ec2 describe-availability-zones",
        '"reserve_concurrency": false',
        "aws ssm put-parameter --type SecureString",
    ],
)
def test_what_a_new_account_needs_comes_before_the_first_deploy(needed: str) -> None:
    assert 0 < PAGE.index(needed) < PAGE.index("npx cdk deploy --all")


@pytest.mark.parametrize(
    "told",
    [
        "A stack in `ROLLBACK_COMPLETE` takes no\n   further change and can only be deleted",
        "aws cloudformation delete-stack --stack-name GroundswellPlatform",
        "aws cloudformation describe-stack-events --stack-name GroundswellPlatform",
        "## Rotating secrets",
        "**The services' passwords**",
        "**The master's password**",
        "**Qdrant's key**, before it expires (after 90 days",
        "**API keys**",
        "## Going back to an earlier release",
        "## Restoring",
        "## Taking it down",
        "a parameter under a key of your own",
        "Migrations never go down",
        "npx cdk gc --unstable=gc",
        "log groups of the relay",
        "the last snapshot of the database",
        "no spare capacity",
    ],
)
def test_what_stays_what_comes_back_and_what_cannot_be_done_is_told(told: str) -> None:
    assert told in PAGE


def test_the_steps_are_the_commands_that_ci_runs() -> None:
    ci = (Path(__file__).resolve().parents[2] / ".ci" / "run").read_text("utf-8")
    assert "make synth" in PAGE
    assert "make --no-print-directory synth" in ci
