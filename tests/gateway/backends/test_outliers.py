"""Which replicas are out of use for their latency, and for how long."""

from __future__ import annotations

from gateway.backends.choose import Backend
from gateway.backends.limit import ReplicaLimit
from gateway.backends.outliers import EJECTED_MOST, seconds_out


class FakeTransport:
    """Connected, and never called."""

    connected = True
    last_received = 0.0

    async def start(self) -> None: ...

    async def call(self, path: str, message: bytes, timeout: float) -> bytes:
        raise AssertionError("nothing is called here")

    async def close(self) -> None: ...


def replicas(*loads: float, limit: float = 1.0) -> list[Backend]:
    """Replicas with these loads, each at this limit."""
    made = []
    for at, load in enumerate(loads):
        backend = Backend(f"10.0.0.{at}:8500", FakeTransport(), ReplicaLimit(0.0, 100))
        backend.limit.load, backend.limit.value = load, limit
        made.append(backend)
    return made


def test_a_replica_that_is_much_slower_is_out_for_longer_each_time() -> None:
    slow, *others = replicas(4.0, 0.2, 0.3)
    times = [seconds_out(slow, [slow, *others], trial=True) for _ in range(7)]
    assert times == [1.0, 2.0, 4.0, 8.0, 16.0, EJECTED_MOST, EJECTED_MOST]


def test_one_that_was_fast_again_starts_from_the_first_pause() -> None:
    slow, *others = replicas(4.0, 0.2, 0.3)
    every = [slow, *others]
    assert [seconds_out(slow, every, trial=True) for _ in range(3)][-1] == 4.0
    slow.limit.load = 0.5
    assert seconds_out(slow, every, trial=True) is None
    slow.limit.load = 4.0
    assert seconds_out(slow, every, trial=True) == 1.0


def test_a_limit_that_can_still_shrink_is_given_the_time() -> None:
    every = replicas(4.0, 0.2, 0.3, limit=4.0)
    assert seconds_out(every[0], every, trial=False) is None
    assert seconds_out(every[0], every, trial=True) == 1.0


def test_what_is_slow_everywhere_takes_no_replica_out() -> None:
    every = replicas(4.0, 3.0, 5.0)
    assert [seconds_out(one, every, trial=True) for one in every] == [None] * 3


def test_at_most_half_of_them_are_out() -> None:
    every = replicas(9.0, 9.0, 9.0, 0.2)
    for one in every[:2]:
        assert seconds_out(one, [*every[:2], *replicas(0.2, 0.2)], trial=True) == 1.0
        one.ejected = True
    assert seconds_out(every[2], every, trial=True) is None


def test_the_only_replica_stays() -> None:
    (alone,) = replicas(50.0)
    assert seconds_out(alone, [alone], trial=True) is None
