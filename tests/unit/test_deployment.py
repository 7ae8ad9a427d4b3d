"""The knobs of a deployment, its connection budget, and what it costs: errors name the line to change."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployment import capacity, connections, costs
from deployment.knobs import CONTEXT_FILE, DeploymentError, Knobs, knobs, load, overrides_in, overrides_of
from deployment.report import SHOWN, render_actual, render_docs, render_estimate
from deployment.right_sizing import Load, advise
from groundswell.adapters.emf import WATCHED
from groundswell.core.retention import FILE_ROWS

ROOT = Path(__file__).parents[2]

HANDLERS = ("functions/api/handler.py", "functions/api/sockets.py")


def problem(overrides: Mapping[str, object]) -> str:
    with pytest.raises(DeploymentError) as caught:
        chosen = load(overrides)
        connections.check(chosen)
        capacity.check_database(chosen)
        costs.check(chosen)
    return str(caught.value)


# ------------------------------------------------------------------ knobs
def test_a_profile_gives_every_knob_a_value_within_its_bounds() -> None:
    for profile in ("budget", "production"):
        chosen = load({"profile": profile})
        assert load({knob.name: getattr(chosen, knob.name) for knob in knobs()}) == chosen


def test_the_context_that_is_delivered_deploys() -> None:
    context: dict[str, object] = json.loads((ROOT / CONTEXT_FILE).read_text("utf-8"))["context"]
    chosen = load(overrides_in(context))
    assert connections.check(chosen)
    assert costs.check(chosen)


def test_every_knob_is_described() -> None:
    for knob in knobs():
        assert knob.about.endswith((".", ")")), knob.name
        assert f"| `{knob.name}` |" in (ROOT / "docs" / "knobs.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"relay_cpus": 256}, "there is no knob 'relay_cpus'. Did you mean relay_cpu?"),
        ({"relay_cpu": 300}, 'relay_cpu is 300. Set one of 256, 512, 1024, 2048, 4096, for example "relay_cpu": 256.'),
        ({"relay_spot": "perhaps"}, "relay_spot is 'perhaps'. Set true or false."),
        ({"api_concurrency": "many"}, "api_concurrency is 'many'. Set a whole number."),
        ({"monthly_budget_usd": True}, "monthly_budget_usd is True. Set a number."),
        ({"database_storage_gb": 5}, "database_storage_gb is 5. Set it from 20 to 16,384"),
        ({"alert_email": "me"}, "alert_email is 'me', which has the wrong form."),
        (
            {"relay_memory_mb": 4096},
            'Fargate gives 256 CPU units 512 to 2048 MB in steps of 512. Set "relay_memory_mb": 2048',
        ),
        ({"database_storage_gb": 100}, 'Set "database_storage_max_gb": 100 or more.'),
        ({"rotate_database_password_days": 30}, 'Set "nat": "gateway", or "rotate_database_password_days": 0'),
    ],
)
def test_a_knob_that_cannot_work_is_named_with_what_would(overrides: dict[str, object], said: str) -> None:
    message = problem(overrides)
    assert message.startswith(CONTEXT_FILE)
    assert said in message


def test_every_wrong_knob_is_named_at_once() -> None:
    assert len(problem({"relay_cpu": 1, "nat": "instance", "unheard_of": 1}).splitlines()) == 3


def test_text_from_the_command_line_is_understood() -> None:
    chosen = load({"relay_spot": "true", "relay_cpu": "512", "relay_memory_mb": "1024", "monthly_budget_usd": "40.5"})
    assert (chosen.relay_spot, chosen.relay_cpu, chosen.monthly_budget_usd) == (True, 512, 40.5)


@given(st.sampled_from(["budget", "production"]), st.data())
def test_what_is_overridden_is_all_that_has_to_be_told(profile: str, data: st.DataObject) -> None:
    overrides: dict[str, object] = {"profile": profile}
    for knob in data.draw(st.lists(st.sampled_from(knobs()), max_size=5)):
        if knob.kind is bool:
            overrides[knob.name] = data.draw(st.booleans())
        elif knob.choices and knob.name not in ("profile", "relay_cpu", "qdrant_cpu", "nat"):
            overrides[knob.name] = data.draw(st.sampled_from(knob.choices))
    chosen = load(overrides)
    assert load({name: str(value) for name, value in overrides_of(chosen).items()}) == chosen


# ------------------------------------------------------------------ connections
def test_too_many_functions_for_the_database_are_refused_with_the_number_that_fits() -> None:
    message = problem({"api_concurrency": 100})
    found = re.search(r'In cdk/cdk.json, set "api_concurrency": (\d+) \(now 100\)', message)
    assert found, message
    assert connections.check(load({"api_concurrency": found[1]}))
    with pytest.raises(DeploymentError):
        connections.check(load({"api_concurrency": int(found[1]) + 1}))


def test_the_next_class_that_would_do_is_named() -> None:
    found = re.search(r'"database_class": "([\w.]+)"', problem({"api_concurrency": 100}))
    assert found
    assert connections.check(load({"api_concurrency": 100, "database_class": found[1]}))


@given(
    st.integers(1, 200),
    st.integers(1, 10),
    st.integers(1, 200),
    st.integers(1, 10),
    st.sampled_from(list(connections.MAX_CONNECTIONS)),
)
def test_no_deployment_promises_more_than_its_share(api: int, pool: int, sockets: int, each: int, size: str) -> None:
    chosen = load(
        {
            "api_concurrency": api,
            "api_pool": pool,
            "sockets_concurrency": sockets,
            "sockets_pool": each,
            "database_class": size,
        }
    )
    try:
        claims = connections.check(chosen)
    except DeploymentError:
        assert sum(claim.total for claim in connections.claims(chosen)) > connections.limit(chosen)
    else:
        assert sum(claim.total for claim in claims) <= 0.8 * connections.MAX_CONNECTIONS[size]


def test_a_new_account_counts_its_ten_functions() -> None:
    claims = connections.claims(load({"reserve_concurrency": False}))
    assert [(claim.service, claim.instances) for claim in claims] == [("relay", 1), ("functions", 10)]


# ------------------------------------------------------------------ costs
def test_the_budget_profile_costs_at_most_27_dollars_and_22_on_spot() -> None:
    usage = costs.default_usage()
    assert (usage["posts_per_day"], usage["viewers"]) == (1_000_000, 3)
    chosen = load({})
    assert costs.estimate(chosen).total <= 27
    assert costs.estimate(load({"relay_spot": True})).total <= 22
    assert chosen.monthly_budget_usd - costs.estimate(chosen).total >= 3, "no room for a dearer month"


def line_of(what: str, usage: Mapping[str, float] | None = None, **overrides: object) -> float:
    """The amounts of the lines whose text has `what`."""
    found = costs.estimate(load(overrides), {**costs.default_usage(), **(usage or {})}).lines
    return sum(line.usd for line in found if what in line.what)


def test_backups_cost_what_the_log_of_the_days_takes_above_the_storage() -> None:
    assert line_of("of backups", {"wal_bytes_per_post": 1000}) == 0
    assert 0 < line_of("of backups") < line_of("of backups", database_backup_days=7)
    log = costs.default_usage()["wal_bytes_per_post"]
    assert line_of("of backups", {"wal_bytes_per_post": 2 * log}) > 2 * line_of("of backups")


def test_the_archives_index_takes_storage_as_long_as_its_files_are_kept() -> None:
    assert line_of("20 GB of gp3 storage") == pytest.approx(2.30)
    assert line_of("40 GB of gp3 storage", archive_keep_days=180) == pytest.approx(4.60)
    assert line_of("of gp3 storage", {"archive_index_bytes_per_post": 0}, archive_keep_days=180) == pytest.approx(2.30)


def test_files_that_are_deleted_early_do_not_pay_for_cold_storage() -> None:
    assert "cold" not in next(line.note for line in costs.estimate(load({})).lines if "archive, " in line.what)
    assert line_of("archive, ", archive_keep_days=119) > line_of("archive, ", archive_keep_days=120)


def test_processor_time_above_the_baseline_of_a_t_class_is_billed() -> None:
    assert line_of("above the baseline") == 0
    core = {"database_core_seconds_per_post": 86_400 / 1_000_000}
    assert line_of("above the baseline", core) == pytest.approx(0.8 * 730 * 0.075)
    assert line_of("above the baseline", core, database_class="m7g.large") == 0


def test_a_page_that_polls_and_a_zone_are_counted_where_they_are() -> None:
    assert line_of("HTTP requests", topology="combined") > 1.9 > line_of("HTTP requests")
    assert line_of("private zone", topology="combined") == 0.5 == line_of("private zone", qdrant="fargate")
    assert line_of("private zone") == 0


def test_x86_is_priced_as_x86() -> None:
    assert line_of("relay, ") < line_of("relay, ", function_platform="x86_64-manylinux_2_34")


# ------------------------------------------------------------------ capacity
def test_posts_that_do_not_fit_are_refused_with_each_size_that_would_hold_them() -> None:
    usage = {**costs.default_usage(), "posts_per_day": 12_000_000.0}
    large = {"database_storage_max_gb": 160}
    with pytest.raises(DeploymentError, match="80% of 160 GB is 128") as refused:
        capacity.check_database(load(large), usage)
    found = re.findall(r'"(database_storage_max_gb|hot_days|archive_keep_days)": (\d+)', str(refused.value))
    assert [name for name, _ in found] == ["database_storage_max_gb", "hot_days", "archive_keep_days"]
    for name, number in found:
        assert capacity.check_database(load({**large, name: number}), usage)
        too_much = int(number) + (-1 if name == "database_storage_max_gb" else 1)
        with pytest.raises(DeploymentError):
            capacity.check_database(load({**large, name: too_much}), usage)


def test_what_costs_more_than_it_may_is_refused_with_its_dearest_lines() -> None:
    message = problem({"nat": "gateway"})
    assert "NAT gateway" in message
    found = re.search(r'set "monthly_budget_usd": ([\d.]+) \(now 30\)', message)
    assert found, message
    assert costs.check(load({"nat": "gateway", "monthly_budget_usd": found[1]}))


def test_every_line_says_why_it_is_not_more() -> None:
    for _, _, overrides in SHOWN:
        chosen = load(overrides)
        found = costs.estimate(chosen)
        assert all(line.note and line.usd >= 0 for line in found.lines)
        assert f"{found.total:.2f}" in render_estimate(chosen, found)


@given(st.floats(0, 5e7), st.floats(0, 1000))
def test_more_use_never_costs_less(posts: float, viewers: float) -> None:
    usage = costs.default_usage()
    for chosen in (load({}), load({"profile": "production"})):
        small = costs.estimate(chosen, {**usage, "posts_per_day": posts, "viewers": viewers}).total
        large = costs.estimate(chosen, {**usage, "posts_per_day": posts * 2, "viewers": viewers * 2}).total
        assert large >= small


def test_a_larger_part_never_costs_less() -> None:
    def total(**overrides: object) -> float:
        return costs.estimate(load(overrides)).total

    assert total() < total(relay_cpu=512, relay_memory_mb=1024) < total(relay_cpu=1024, relay_memory_mb=2048)
    assert total() < total(database_class="t4g.small") < total(database_class="t4g.medium")
    assert total() < total(database_multi_az=True)


def test_every_price_says_where_it_is_from() -> None:
    prices = json.loads((ROOT / "deployment" / "prices.json").read_text("utf-8"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", prices["as_of"])
    assert prices["region"] == "us-east-1"
    for name, price in prices["prices"].items():
        assert price["source"] and price["unit"], name


def test_as_many_metrics_are_written_as_the_estimate_says() -> None:
    written = sum((ROOT / path).read_text("utf-8").count("metrics.add_metric(") for path in HANDLERS)
    cold_starts = len(HANDLERS)
    assert len(WATCHED) + written + cold_starts == costs.default_usage()["custom_metrics"]


def test_a_file_of_the_archive_is_as_large_as_the_estimate_says() -> None:
    assert costs.default_usage()["archive_file_posts"] == FILE_ROWS


def test_the_page_on_costs_is_what_the_model_says() -> None:
    assert (ROOT / "docs" / "costs.md").read_text("utf-8") == render_docs()


# ------------------------------------------------------------------ right-sizing
IDLE = Load(relay_cpu=0.15, relay_memory=0.2, database_cpu=0.1, database_connections=6, function_memory_mb=180)


def test_a_task_that_is_mostly_idle_is_named_with_the_size_that_would_do_and_what_it_saves() -> None:
    chosen = load({"profile": "production", "api_memory_mb": 3008})
    relay, database, api = advise(chosen, IDLE)
    assert '"relay_cpu": 256' in relay.said and '"relay_memory_mb": 512' in relay.said
    smaller = dataclasses.replace(chosen, relay_cpu=256, relay_memory_mb=512)
    assert relay.saves_usd == pytest.approx(costs.estimate(chosen).total - costs.estimate(smaller).total)
    assert '"database_class": "t4g.small"' in database.said and database.saves_usd > 10
    assert '"api_memory_mb": 1769' in api.said
    assert f"save {relay.saves_usd:.2f} USD a month" in render_actual({"Amazon RDS": 3.0}, [relay, database, api], 7)


def test_what_is_busy_or_already_smallest_is_left_alone() -> None:
    busy = Load(relay_cpu=0.9, relay_memory=0.9, database_cpu=0.09, database_connections=50, function_memory_mb=480)
    for chosen in (load({}), load({"profile": "production", "api_memory_mb": 512, "database_class": "t4g.micro"})):
        assert [line.saves_usd for line in advise(chosen, busy)] == [0, 0, 0]
    assert all("its size is right" in line.said for line in advise(load({}), dataclasses.replace(busy, relay_cpu=0.01)))


def test_a_database_above_its_baseline_is_named_with_what_that_costs_and_the_class_that_would_not() -> None:
    database = advise(load({}), dataclasses.replace(IDLE, database_cpu=0.6))[1]
    assert "above the 10% that a t4g.micro always has: such an hour costs 0.075 USD more" in database.said
    assert '"database_class": "m7g.large" would not' in database.said and database.saves_usd == 0
    assert '"t4g.small"' in advise(load({}), dataclasses.replace(IDLE, database_cpu=0.15))[1].said


def test_a_deployment_that_has_just_begun_is_not_judged() -> None:
    assert all("no metrics yet" in line.said for line in advise(load({}), Load()))


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_size_that_is_named_would_hold_the_load(cpu: float, memory: float) -> None:
    chosen = load({"profile": "production", "relay_cpu": 1024, "relay_memory_mb": 4096})
    line = advise(chosen, dataclasses.replace(IDLE, relay_cpu=cpu, relay_memory=memory))[0]
    assert line.saves_usd >= 0
    fields = {name: int(value) for name, value in re.findall(r'"(\w+)": (\d+)', line.said)}
    smaller: Knobs = load({**overrides_of(chosen), **fields})
    assert cpu * chosen.relay_cpu <= smaller.relay_cpu
    assert memory * chosen.relay_memory_mb <= smaller.relay_memory_mb
