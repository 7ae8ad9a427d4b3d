"""The page in a real browser, against the whole platform on the simulated feed."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, WebSocketRoute, expect

from tests.chromium import chromium

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MS = 60_000
"""How long the platform may take to have something to show."""

EXAMINED = "{exclude: [['.post:nth-of-type(n + 6)'], ['.mover:nth-of-type(n + 6)']]}"
"""What axe looks at: of a long list its first items, for the others are alike."""

FOLLOWING = re.compile("^(Live|Catching up, )")
"""The status of a page that hears of everything as it is stored, whether the source is in the present or not yet."""

DESK = {"width": 1440, "height": 900}
PHONE = {"width": 380, "height": 800}


class Platform(Protocol):
    url: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(flags=["--disable-background-networking"]) as browser:
        yield browser


class Visit:
    """A browser tab that remembers what its console complained about."""

    def __init__(self, browser: Browser, url: str, viewport: dict[str, int], scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport=viewport,  # pyright: ignore[reportArgumentType]
            color_scheme=scheme,  # pyright: ignore[reportArgumentType]
            reduced_motion="reduce",
            base_url=url,
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))


@pytest.fixture
def desk(browser: Browser, platform: Platform) -> Iterator[Visit]:
    visit = Visit(browser, platform.url, DESK)
    yield visit
    visit.context.close()


def movers(page: Page) -> Locator:
    return page.get_by_role("region", name="Moving now").get_by_role("listitem")


def posts(page: Page) -> Locator:
    return page.get_by_role("region", name="Posts, newest first").get_by_role("article")


def wait_for_content(page: Page) -> None:
    expect(posts(page).first).to_be_visible(timeout=PATIENCE_MS)
    expect(movers(page).first).to_be_visible(timeout=PATIENCE_MS)


def test_posts_flow_in_by_themselves(desk: Visit) -> None:
    desk.page.goto("/")
    first = posts(desk.page).first.locator("p").first
    expect(first).to_be_visible(timeout=PATIENCE_MS)
    seen = first.inner_text()
    expect(first).not_to_have_text(seen, timeout=PATIENCE_MS)
    expect(desk.page.get_by_role("region", name="Status")).to_contain_text(FOLLOWING, timeout=PATIENCE_MS)
    expect(desk.page.get_by_role("region", name="Status")).to_contain_text("simulator")


def test_movers_are_listed_by_score_with_their_stage_and_sparkline(desk: Visit) -> None:
    """With rows that a short stretch of the simulated feed may not have, laid over its own answers."""

    def moving(route: Route) -> None:
        rows = [
            {
                "entity": f"hashtag:m{place}", "kind": "hashtag", "name": f"m{place}", "display": f"#m{place}",
                "as_of": "2999-01-01T00:00:00Z", "stage": stage, "stage_since": "2999-01-01T00:00:00Z", "mentions": 90,
                "authors": 80, "velocity": 6.0, "acceleration": 0.1, "surprise": 4.0, "score": 1 - place / 20,
                "sparkline": [0.0] * 27 + [3.0, 6.0, 9.0], "parts": {}, "label": None,
            }
            for place, stage in enumerate(("rising", "peaking", "dormant", "fading"))
        ]  # fmt: skip
        route.fulfill(json=route.fetch().json() | {"data": rows})

    desk.page.route("**/v1/momentum?*", moving)
    desk.page.goto("/")
    wait_for_content(desk.page)
    scores = [int(re.sub(r"\D", "", text)) for text in movers(desk.page).locator(".score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    first = movers(desk.page).first
    expect(first.locator(".stage")).to_have_text(re.compile("above usual|starting|growing|at its height|going down"))
    expect(first.get_by_role("img")).to_have_attribute("aria-label", re.compile("over the last 30 minutes"))
    desk.page.unroute_all(behavior="wait")


def test_a_mover_says_what_it_is_about_and_leads_to_what_is_named_with_it(desk: Visit) -> None:
    """With a label and links that the simulated feed has not made yet, laid over its own answers."""
    page = desk.page
    label = "<b>rate</b> cut \u00b7 emergency meeting"
    other = {"entity": "hashtag:fomc", "kind": "hashtag", "name": "fomc", "display": "#fomc", "stage": "rising"}

    def listing(route: Route) -> None:
        body = route.fetch().json()
        route.fulfill(json=body | {"data": [row | {"label": label} for row in body["data"]]})

    def entity(route: Route) -> None:
        body = route.fetch().json()
        related = {"posts": 12, "authors": 11, "npmi": 0.5, "g2": 60.0, **other}
        label_of = {"text": label, "phrases": [], "posts": 40, "authors": 38, "as_of": body["as_of"]}
        route.fulfill(json=body | {"label": label_of, "related": [related]})

    page.route("**/v1/momentum?*", listing)
    page.route("**/v1/momentum/*/*", entity)
    page.goto("/")
    wait_for_content(page)
    expect(movers(page).first.locator(".mover-label")).to_have_text(label, timeout=PATIENCE_MS)
    movers(page).first.get_by_role("link").click()
    expect(page.locator(".about-it")).to_contain_text(label, timeout=PATIENCE_MS)
    page.locator(".related").get_by_role("link", name="#fomc").click()
    expect(page.locator("#entity-title")).to_have_text("#fomc")
    page.unroute_all(behavior="wait")
    assert desk.complaints == []


def test_an_entity_opens_with_its_history_and_closes_again(desk: Visit) -> None:
    page = desk.page
    page.goto("/")
    wait_for_content(page)
    name = movers(page).first.get_by_role("link").inner_text()
    movers(page).first.get_by_role("link").click()
    heading = page.get_by_role("heading", level=2, name=name, exact=True)
    expect(heading).to_be_visible()
    expect(heading).to_be_focused()
    panel = page.get_by_role("region", name=name, exact=True)
    expect(panel.locator(".chart canvas")).to_be_visible()
    expect(panel.get_by_role("article").first).to_be_visible()
    page.reload()
    expect(heading).to_be_visible()
    page.keyboard.press("Escape")
    expect(heading).to_have_count(0)
    page.go_back()
    expect(heading).to_be_visible()


def test_the_stream_can_be_narrowed_to_the_open_entity(desk: Visit) -> None:
    page = desk.page
    page.goto("/")
    wait_for_content(page)
    link = movers(page).first.get_by_role("link")
    href = link.get_attribute("href")
    link.click()
    page.get_by_role("button", name=re.compile("^Only ")).click()
    expect(posts(page).first).to_be_visible(timeout=PATIENCE_MS)
    for post in posts(page).all()[:10]:
        expect(post.locator(f"a.entity[href='{href}']").first).to_be_visible()
    page.get_by_role("button", name="All", exact=True).click()
    expect(posts(page).first).to_be_visible(timeout=PATIENCE_MS)


def test_search_answers_from_the_keyboard_and_says_what_it_looked_at(desk: Visit) -> None:
    page = desk.page
    page.goto("/")
    wait_for_content(page)
    texts = " ".join(posts(page).locator("p:first-of-type").all_inner_texts())
    word = max(re.findall(r"(?<!\S)[a-z]{5,}(?!\S)", texts), key=len)
    page.keyboard.press("/")
    page.keyboard.type(word)
    panel = page.get_by_role("region", name=word, exact=True)
    expect(panel.get_by_role("article").first).to_be_visible()
    expect(panel.get_by_role("status")).to_contain_text(re.compile("found by (words|meaning)"))
    expect(panel.locator("mark").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)


def test_a_posts_id_in_the_search_box_finds_that_post(desk: Visit) -> None:
    page = desk.page
    page.goto("/")
    wait_for_content(page)
    newest = page.request.get("/v1/posts?limit=1").json()["data"][0]
    page.keyboard.press("/")
    page.keyboard.type(newest["id"])
    panel = page.get_by_role("region", name=newest["id"], exact=True)
    expect(panel.get_by_role("status")).to_have_text("1 post, found by its id.")
    expect(panel.get_by_role("article")).to_have_count(1)


def test_a_post_that_was_found_leads_to_more_like_it(desk: Visit) -> None:
    page = desk.page
    page.goto("/#/search?q=today")
    results = page.get_by_role("region", name="today", exact=True)
    results.get_by_role("link", name="More like this").first.click(timeout=PATIENCE_MS)
    panel = page.get_by_role("region", name="More like this post")
    expect(panel.get_by_role("status")).to_contain_text("found by")
    expect(panel.get_by_role("heading", name="More like this post")).to_be_focused()
    page.go_back()
    expect(results.get_by_role("article").first).to_be_visible()


def test_what_is_degraded_is_named(desk: Visit) -> None:
    def without_embeddings(route: Route) -> None:
        body = route.fetch().json()
        body["degraded"] = ["embeddings"]
        if "legs" in body:
            body["legs"] = ["lexical"]
        route.fulfill(json=body)

    page = desk.page
    page.route(re.compile(r"/v1/(status|search)"), without_embeddings)
    page.goto("/")
    expect(page.get_by_role("region", name="Status")).to_contain_text("Search by words only", timeout=PATIENCE_MS)
    page.goto("/#/search?q=today")
    expect(page.get_by_text("lexical only")).to_be_visible(timeout=PATIENCE_MS)


def test_a_page_without_a_socket_polls_and_says_so(desk: Visit) -> None:
    page = desk.page
    page.route_web_socket(re.compile("/v1/ws"), lambda ws: ws.close())
    page.goto("/")
    expect(page.get_by_role("region", name="Status")).to_contain_text("Polling", timeout=PATIENCE_MS)
    first = posts(page).first.locator("p").first
    expect(first).to_be_visible(timeout=PATIENCE_MS)
    expect(first).not_to_have_text(first.inner_text(), timeout=PATIENCE_MS)


def newest_event(platform: Platform) -> int:
    with urllib.request.urlopen(f"{platform.url.rstrip('/')}/v1/events?limit=1", timeout=10) as answer:
        return int(json.load(answer)["newest_cursor"])


def test_a_page_whose_socket_was_cut_asks_for_what_it_missed(desk: Visit, platform: Platform) -> None:
    sockets: list[WebSocketRoute] = []
    at_the_cut: list[int] = []

    def through(ws: WebSocketRoute) -> None:
        sockets.append(ws)
        if at_the_cut:
            # The page may be back before anything was published, and then it has missed nothing to ask for.
            while newest_event(platform) <= at_the_cut[0]:
                continue
        ws.connect_to_server()

    page = desk.page
    page.route_web_socket(re.compile("/v1/ws"), through)
    page.goto("/")
    wait_for_content(page)
    expect(page.get_by_role("region", name="Status")).to_contain_text(FOLLOWING, timeout=PATIENCE_MS)
    with page.expect_request(re.compile(r"/v1/events\?cursor=\d+"), timeout=PATIENCE_MS):
        sockets[-1].close(code=1012)
        at_the_cut.append(newest_event(platform))
    expect(page.get_by_role("region", name="Status")).to_contain_text(FOLLOWING, timeout=PATIENCE_MS)
    assert len(sockets) >= 2


def sending(post: object) -> Callable[[WebSocketRoute], None]:
    """A socket that greets, sends one post, and falls silent."""

    def send(ws: WebSocketRoute) -> None:
        for number, (kind, data) in enumerate(
            (("hello", {"heartbeat_interval_s": 60}), ("posts.new", {"posts": [post]}))
        ):
            ws.send(json.dumps({"v": 1, "type": kind, "seq": number, "ts": "", "live": True, "data": data}))

    return send


def test_a_posts_text_is_only_ever_text(desk: Visit) -> None:
    hostile = '<img src=x onerror="document.title=1"><script>document.title=1</script> مرحبا'
    post = {
        "id": "at://test/1",
        "source": "simulator",
        "author": "<b>somebody</b>",
        "text": hostile,
        "lang": None,
        "created_at": None,
        "event_time": "2026-07-04T14:38:06Z",
        "entities": [],
        "reply_to": None,
        "quote_of": None,
        "url": "javascript:document.title=1",
    }

    page = desk.page
    page.route_web_socket(re.compile("/v1/ws"), sending(post))
    page.goto("/")
    arrived = posts(page).filter(has_text="onerror")
    expect(arrived.locator("p").first).to_have_text(hostile, timeout=PATIENCE_MS)
    expect(arrived.locator("img, script, b")).to_have_count(0)
    expect(arrived.locator("a[href^='javascript']")).to_have_count(0)
    expect(page).to_have_title("[Simulated] Groundswell")


def test_a_post_that_its_author_marks_as_adult_is_folded_behind_a_choice(desk: Visit) -> None:
    post = {
        "id": "at://test/1", "source": "simulator", "author": "somebody", "text": "not for everybody", "lang": None,
        "created_at": None, "event_time": "2026-07-04T14:38:06Z", "entities": [], "reply_to": None, "quote_of": None,
        "url": None, "labels": ["nudity", "porn"],
    }  # fmt: skip

    page = desk.page
    page.route_web_socket(re.compile("/v1/ws"), sending(post))
    page.goto("/")
    arrived = posts(page).filter(has_text="marks this as adult content and nudity")
    expect(arrived).to_be_visible(timeout=PATIENCE_MS)
    expect(arrived).not_to_contain_text("not for everybody")
    arrived.get_by_role("button", name="Show").click()
    expect(arrived).to_contain_text("not for everybody")
    arrived.get_by_role("button", name="Hide").click()
    expect(arrived).not_to_contain_text("not for everybody")


def test_the_footer_leads_to_how_peoples_posts_are_treated_and_whom_to_write_to(
    browser: Browser, platform: Platform
) -> None:
    said = {"": "has not said where to write to", "privacy@example.org": "Write to privacy@example.org."}
    for viewport, (contact, expected) in zip((DESK, PHONE), said.items(), strict=True):
        visit = Visit(browser, platform.url, viewport)
        page = visit.page

        page.route("**/config.json", configured_with(contact))
        page.goto("/")
        page.get_by_role("link", name="How we treat people's posts").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("How we treat people's posts")
        expect(page.locator("#contact")).to_contain_text(expected)
        if AXE.is_file():
            check_view(page)
        assert visit.complaints == []
        visit.context.close()


def configured_with(contact: str) -> Callable[[Route], None]:
    config = {"apiUrl": "", "wsUrl": "", "version": "1", "contact": contact}
    return lambda route: route.fulfill(json=config)


def test_the_stream_stands_still_when_paused_and_counts_what_waits(desk: Visit) -> None:
    page = desk.page
    page.goto("/")
    wait_for_content(page)
    page.get_by_role("button", name="Pause").click()
    page.mouse.move(2, 2)
    still = posts(page).first.locator("p").first.inner_text()
    waiting = page.get_by_role("button", name=re.compile("new post"))
    expect(waiting).to_be_visible(timeout=PATIENCE_MS)
    assert posts(page).first.locator("p").first.inner_text() == still
    waiting.click()
    page.get_by_role("button", name="Go on").click()
    assert posts(page).count() <= 100


def test_the_page_asks_nobody_but_the_platform_and_complains_about_nothing(desk: Visit, platform: Platform) -> None:
    page = desk.page
    page.goto("/")
    wait_for_content(page)
    movers(page).first.get_by_role("link").click()
    expect(page.locator(".chart canvas")).to_be_visible()
    assert desk.complaints == []
    assert desk.hosts == {platform.url.rstrip("/").split("/")[2]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_every_view_fits_its_screen_and_is_accessible(
    browser: Browser, platform: Platform, viewport: dict[str, int], scheme: str
) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: `npm ci` in web/ brings it")
    visit = Visit(browser, platform.url, viewport, scheme)
    page = visit.page
    page.goto("/")
    wait_for_content(page)
    check_view(page)
    movers(page).first.get_by_role("link").click()
    expect(page.locator(".chart canvas")).to_be_visible()
    check_view(page)
    page.goto("/#/search?q=today")
    expect(page.locator(".search-note")).to_be_visible()
    check_view(page)
    visit.context.close()


def check_view(page: Page) -> None:
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), "the page scrolls sideways"
    page.evaluate(AXE.read_text("utf-8"))
    violations = page.evaluate(f"axe.run({EXAMINED}).then(result => result.violations)")
    serious = [
        f"{each['id']}: {each['nodes'][0]['html']}" for each in violations if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
