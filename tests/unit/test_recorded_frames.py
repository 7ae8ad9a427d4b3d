"""Frames are found in whatever text people's tools write them to."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.jetstream import MAX_FRAME_BYTES, decode
from groundswell.core.posts import Ignored, Post
from groundswell.core.recorded_frames import FrameSplitter, canonical, frames_of

T0 = 1_764_400_000_000_000
TIGHT = (",", ":")


def value(n: int, text: str = "") -> dict[str, object]:
    record = {
        "text": text or f'frame {n}: {{"a": [1]}} \\ "]}} ü 日本',
        "createdAt": "2025-11-29T07:06:40Z",
        "facets": [{"features": [{"tag": "x"}]}, {"features": []}],
    }
    commit = {
        "rev": f"{n:09}",
        "operation": "create",
        "collection": "app.bsky.feed.post",
        "rkey": f"{n}",
        "record": record,
    }
    return {"did": "did:plc:a", "time_us": T0 + n * 1_000_000, "kind": "commit", "commit": commit}


VALUES = [value(n) for n in range(4)]


def lines(pack: Callable[[dict[str, object]], str], joined: str = "\n") -> str:
    return joined.join(pack(each) for each in VALUES)


def compact(each: object) -> str:
    return json.dumps(each, separators=TIGHT, ensure_ascii=False)


FORMS = {
    "one a line": lines(compact) + "\n",
    "without a last newline": lines(compact),
    "CRLF and blank lines": "\r\n\r\n" + lines(compact, "\r\n\r\n \r\n") + "\r\n",
    "a byte order mark": "\ufeff" + lines(compact),
    "joined files with byte order marks": "\ufeff" + lines(compact, "\n\ufeff"),
    "sorted keys": lines(lambda each: json.dumps(each, sort_keys=True)),
    "spaces": lines(lambda each: json.dumps(each, separators=(" , ", " : "))),
    "trailing commas": lines(compact, ",\n") + ",\n",
    "pretty-printed": lines(lambda each: json.dumps(each, indent=2)),
    "pretty-printed with tabs and CRLF": lines(lambda each: json.dumps(each, indent="\t")).replace("\n", "\r\n"),
    "pretty-printed without indentation": lines(lambda each: json.dumps(each, indent=0)),
    "an array on one line": json.dumps(VALUES),
    "an array, an item a line": "[\n" + lines(compact, ",\n") + "\n]\n",
    "an array, the first on the line of its bracket": "[" + lines(compact, "\n,") + "]",
    "a pretty-printed array": json.dumps(VALUES, indent=4),
    "several on a line": lines(compact, ""),
    "several on a line, with spaces": lines(compact, " "),
    "a JSON text sequence": "".join(f"\x1e{compact(each)}\n" for each in VALUES),
    "wrapped": lines(lambda each: compact({"capture_time": "2025-11-29T07:06:40Z", "record": each})),
    "wrapped twice": lines(lambda each: compact({"kind": "x", "a": {"b": 1}, "payload": {"data": each, "seq": 1}})),
    "wrapped and pretty-printed": lines(lambda each: json.dumps({"data": each}, indent=2)),
    "wrapped as a string": lines(
        lambda each: compact({"time": "now", "log": compact(each) + "\n", "stream": "stdout"})
    ),
    "strings": lines(lambda each: compact(compact(each))),
    "an array of strings": compact([compact(each) for each in VALUES]),
    "lists in objects": compact({"frames": VALUES[:2]}) + "\n" + compact({"frames": VALUES[2:]}),
    "pairs": lines(lambda each: compact([1764400000.1, each])),
    "server-sent events": lines(lambda each: f"event: message\nid: 7\nretry: 10\n: ping\ndata: {compact(each)}\n"),
    "server-sent events without spaces": lines(lambda each: f"data:{compact(each)}\n"),
    "log lines": lines(lambda each: f"2025-11-29T07:06:40Z INFO {{relay}} got {compact(each)}"),
    "columns": lines(lambda each: f"1764400000\t{compact(each)}"),
}


def cut(text: bytes, size: int) -> list[bytes]:
    splitter = FrameSplitter()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return [frame.raw for piece in pieces for frame in splitter.feed(piece)] + [f.raw for f in splitter.finish()]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_frames(form: str) -> None:
    text = form.encode()
    for size in (len(text), 1000, 7):
        frames = cut(text, size)
        assert [json.loads(raw) for raw in frames] == VALUES
        posts = [decode(raw, source="s", extractor=None) for raw in frames]
        assert [post.event_time for post in posts if isinstance(post, Post)] == [T0 + n * 1_000_000 for n in range(4)]


BROKEN = {
    "inside a text": compact(value(0))[:150],
    "after a comma": '{"did":"did:plc:a",',
    "after a colon": '{"did":',
    "after a number": '{"did":"did:plc:a","time_us":17',
    "with other brackets": '{"did":]}',
    "as Python writes it": "{'did': 'did:plc:a'}",
    "as text": 'INFO started {"port": 1}',
    "as nothing": "null",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_broken_line_is_one_malformed_frame_and_the_next_is_whole(broken: str, indent: int | None) -> None:
    good = json.dumps(VALUES[1], indent=indent)
    for size in (100_000, 7):
        frames = cut(f"{good}\n{broken}\n{good}\n{good}\n".encode(), size)
        found = [raw for raw in frames if canonical(raw) == canonical(good.encode())]
        others = [decode(raw, source="s", extractor=None) for raw in frames if raw not in found]
        assert len(found) == 3
        assert len(others) == 1
        assert isinstance(others[0], Ignored)


def test_half_a_frame_at_the_end_of_a_text_that_broke_off_is_left_out() -> None:
    for form in (FORMS["one a line"], FORMS["pretty-printed"]):
        splitter = FrameSplitter()
        text = form.encode()
        frames = [*splitter.feed(text[: len(text) * 7 // 8]), *splitter.finish(broken_off=True)]
        assert [json.loads(frame.raw) for frame in frames] == VALUES[:3]


def test_an_object_beyond_the_limit_is_cut_and_what_follows_comes() -> None:
    huge = compact(value(0, "x" * 3 * MAX_FRAME_BYTES))
    frames = cut(f"{huge}\n{compact(VALUES[1])}\n".encode(), 1_000_000)
    assert decode(frames[0], source="s", extractor=None).reason == "oversized"  # pyright: ignore[reportAttributeAccessIssue]
    assert json.loads(frames[1]) == VALUES[1]
    assert len(frames) == 2


@pytest.mark.parametrize(
    "written",
    ["1764400000000000", 1_764_400_000_000, "1764400000000", 1_764_400_000, 1764400000.0, "2025-11-29T07:06:40Z",
     1_764_400_000_000_000_000, 17644e11, None, 0, -1, "", "soon", [1]],
)  # fmt: skip
def test_times_of_other_units_and_types_are_brought_to_microseconds(written: object) -> None:
    (frame,) = frames_of(compact({**value(0), "time_us": written}).encode())
    assert frame.at == T0
    post = decode(frame.raw, source="s", extractor=None)
    assert isinstance(post, Post)
    assert post.event_time == T0


def test_a_frame_without_a_time_has_that_of_its_record_or_none() -> None:
    bare = {key: field for key, field in value(0).items() if key != "time_us"}
    assert frames_of(compact(bare).encode())[0].at == T0
    (frame,) = frames_of(compact({**bare, "commit": {"record": {"createdAt": "yesterday"}}}).encode())
    assert frame.at is None


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(list(FORMS.values())).map(str.encode))),
    st.integers(1, 99),
)
def test_any_bytes_are_cut_into_frames_without_an_error_and_the_same_however_they_arrive(
    parts: list[bytes], size: int
) -> None:
    text = b"".join(parts)
    assert cut(text, size) == cut(text, len(text) + 1)


def test_frames_of_jetstream_v2_are_found_and_timed_wherever_frames_of_v1_are() -> None:
    def v2(n: int) -> dict[str, object]:
        payload = {
            "$type": "network.bsky.jetstream.subscribeEvents#commit",
            "seq": n + 1,
            "did": "did:plc:a",
            "time": f"2025-11-29T07:06:4{n}.000000Z",
            **value(n)["commit"],  # pyright: ignore[reportGeneralTypeIssues] -- a dict, as the other frames have it
        }
        return {"$type": "message", "payload": payload}

    texts = [
        "\n".join(compact(v2(n)) for n in range(3)),
        json.dumps([v2(n) for n in range(3)], indent=2),
        "\n".join("data: " + compact(v2(n)) for n in range(3)),
        "\n".join(compact({"data": compact(v2(n))}) for n in range(3)),
    ]
    for text in texts:
        splitter = FrameSplitter()
        frames = [*splitter.feed(text.encode()), *splitter.finish()]
        assert [frame.at for frame in frames] == [T0, T0 + 1_000_000, T0 + 2_000_000]
        posts = [decode(frame.raw, source="x", extractor=None) for frame in frames]
        assert posts == [decode(compact(value(n)).encode(), source="x", extractor=None) for n in range(3)]
