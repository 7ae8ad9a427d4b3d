"""A stream in Jetstream's wire format whose authors and hashtags are ever new: what a year brings, in minutes.

    python -m bench.churning_feed --rate 1000        # prints its address

Of the posts, a third mention one of a thousand hashtags that stay, so that something gathers momentum; each post has a
hashtag and an author that were never there before. Every fiftieth is deleted again ten seconds later.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

TICK_S = 0.05
POST = "app.bsky.feed.post"
WORDS = ("weather", "match", "lunch", "market", "train", "harbour", "concert", "storm", "election", "garden")

encode = msgspec.json.Encoder().encode


def key(number: int) -> str:
    """A record key as the network makes them: thirteen letters that sort by age."""
    letters = "234567abcdefghijklmnopqrstuvwxyz"
    return "3" + "".join(letters[(number >> shift) & 31] for shift in range(55, -5, -5))


def frame(number: int, time_us: int, *, operation: str = "create") -> bytes:
    """Post `number`, created or deleted at `time_us`."""
    commit: dict[str, object] = {
        "rev": key(time_us), "operation": operation, "collection": POST, "rkey": key(number),
    }  # fmt: skip
    if operation == "create":
        tags = [f"new{number}", *([f"stays{number % 1000}"] if number % 3 == 0 else [])]
        words = f"{WORDS[number % 10]} {WORDS[number // 10 % 10]} and number {number}"
        commit["cid"] = f"bafyrei{number}"
        commit["record"] = {
            "$type": POST,
            "text": " ".join([words, *(f"#{tag}" for tag in tags)]),
            "langs": ["en"],
            "createdAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_us / 1e6)),
            "facets": [
                {
                    "index": {"byteStart": 0, "byteEnd": 1},
                    "features": [{"$type": "app.bsky.richtext.facet#tag", "tag": tag}],
                }
                for tag in tags
            ],
        }
    return encode({"did": f"did:plc:churn{number}", "time_us": time_us, "kind": "commit", "commit": commit})


async def run(rate: float, behind_s: float) -> None:
    numbers = itertools.count(int(time.time()))

    def now() -> int:
        return time.time_ns() // 1000 - int(behind_s * 1e6)

    async def send(websocket: ServerConnection) -> None:
        due, late = time.monotonic(), list[tuple[float, int]]()
        try:
            while True:
                due += TICK_S
                for number in itertools.islice(numbers, round(rate * TICK_S)):
                    await websocket.send(frame(number, now()), text=True)
                    if number % 50 == 0:
                        late.append((due + 10, number))
                while late and late[0][0] <= due:
                    gone = late.pop(0)[1]
                    await websocket.send(frame(gone, now(), operation="delete"), text=True)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        except ConnectionClosed:
            return

    async with serve(send, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        sys.stdout.write(f"ws://127.0.0.1:{port}\n")
        sys.stdout.flush()
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000, help="posts a second")
    parser.add_argument("--behind", type=float, default=0, help="seconds that the feed's clock is behind")
    options = parser.parse_args()
    asyncio.run(run(options.rate, options.behind))


if __name__ == "__main__":
    main()
