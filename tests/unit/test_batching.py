"""A batch leaves behind what storing its frames one by one, in order, would leave behind."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.batching import Batcher, Taken
from groundswell.core.posts import AccountChange, Decoded, Deleted, Ignored, Post

T0 = 1_783_175_880_000_000


def post(key: str = "k", *, author: str = "ann", rev: str = "a", at: int = 0, text: str = "hello") -> Post:
    return Post(id=f"{author}/{key}", source="s", author=author, text=text, event_time=T0 + at, rev=rev, cursor=T0 + at)


def edit(key: str = "k", *, author: str = "ann", rev: str = "b", at: int = 1, text: str = "edited") -> Post:
    return msgspec.structs.replace(post(key, author=author, rev=rev, at=at, text=text), operation="update")


def delete(key: str = "k", *, author: str = "ann", rev: str = "z", at: int = 2) -> Deleted:
    return Deleted(source="s", author=author, event_time=T0 + at, cursor=T0 + at, id=f"{author}/{key}", rev=rev)


def account(status: str, author: str = "ann", *, at: int = 3) -> AccountChange:
    return AccountChange(source="s", author=author, event_time=T0 + at, cursor=T0 + at, status=status)


def batch(*frames: Decoded) -> Taken:
    batcher = Batcher(1000, 1.0)
    for frame in frames:
        batcher.add(frame, 0.0)
    return batcher.take()


def test_an_empty_batch_is_never_due() -> None:
    batcher = Batcher(1, 0.0)
    assert not batcher.due(1e9)


def test_a_batch_is_due_when_it_is_full() -> None:
    batcher = Batcher(2, 60.0)
    assert not batcher.add(post("1"), 0.0)
    assert not batcher.due(0.0)
    assert batcher.add(post("2"), 0.0)
    assert batcher.due(0.0)


def test_a_batch_is_due_when_its_oldest_frame_has_waited_long_enough() -> None:
    batcher = Batcher(100, 0.5)
    batcher.add(post("1"), 10.0)
    batcher.add(post("2"), 10.4)
    assert not batcher.due(10.49)
    assert batcher.due(10.5)


def test_frames_without_a_post_move_the_cursor_and_are_counted_by_reason() -> None:
    taken = batch(
        Ignored("identity", T0 + 5, T0 + 5), Ignored("malformed"), Ignored("malformed", T0 + 3, T0 + 3), post(at=1)
    )
    assert taken.ignored == {"identity": 1, "malformed": 2}
    assert (taken.cursor, taken.first_event_time, taken.last_event_time) == (T0 + 5, T0 + 1, T0 + 5)
    assert taken.frames == 4


def test_taking_a_batch_leaves_nothing_behind() -> None:
    batcher = Batcher(10, 1.0)
    batcher.add(post(), 0.0)
    batcher.add(account("takendown", "bob"), 0.0)
    batcher.take()
    again = batcher.take()
    assert len(batcher) == 0
    assert again == Taken((), (), (), (), None, None, None, 0, {})


def test_a_post_deleted_in_its_own_batch_leaves_only_the_delete_for_a_tombstone() -> None:
    taken = batch(post(rev="a"), delete(rev="b"))
    assert taken.posts == ()
    assert [d.rev for d in taken.deletes] == ["b"]


def test_a_late_creation_does_not_outrun_its_own_delete() -> None:
    taken = batch(delete(rev="b"), post(rev="a"))
    assert taken.posts == ()
    assert len(taken.deletes) == 1


def test_a_post_written_again_after_its_delete_is_kept() -> None:
    taken = batch(post(rev="a"), delete(rev="b"), post(rev="c", text="again"))
    assert [p.text for p in taken.posts] == ["again"]
    assert taken.deletes == ()


def test_an_edit_in_the_same_batch_keeps_the_minute_of_the_creation() -> None:
    taken = batch(post(rev="a", at=0), edit(rev="b", at=90_000_000))
    (kept,) = taken.posts
    assert (kept.operation, kept.text, kept.rev, kept.event_time) == ("create", "edited", "b", T0)


def test_the_same_frame_twice_is_one_post() -> None:
    taken = batch(post(), post())
    assert len(taken.posts) == 1
    assert taken.frames == 2


def test_an_older_edit_that_arrives_late_is_dropped() -> None:
    taken = batch(edit(rev="c", text="newest"), edit(rev="b", text="older"))
    assert [p.text for p in taken.posts] == ["newest"]


def test_of_several_states_of_an_account_the_latest_stays_whatever_order_they_come_in() -> None:
    states = [account("takendown", at=2), account("active", at=5), account("suspended", at=3)]
    for order in (states, states[::-1]):
        assert batch(*order).accounts == (account("active", at=5),)


def test_the_deletion_of_an_account_that_is_active_again_is_kept_with_its_last_state() -> None:
    taken = batch(account("deleted", at=2), account("active", at=5))
    assert taken.accounts == (account("deleted", at=2), account("active", at=5))


def test_of_two_states_of_one_instant_the_one_that_hides_stays() -> None:
    for order in ([account("active"), account("suspended")], [account("suspended"), account("active")]):
        assert batch(*order).accounts == (account("suspended"),)


def test_posts_and_deletes_of_an_account_that_is_gone_are_left_to_the_store() -> None:
    taken = batch(post("1", rev="a"), delete("1", rev="b"), post("2"), account("deleted"))
    assert [d.id for d in taken.deletes] == ["ann/1"]
    assert [p.id for p in taken.posts] == ["ann/2"]


class ModelStore:
    """The rules of the Postgres store, in a few lines: what a batch is checked against."""

    def __init__(self) -> None:
        self.posts: dict[str, Post] = {}
        self.tombstones: dict[str, str] = {}
        self.ends: dict[str, int] = {}
        self.states: dict[str, tuple[int, bool]] = {}

    def commit(self, posts: Sequence[Post], deletes: Sequence[Deleted], accounts: Sequence[AccountChange]) -> None:
        for account in accounts:
            self.states[account.author] = max(
                (account.event_time, account.hides), self.states.get(account.author, (-1, False))
            )
            if account.is_final:
                self.ends[account.author] = max(account.event_time, self.ends.get(account.author, -1))
                self.posts = {i: p for i, p in self.posts.items() if p.event_time > self.ends.get(p.author, -1)}
        for p in posts:
            if p.id in self.posts:
                known = self.posts[p.id]
                if known.rev < p.rev:
                    self.posts[p.id] = msgspec.structs.replace(known, rev=p.rev, text=p.text)
            elif self.tombstones.get(p.id, "") < p.rev and self.ends.get(p.author, -1) < p.event_time:
                self.posts[p.id] = msgspec.structs.replace(p, operation="create", cursor=0)
        for d in deletes:
            assert d.id is not None
            self.tombstones[d.id] = max(d.rev, self.tombstones.get(d.id, ""))
            if d.id in self.posts and self.posts[d.id].rev <= d.rev:
                del self.posts[d.id]

    def visible(self) -> dict[str, tuple[str, str]]:
        hidden = {author for author, (_, hides) in self.states.items() if hides}
        return {i: (p.text, p.rev) for i, p in self.posts.items() if p.author not in hidden}


@st.composite
def histories(draw: st.DrawFn) -> list[Decoded]:
    """What a source can send: operations on few posts, each with a rev and a time later than the one before."""
    frames: list[Decoded] = []
    alive: set[str] = set()
    dead: set[str] = set()
    for step in range(draw(st.integers(1, 20))):
        choice = draw(st.integers(0, 95))
        author, key = "ab"[choice % 2], "123"[choice % 3]
        rev, name = f"{step:03d}", f"{author}/{key}"
        if choice >= 88:
            status = draw(st.sampled_from(("active", "takendown", "deleted")))
            frames.append(account(status, author, at=step))
            ended = {n for n in alive if n.startswith(author)} if status == "deleted" else set[str]()
            alive, dead = alive - ended, dead | ended
        elif name in dead:
            continue  # no network uses the id of a withdrawn post again
        elif name not in alive:
            frames.append(post(key, author=author, rev=rev, at=step, text=f"text {step}"))
            alive.add(name)
        elif choice >= 40:
            frames.append(edit(key, author=author, rev=rev, at=step, text=f"text {step}"))
        else:
            frames.append(delete(key, author=author, rev=rev, at=step))
            alive, dead = alive - {name}, dead | {name}
    return frames


@settings(deadline=None, max_examples=200)
@given(histories(), st.sets(st.integers(0, 40), max_size=6), st.integers(0, 20))
def test_any_batching_of_any_history_leaves_what_single_frames_leave(
    frames: list[Decoded], cuts: set[int], repeated: int
) -> None:
    frames = [*frames, *frames[repeated:]]  # a resumed source sends its end again

    one_by_one = ModelStore()
    for frame in frames:
        one_by_one.commit(
            [frame] if isinstance(frame, Post) else [],
            [frame] if isinstance(frame, Deleted) else [],
            [frame] if isinstance(frame, AccountChange) else [],
        )

    batched = ModelStore()
    batcher = Batcher(1000, 1.0)
    for i, frame in enumerate(frames):
        batcher.add(frame, 0.0)
        if i in cuts:
            taken = batcher.take()
            batched.commit(taken.posts, taken.deletes, taken.accounts)
    taken = batcher.take()
    batched.commit(taken.posts, taken.deletes, taken.accounts)

    assert batched.visible() == one_by_one.visible()
    assert (batched.ends, batched.states) == (one_by_one.ends, one_by_one.states)


@given(histories().filter(bool), st.integers(1, 5))
def test_the_cursor_of_a_batch_is_the_greatest_of_its_frames(frames: list[Decoded], size: int) -> None:
    batcher = Batcher(size, 1.0)
    for frame in frames:
        batcher.add(frame, 0.0)
    assert batcher.take().cursor == max(frame.cursor or 0 for frame in frames)
