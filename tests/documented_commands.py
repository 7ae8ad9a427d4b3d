"""Every command that README.md and docs/deploy.md give, and how each is proven to work.

A command that is not in PROOFS fails a test, and so does one in PROOFS that no page gives any more.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/deploy.md", "docs/people.md")
PROGRAMS = re.compile(r"make$|(aws|curl|docker|groundswell|make|npm|npx|python|uv) [a-z-]")
"""How a command begins. Code in a sentence that does not begin so is no command."""

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_BEFORE_A_COMMENT = re.compile(r"""(?:[^'"#]|'[^']*'|"[^"]*"|(?<=\S)#)*""")
_ROW = re.compile(r"^\| (`groundswell.*?) \| (.*) \|$", re.MULTILINE)

Way = Literal["run", "ci", "rehearsed", "synthesised", "parsed", "account"]


@dataclass(frozen=True)
class Proof:
    """How a command is proven.

    way:
        `run`: tests/acceptance/test_documented_commands.py runs it as it stands, in a fresh copy of the repository.
        `ci`: .ci/run runs it as it stands; `by` is the line.
        `rehearsed`: the rehearsal runs it against its local AWS; `by` is the function in rehearsal/.
        `synthesised`: tests/infrastructure synthesises its options.
        `parsed`: its command line takes it; `by` says why it is not run.
        `account`: it needs an AWS account, and `by` says what for; tests/unit/test_docs_aws.py reads its options by the
            models of AWS.
    """

    way: Way
    by: str = ""


RUN = Proof("run")
CDK = Proof("rehearsed", "Deploy")
OPERATOR = Proof("rehearsed", "operator")
DEPLOYED = Proof("account", "it reads or changes a deployment there")
NAMED = Proof("parsed", "a name in a sentence")
RESTORE = Proof("account", "RDS restores; tests/integration/test_point_in_time.py makes the same calls")
REMOVES = Proof("account", "it removes what a deployment left")

PROOFS: Mapping[str, Proof] = {
    # ---- the platform on this machine
    "make": RUN,
    "make up": RUN,
    "make up SOURCE=jetstream": RUN,
    "make up SOURCE=replay FILE=recordings/monday.jsonl.zst SPEED=60": RUN,
    "make up SOURCE=sealed": RUN,
    "make clean": RUN,
    "groundswell env example > .env": RUN,
    "groundswell cost --set relay_cpu=512 --set relay_memory_mb=1024": RUN,
    "curl 'localhost:8000/v1/momentum?limit=5'": RUN,
    "curl 'localhost:8000/v1/search?q=coffee&limit=3'": RUN,
    "make set-up": Proof("ci", "make --no-print-directory set-up"),
    "make test": Proof("ci", "make --no-print-directory test"),
    "make synth": Proof("ci", "make --no-print-directory synth"),
    "make rehearse": Proof("ci", "make --no-print-directory rehearse SHORT=1"),
    "make rehearse SHORT=1": Proof("ci", "make --no-print-directory rehearse SHORT=1"),
    "make image-test": Proof("ci", "make --no-print-directory image-test"),
    "python -m bench functions cold_start broadcast": Proof(
        "parsed", "a measurement, which says nothing on a busy machine"
    ),
    "uv python install 3.13": Proof("account", "it fetches a Python from where no test may"),
    # ---- a deployment, by CDK
    "export PATH=$PWD/.venv/bin:$PATH": RUN,
    "cd cdk": RUN,
    "npx cdk bootstrap": CDK,
    "npx cdk deploy --all": CDK,
    "npx cdk destroy --all": CDK,
    "npx cdk deploy --all -c topology=combined -c name=Staging": Proof("synthesised"),
    "npx cdk deploy --all -c nat=gateway -c monthly_budget_usd=70": Proof("synthesised"),
    "npx cdk gc --unstable=gc": REMOVES,
    # ---- an operator's commands
    "groundswell doctor aws": Proof("parsed", "tests/integration/test_doctor_aws.py makes its checks"),
    "groundswell migrate": NAMED,
    "groundswell index rebuild": NAMED,
    "groundswell forget somebody.bsky.social": Proof("parsed", "it removes posts"),
    "groundswell forget did:plc:ewvi7nxzyoun6zhxrhs64oiz": Proof("parsed", "tests/integration/test_forget.py runs it"),
    "groundswell aws run": NAMED,
    "groundswell aws run -- keys create ops": OPERATOR,
    "groundswell aws run -- keys create ops-2": OPERATOR,
    "groundswell aws run -- keys list": OPERATOR,
    "groundswell aws run -- keys revoke ops": OPERATOR,
    "groundswell aws run -- doctor": OPERATOR,
    "groundswell aws run -- archive list --since 2026-11-01": OPERATOR,
    "groundswell aws run -- archive verify": OPERATOR,
    "groundswell aws run -- archive restore 2026-11-20": Proof(
        "parsed", "tests/integration/test_function_admin.py runs what the function does"
    ),
    'groundswell aws run -- archive query "SELECT lang, count(*) FROM posts GROUP BY ALL" --since 2026-11-20': OPERATOR,
    "groundswell aws run -- index status": OPERATOR,
    "groundswell aws run -- index rebuild": Proof(
        "parsed", "tests/integration/test_function_admin.py runs what the function does"
    ),
    "groundswell aws run -- forget did:plc:ewvi7nxzyoun6zhxrhs64oiz": Proof(
        "parsed", "tests/integration/test_function_admin.py runs what the function does"
    ),
    "groundswell aws run -- forget AUTHOR": Proof(
        "parsed", "tests/integration/test_function_admin.py runs what the function does"
    ),
    "groundswell aws run -- migrate": OPERATOR,
    "groundswell aws restore --to 2026-11-29T12:00Z --dry-run": RESTORE,
    "groundswell aws restore --to 2026-11-29T12:00Z": RESTORE,
    # ---- AWS's own commands, by their operation
    "aws configure sso": Proof("account", "it asks a person"),
    "aws iam create-service-linked-role": DEPLOYED,
    "aws ec2 describe-availability-zones": DEPLOYED,
    "aws ec2 describe-managed-prefix-lists": Proof("account", "the networks of CloudFront are AWS's"),
    "aws ec2 get-managed-prefix-list-entries": Proof("account", "the networks of CloudFront are AWS's"),
    "aws ssm put-parameter": DEPLOYED,
    "aws cloudformation describe-stacks": DEPLOYED,
    "aws cloudformation describe-stack-events": DEPLOYED,
    "aws cloudformation delete-stack": Proof("account", "a deploy has failed there"),
    "aws cloudformation wait": Proof("account", "a deploy has failed there"),
    "aws logs tail": Proof("account", "a log there"),
    "aws lambda invoke": DEPLOYED,
    "aws secretsmanager rotate-secret": Proof("account", "a function of AWS rotates"),
    "aws secretsmanager get-random-password": DEPLOYED,
    "aws secretsmanager get-secret-value": DEPLOYED,
    "aws secretsmanager put-secret-value": DEPLOYED,
    "aws ecs update-service": DEPLOYED,
    "aws ecs wait": RESTORE,
    "aws scheduler update-schedule": RESTORE,
    "aws rds restore-db-instance-to-point-in-time": RESTORE,
    "aws rds modify-db-instance": DEPLOYED,
    "aws rds wait": RESTORE,
    "aws rds describe-db-instances": DEPLOYED,
    "aws rds delete-db-instance": REMOVES,
    "aws rds delete-db-snapshot": REMOVES,
    "aws s3 rm": REMOVES,
    "aws s3api delete-bucket": REMOVES,
    "aws logs delete-log-group": REMOVES,
    "aws ssm delete-parameters": REMOVES,
    # ---- the shell around them
    "read -rs KEY": DEPLOYED,
    "output() {": DEPLOYED,
    "}": DEPLOYED,
    "output Data DatabaseInstanceName": Proof("synthesised"),
    "output Data DatabaseSecret": Proof("synthesised"),
    "output Data ArchiveBucket": Proof("synthesised"),
    "output Platform ClusterName": Proof("synthesised"),
    "output Platform RelayServiceName": Proof("synthesised"),
    "output Platform AdminFunctionName": Proof("synthesised"),
    "output Platform MigrateFunctionName": Proof("synthesised"),
}
"""By the command as a reader types it: on one line, without the comment behind it; one of AWS by its operation, because
`account` reads its options."""


def entry_of(command: str) -> str:
    """Return the name under which PROOFS has a command."""
    if found := re.search(r"(?<!groundswell )\baws [a-z0-9]+ [a-z-]+", command):
        return found[0]
    if found := re.fullmatch(r"\w+=\$\((output \w+ \w+)\)", command):
        return found[1]
    return command


def commands(page: str) -> Iterator[str]:
    """Yield each command of a page once, as it is typed: from its blocks of shell, then from its sentences."""
    text = (ROOT / page).read_text("utf-8")
    seen: set[str] = set()
    found = [each for _, language, block in _BLOCK.findall(text) if language == "sh" for each in lines(block)]
    spans = (" ".join(span.split()) for span in _CODE.findall(_ROW.sub("", _BLOCK.sub("", text))))
    found += [span for span in spans if PROGRAMS.match(span)]
    for command in found:
        if command not in seen:
            seen.add(command)
            yield command


def lines(block: str) -> Iterator[str]:
    """Yield the commands of a block of shell: continued lines joined, comments dropped."""
    for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines():
        typed = _BEFORE_A_COMMENT.match(line)
        command = typed[0].strip() if typed else ""
        if command:
            yield command


def words_of(command: str) -> list[str]:
    """Return the words of one command, up to where its output goes."""
    words = shlex.split(command, comments=True)
    return list(itertools.takewhile(lambda word: word not in {"|", ">", "||", "&&"}, words))


def named_in_the_readme() -> Iterator[str]:
    """Yield the commands that the table of README.md names, with those of their own that it names beside them."""
    for names, text in _ROW.findall((ROOT / "README.md").read_text("utf-8")):
        own = _CODE.findall(names)
        yield from own
        word = own[0].removeprefix("groundswell ")
        yield from (f"groundswell {span}" for span in _CODE.findall(text) if span.startswith(f"{word} "))
