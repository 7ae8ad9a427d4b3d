"""What a session with Postgres is, whatever the environment, the server or the role would have it be."""

from __future__ import annotations

CLIENT_ENCODING = "UTF8"
"""A session in another encoding refuses the first post that it cannot write."""
SESSION_OPTIONS = "-c timezone=UTC -c datestyle=ISO,YMD -c intervalstyle=postgres -c bytea_output=hex"
"""The forms that psycopg reads."""
