"""What authors say of their own posts and profiles, and who then sees the posts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec

from functions.api.app import create_app
from groundswell.adapters.postgres_forgetting import PostgresForgetting
from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.postgres_surges import PostgresSurges
from groundswell.core.fanout import Outgoing, Prepared
from groundswell.core.posts import AccountChange, Post, ProfileLabels
from groundswell.core.queries import parse_query
from groundswell.core.subscriptions import ClientSession
from groundswell.ports.storing import Batch
from groundswell.ports.vectors import SearchFilters
from tests import api_world, archive_world
from tests.integration.test_store import COUNTS, T0, batch, post, rows, with_store

ANN, BOB = "did:plc:ann", "did:plc:bob"
NOBODY, SIGNED_IN = "!no-unauthenticated", SearchFilters(signed_in=True)
RESTRICTED = "SELECT id, restricted FROM posts ORDER BY id"


def labelled(key: str, *labels: str, author: str = ANN, at: float = 0, text: str = "hello") -> Post:
    return msgspec.structs.replace(post(key, "ticker:BTC", author=author, at=at, text=text), labels=labels)


def profile(*labels: str, rev: str = "a", author: str = ANN) -> ProfileLabels:
    return ProfileLabels("jetstream", author, T0, T0, rev, labels)


def said(*profiles: ProfileLabels, posts: tuple[Post, ...] = ()) -> Batch:
    return msgspec.structs.replace(batch(*posts), profiles=profiles)


def restricted(url: str) -> list[tuple[str, bool]]:
    return [(post_id.rpartition("/")[2], flag) for post_id, flag in rows(url, RESTRICTED)]


def test_labels_of_a_post_are_kept_and_one_that_asks_so_restricts_it_and_it_still_counts(database_url: str) -> None:
    committed = with_store(
        database_url,
        lambda store: store.commit(batch(labelled("1", "porn"), labelled("2", NOBODY, "nudity", author=BOB))),
    )
    assert [stored.post.restricted for stored in committed.created] == [False, True]
    assert rows(database_url, "SELECT labels FROM posts ORDER BY pk") == [(["porn"],), ([NOBODY, "nudity"],)]
    assert [(n, a) for _, _, n, a in rows(database_url, COUNTS)] == [(2, 2)]


def test_a_profile_that_asks_so_restricts_all_posts_of_its_author_until_it_asks_no_more(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> Any:
        await store.commit(batch(labelled("1"), labelled("2", NOBODY), labelled("3", author=BOB)))
        done = await store.commit(said(profile(NOBODY, rev="b"), posts=(labelled("4", at=1),)))
        assert restricted(database_url) == [("1", True), ("2", True), ("4", True), ("3", False)]
        await store.commit(said(profile(rev="a")))
        assert restricted(database_url) == [("1", True), ("2", True), ("4", True), ("3", False)], "an older revision"
        await store.commit(said(profile(rev="c")))
        assert restricted(database_url) == [("1", False), ("2", True), ("4", False), ("3", False)]
        return done

    done = with_store(database_url, scenario)
    gone = [event for event in done.events if event.type == "posts.deleted"]
    assert [msgspec.json.decode(event.data)["ids"] for event in gone] == [[labelled("1").id]], "open pages lose it"


def test_posts_of_a_hidden_account_come_back_as_restricted_as_the_profile_says_by_then(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        await store.commit(batch(labelled("1", "porn")))
        for status, at in (("suspended", 1), ("active", 2)):
            change = AccountChange("jetstream", ANN, T0 + at, T0 + at, status)
            await store.commit(msgspec.structs.replace(batch(), accounts=(change,)))
            await store.commit(said(profile(NOBODY)))

    with_store(database_url, scenario)
    assert rows(database_url, "SELECT labels, restricted FROM posts") == [(["porn"], True)]


def test_readers_without_a_key_find_no_restricted_post_anywhere_and_those_with_one_do(database_url: str) -> None:
    public, own = labelled("1", text="rates fall"), labelled("2", NOBODY, at=1, text="rates fall too", author=BOB)

    async def scenario(store: PostgresStore) -> None:
        pool = store._pool  # pyright: ignore[reportPrivateUsage]
        await store.commit(batch(public, own))
        reads, search = PostgresReads(pool), PostgresSearch(pool)
        everybody = SearchFilters()
        for filters, found in ((everybody, [public.id]), (SIGNED_IN, [own.id, public.id])):
            listed = await reads.posts(filters, 10)
            assert [each.post.id for each in listed] == found
            keys = {each.pk for each in await reads.posts(SIGNED_IN, 10)}
            signed_in = filters.signed_in
            for query in ("rates", "rates fall", "", "rates fall never seen"):
                hits = await search.lexical(parse_query(query), filters, 10)
                assert len(hits) == len(found), query
            assert len(await search.traits(sorted(keys), signed_in=signed_in)) == len(found)
            assert len(await search.posts_by_pk(sorted(keys), signed_in=signed_in)) == len(found)
            assert (await search.post_by_id(own.id, signed_in=signed_in) is not None) is signed_in
            assert (await reads.post(own.id, signed_in=signed_in) is not None) is signed_in
            assert len(await search.related(public, filters, 10)) == len(found)
            page = await reads.events(0, 10, signed_in=signed_in)
            assert len([each for event in page.events for each in event.posts]) == len(found)

    with_store(database_url, scenario)


def test_a_label_is_made_of_no_restricted_post(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> Any:
        pool = store._pool  # pyright: ignore[reportPrivateUsage]
        await store.commit(batch(labelled("1", text="for all"), labelled("2", NOBODY, text="for few"), end=120))
        async with pool.connection() as conn:
            await conn.execute(
                "INSERT INTO momentum VALUES"
                " ('ticker:BTC', 'ticker', 'BTC', now(), 'rising', now(), 20, 3, 2.5, 0.1, 4.2, 0.9, '{}')"
            )
        return await PostgresSurges(pool).material(window_minutes=60, movers=5, posts_each=10, background_posts=100)

    material = with_store(database_url, scenario)
    assert [each.text for each in material.posts["ticker:BTC"]] == ["for all"]
    assert {each.text for each in material.background} <= {"for all"}


def test_a_socket_without_a_key_is_sent_no_restricted_post() -> None:
    posts = [labelled("1"), msgspec.structs.replace(labelled("2", NOBODY), restricted=True)]
    event = Prepared("posts.new", seq=1, ts=T0, live=True, data=msgspec.Raw(b"{}"), posts=posts)
    for signed_in, expected in ((False, ["1"]), (True, ["1", "2"])):
        for topic in ("posts", "posts?entity=$BTC"):
            session = ClientSession(signed_in=signed_in)
            session.receive(msgspec.json.encode({"action": "subscribe", "topics": [topic]}).decode(), seq=0)
            frames = Outgoing([event]).frames(session.topics)
            sent = [each["id"] for frame in frames for each in msgspec.json.decode(frame)["data"]["posts"]]
            assert [post_id.rpartition("/")[2] for post_id in sent] == expected


def test_the_api_lists_exports_and_names_restricted_posts_for_holders_of_a_key_alone(
    database_url: str, tmp_path: Path
) -> None:
    hot, old = archive_world.post(1, day=9), archive_world.post(2)
    restricting = ProfileLabels("jetstream", old.author, old.event_time, 1, "b", (NOBODY,))

    async def scenario(world: archive_world.World) -> None:
        await world.store.commit(archive_world.batch(old))
        archive_world.age(world.url)
        await world.mover().move()
        adult = msgspec.structs.replace(hot, labels=("porn",))
        secret = archive_world.post(3, day=9, text="for few")
        changed = archive_world.batch(adult, msgspec.structs.replace(secret, labels=(NOBODY,)))
        await world.store.commit(msgspec.structs.replace(changed, profiles=(restricting,)))
        services, _ = api_world.parts(world.pool)
        services = replace(services, archive=world.reader)
        key = await PostgresKeys(world.pool).create("reader")
        app = create_app(services, version="1", rate_limit_per_minute=0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:

            async def ask(path: str, authorization: str | None = None) -> httpx.Response:
                return await client.get(path, headers={} if authorization is None else {"Authorization": authorization})

            bearer = f"Bearer {key}"
            listing = await ask("/v1/posts")
            assert [each["labels"] for each in listing.json()["data"]] == [["porn"]]
            assert "public" in listing.headers["Cache-Control"] and "Authorization" in listing.headers["Vary"]
            whole = await ask("/v1/posts", bearer)
            assert len(whole.json()["data"]) == 2 and "private" in whole.headers["Cache-Control"]
            for path in (f"/v1/posts/{secret.id}", f"/v1/posts/{old.id}"):
                api_world.problem(await ask(path), 404)
                assert (await ask(path, bearer)).status_code == 200
            assert (await ask(f"/v1/search?q={old.id}")).json()["data"] == []
            for path in ("/v1/export?format=csv", "/v1/export", "/v1/search?q=few", "/v1/events?cursor=0"):
                assert "for few" not in (await ask(path)).text, path
                assert "for few" in (await ask(path, bearer)).text, path
            api_world.problem(await ask("/v1/posts", "Bearer gw_wrong"), 401)
            described = (await ask("/openapi.json")).json()["paths"]["/v1/posts"]["get"]
            assert {} in described["security"] and "401" in described["responses"], "a key is welcome, and not needed"

    archive_world.in_world(database_url, tmp_path, scenario)


def test_labels_of_archived_posts_come_back_with_a_restore(database_url: str, tmp_path: Path) -> None:
    posts = [archive_world.post(n) for n in range(5)]
    marked = msgspec.structs.replace(posts[2], labels=("graphic-media",))

    async def scenario(world: archive_world.World) -> None:
        await world.store.commit(archive_world.batch(*posts[:2], marked, *posts[3:]))
        archive_world.age(world.url)
        await world.mover().move()
        found = await world.reader.post(marked.id)
        assert found is not None and found.post.labels == ("graphic-media",)
        (file,) = await world.index.files()
        async with world.cache.held(file.manifest) as path:
            back = [row async for page in world.files.read(path) for row in page]
        await world.index.restore(file, back)
        assert rows(world.url, "SELECT labels FROM posts WHERE labels <> '{}'") == [(["graphic-media"],)]

    archive_world.in_world(database_url, tmp_path, scenario)


def test_a_forgotten_authors_profile_is_forgotten_too(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: archive_world.World) -> None:
        await world.store.commit(said(profile(NOBODY)))
        forgetting = PostgresForgetting(world.pool)
        await forgetting.remember(ANN)
        await forgetting.take_traces(ANN)
        await world.store.commit(said(profile(NOBODY, rev="b")))

    archive_world.in_world(database_url, tmp_path, scenario)
    assert rows(database_url, "SELECT author FROM author_labels") == []
