"""What integration tests share."""

from __future__ import annotations

import pytest

from groundswell.adapters.static_model import StaticModel
from tests.api_world import fill


@pytest.fixture
def url(database_url: str) -> str:
    """A database that has something for every route of the API."""
    fill(database_url)
    return database_url


@pytest.fixture(scope="module")
def model() -> StaticModel:
    return StaticModel()
