"""What flows past besides posts: likes, reposts, follows, identity and account frames, and frames that are broken."""

from __future__ import annotations

from groundswell.adapters.simulator.chance import mix, tid
from groundswell.adapters.simulator.writing import POST, instant_text
from groundswell.core.posts import Micros

_DEPTH = 50_000
_HUGE_BYTES = 300_000

OTHER_COLLECTIONS = (
    *("app.bsky.feed.like",) * 10,
    *("app.bsky.feed.repost",) * 3,
    *("app.bsky.graph.follow",) * 2,
    "app.bsky.graph.block",
)
"""One of sixteen by four bits of chance: about the shares of the real network."""


def other_frame(time_us: Micros, did: str, value: int, subject: tuple[str, str, str], collection: str) -> bytes:
    """A frame of a collection that carries no posts. `subject` is (did, rkey, cid) of what it is about."""
    rkey = tid(time_us - 700_000, value & 1023)
    rev = tid(time_us - 20_000, value >> 10 & 1023)
    subject_did, subject_rkey, subject_cid = subject
    about = f'"{subject_did}"'
    if collection.startswith("app.bsky.feed."):
        about = f'{{"cid":"{subject_cid}","uri":"at://{subject_did}/{POST}/{subject_rkey}"}}'
    head = f'{{"did":"{did}","time_us":{time_us},"kind":"commit","commit":{{"rev":"{rev}",'
    if value >> 20 & 31 == 0:
        return f'{head}"operation":"delete","collection":"{collection}","rkey":"{rkey}"}}}}'.encode()
    return (
        f'{head}"operation":"create","collection":"{collection}","rkey":"{rkey}","record":{{"$type":"{collection}",'
        f'"createdAt":"{instant_text(time_us - 700_000)}","subject":{about}}},"cid":"bafyrei{subject_cid[7:]}"}}}}'
    ).encode()


def identity_frame(time_us: Micros, did: str) -> bytes:
    when = instant_text(time_us)
    return (
        f'{{"did":"{did}","time_us":{time_us},"kind":"identity",'
        f'"identity":{{"did":"{did}","seq":{time_us // 1000},"time":"{when}"}}}}'
    ).encode()


def account_frame(time_us: Micros, did: str, status: str | None) -> bytes:
    """`status` None: the account is active; otherwise why it is not, for example `takendown`."""
    when = instant_text(time_us)
    state = (
        f'"active":true,"did":"{did}","seq":{time_us // 1000},"time":"{when}"'
        if status is None
        else f'"active":false,"did":"{did}","seq":{time_us // 1000},"status":"{status}","time":"{when}"'
    )
    return f'{{"did":"{did}","time_us":{time_us},"kind":"account","account":{{{state}}}}}'.encode()


def garbage_frame(time_us: Micros, did: str, value: int) -> bytes:
    """A frame that no reader can use, one of nine kinds."""
    head = f'{{"did":"{did}","time_us":{time_us},"kind":"commit","commit":'
    commit = f'{{"rev":"3","operation":"create","collection":"{POST}","rkey":"3broken"'
    broken = (
        f'{head}{commit},"record":{{"$type":"{POST}","te'.encode(),
        f'{head}{commit},"record":{{"text":"caf'.encode() + b"\xc3",
        f'{{"did":17,"time_us":"yesterday","kind":"commit","commit":{commit}}}}}'.encode(),
        f'{head}{commit},"record":{{"$type":"{POST}","text":["not","text"]}}}}}}'.encode(),
        b"null" if value & 16 else b"[]",
        f'{head}{commit},"record":{{"text":{"[" * _DEPTH}'.encode(),
        f'{head}{commit},"record":{{"text":"{"long " * (_HUGE_BYTES // 5)}'.encode(),
        b"" if value & 16 else b"\x00\x01\x02",
        f"{head}null}}".encode(),
    )
    return broken[mix(value) % len(broken)]
