"""A deployment whose vector index would run full is refused before it is made."""

from __future__ import annotations

import pytest

from deployment import capacity
from deployment.costs import default_usage
from deployment.knobs import DeploymentError, load
from groundswell.adapters.qdrant import SEGMENT_KB


def test_the_free_cluster_holds_three_days_of_a_million_posts_and_no_week() -> None:
    fit = capacity.check(load({}))
    assert fit is not None
    assert (fit.posts // 1_000_000, fit.days, fit.disk_has_gb) == (3, 3, 4)
    with pytest.raises(DeploymentError, match=r'3 days|"hot_days": 3'):
        capacity.check(load({"hot_days": 7}))


@pytest.mark.parametrize("profile", ["budget", "production"])
def test_what_a_profile_keeps_fits_into_its_index(profile: str) -> None:
    fit = capacity.check(load({"profile": profile}))
    assert fit is not None
    assert fit.holds


def test_a_refusal_says_what_would_hold() -> None:
    with pytest.raises(DeploymentError) as refused:
        capacity.check(load({"hot_days": 14}))
    text = str(refused.value)
    assert "14.0 million need" in text
    assert '"qdrant_cloud_disk_gb": ' in text
    assert '"qdrant": "fargate"' in text
    larger = {"hot_days": 14, "qdrant_cloud_disk_gb": 15.0, "qdrant_cloud_memory_gb": 2.0}
    assert capacity.check(load(larger)) is not None
    own = {"hot_days": 14, "qdrant": "fargate", "qdrant_memory_mb": 2_048}
    assert capacity.check(load(own)) is not None


def test_our_own_server_is_refused_for_want_of_memory_or_of_the_tasks_disk() -> None:
    with pytest.raises(DeploymentError, match='"qdrant_memory_mb": '):
        capacity.check(load({"hot_days": 14, "qdrant": "fargate", "qdrant_memory_mb": 1_024}))
    with pytest.raises(DeploymentError, match="60 days"):
        capacity.check(load({"hot_days": 60, "qdrant": "fargate", "qdrant_cpu": 1_024, "qdrant_memory_mb": 8_192}))


def test_more_posts_a_day_shorten_what_it_holds() -> None:
    usage = {**default_usage(), "posts_per_day": 2_000_000.0}
    with pytest.raises(DeploymentError, match='"hot_days": 1'):
        capacity.check(load({}), usage)


def test_without_an_index_there_is_nothing_to_hold() -> None:
    assert capacity.check(load({"qdrant": "none", "hot_days": 365})) is None


def test_the_segment_that_is_counted_with_is_the_one_that_is_asked_for() -> None:
    assert SEGMENT_KB * 1_000 / 256 == capacity.SEGMENT_POSTS
