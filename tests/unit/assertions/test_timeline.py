"""Windows of a timeline, whole and partial observations mixed: as the definition says, also after pruning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from assertions import Observation, Registry, Window, assertion
from assertions.core.definition import Member
from assertions.core.timeline import Entry, Timeline


def entry(n: int, time: float, *, is_complete: bool) -> Entry:
    seen = Observation("p", ("s",), (n,), serial=f"0:{n:03}", path="", time=time, is_complete=is_complete)
    return Entry(Member(seen), True, "k")


@given(
    steps=st.lists(st.tuples(st.sampled_from([0.0, 1.0, 5.0]), st.booleans() | st.just(value=True)), max_size=25),
    count=st.none() | st.integers(1, 4),
    within=st.sampled_from([3.0, 20.0]),
    removed=st.sets(st.integers(0, 24), max_size=3),
    until=st.floats(0, 60),
)
def test_a_window_holds_the_last_complete_ones_that_are_near(
    steps: list[tuple[float, bool]], count: int | None, within: float, removed: set[int], until: float
) -> None:
    made = assertion(on="p.s", name="a", window=count, within=within, per=lambda v: "k", registry=Registry())(
        lambda value, recent: 0
    )
    line, entries, time = Timeline(), list[Entry](), 0.0
    for n, (pause, is_complete) in enumerate(steps):
        time += pause
        entries.append(entry(n, time, is_complete=is_complete))
        line.insert(entries[-1])
    for n in sorted(removed):
        if n < len(steps):
            line.remove(entries[n])
    kept = [each for n, each in enumerate(entries) if n not in removed]

    def window(at: int) -> list[Member]:
        near = [e.member for e in kept[:at] if e.observation.is_complete and kept[at].time - e.time <= within]
        return near if count is None else near[-count:]

    assert [list(line.before(each, made)) for each in kept] == [window(at) for at in range(len(kept))]
    finished, _ = line.finish(until, 0.0)
    assert finished == [each for each in kept if each.time < until]
    dropped = line.prune(until, made)
    assert kept == dropped + line.entries
    assert line.partials == sum(not each.observation.is_complete for each in line.entries)
    for at in range(len(finished), len(kept)):
        assert list(line.before(kept[at], made)) == window(at), "what a window holds was dropped"


def test_a_window_tells_its_times_when_asked() -> None:
    window = Window(["a", "b"], lambda: [1.0, 2.0])
    assert (list(window.times), window.times[1]) == ([1.0, 2.0], 2.0)
