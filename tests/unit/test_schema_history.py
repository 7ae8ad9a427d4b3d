"""A migration that has run anywhere is never changed: its number then means two schemas."""

from __future__ import annotations

from groundswell.adapters.schema_history import checksum, checksums

RAN = {
    "0001": "a0d97908c14cc3d6",
    "0002": "8a48194533b67b26",
    "0003": "0b6a0a9c32d91f06",
    "0004": "e758a4f4f3df7f54",
    "0005": "0115dde0265f9ab8",
    "0006": "6c4283ffea9ac021",
    "0007": "a900763271c4d89b",
    "0008": "c85bd10e09cfa73b",
    "0009": "dbefde551b474169",
    "0010": "fc59d9154cf0fe0e",
    "0011": "ce7a2adfe6ec7b67",
    "0012": "1d939cc63cf7c535",
    "0013": "d1a6ec4f550a758c",
    "0014": "a17a7aa232c55b62",
    "0015": "e978a474a2e4020b",
    "0016": "4b52b13ef36075f8",
    "0017": "84b8454435f6614e",
    "0018": "c89b360aa26bf5b8",
    "0019": "35c427c684c93321",
}
"""The beginning of each checksum. A new migration adds its line; no other line changes."""


def test_no_migration_is_changed() -> None:
    now = {version: found[: len("a0d97908c14cc3d6")] for version, found in checksums().items()}
    assert now == RAN, "add a migration instead of changing one, and add the line of a new one here"


def test_comments_and_layout_are_not_part_of_a_checksum() -> None:
    assert checksum("-- why\nCREATE TABLE t (\n    n int -- a number\n);\n") == checksum("CREATE TABLE t ( n int );")
    assert checksum("CREATE TABLE t (n int);") != checksum("CREATE TABLE t (n bigint);")
