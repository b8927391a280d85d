"""Overload in simulated time: real admission, real pool, replicas whose capacity is known."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

import pytest
from simulated import SimulatedReplica, simulate

from gateway import settings
from gateway.backends.objective import Objectives
from gateway.backends.pool import Pool
from gateway.errors import DeadlinePassed, GatewayError, Unavailable
from gateway.guard.admission import HIGH, LOW, NORMAL, Admission
from gateway.observe.metrics import Metrics
from tfserving.wire import methods

OBJECTIVE = 0.1
SERVICE = 0.01
"""Seconds of one call: a replica with one worker serves 100 a second."""


@dataclass
class Seen:
    """What became of the requests of one kind."""

    latencies: list[float] = field(default_factory=list)
    refused: list[GatewayError] = field(default_factory=list)
    refusal_seconds: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        return sorted(self.latencies)[int(share * len(self.latencies))]


class World:
    """A gateway's pool and admission before simulated replicas."""

    def __init__(self, *replicas: SimulatedReplica, queue: int = 10_000, timeout: float = 10.0) -> None:
        self.replicas = {f"r{number}:1": replica for number, replica in enumerate(replicas)}
        self.random = Random(7)
        self.time = asyncio.get_running_loop().time
        self.timeout = timeout
        self.objectives = Objectives(OBJECTIVE * 1000, timeout / 2)
        self.pool = Pool(
            connect=self.replicas.__getitem__,
            resolve=unresolved,
            metrics=Metrics(),
            objectives=self.objectives,
            most=256,
            chance=self.random.random,
        )
        self.admission = Admission(
            places=self.pool.places,
            objective=self.objectives.of,
            most=256,
            queue=queue,
            chance=self.random.random,
            time=self.time,
        )
        self.pool.pressed = lambda: self.admission.pressed

    async def start(self) -> None:
        await self.pool.configure(settings.Backends(static=list(self.replicas)))

    async def request(self, seen: Seen, model: str = "m", priority: int = NORMAL, timeout: float | None = None) -> None:
        arrived = self.time()
        deadline = arrived + (timeout or self.timeout)
        try:
            entered = await self.admission.enter(model, deadline, priority)
        except (Unavailable, DeadlinePassed) as error:
            seen.refused.append(error)
            seen.refusal_seconds.append(self.time() - arrived)
            return
        try:
            await self.pool.call(methods.PREDICT, b"", deadline, (model, None))
        finally:
            self.admission.leave(model, entered)
        seen.latencies.append(self.time() - arrived)

    async def load(self, rate: float, seconds: float, model: str = "m", priority: int = NORMAL) -> Seen:
        """Poisson arrivals; returns when all have been answered."""
        seen, until = Seen(), self.time() + seconds
        async with asyncio.TaskGroup() as tasks:
            while self.time() < until:
                tasks.create_task(self.request(seen, model, priority))
                await asyncio.sleep(self.random.expovariate(rate))
        return seen


async def unresolved(host: str, port: int) -> tuple[str, ...]:
    raise AssertionError("nothing is to be resolved")


@pytest.mark.parametrize("times", [1.3, 3.0, 6.0])
@pytest.mark.parametrize("workers", [1, 8])
def test_goodput_stays_and_admitted_requests_keep_their_latency(times: float, workers: int) -> None:
    async def work() -> None:
        world = World(*(SimulatedReplica(SERVICE * workers / 2, workers) for _ in range(2)))
        capacity = 2 * 2 / SERVICE
        await world.start()
        await world.load(capacity * times, 2)  # finds the limits
        seen = await world.load(capacity * times, 20)
        assert len(seen.latencies) >= 0.9 * capacity * 20
        assert seen.percentile(0.99) <= 2 * OBJECTIVE
        quick = sorted(seen.refusal_seconds)
        assert quick[int(0.99 * len(quick))] <= 0.01
        retry_after = {error.retry_after for error in seen.refused}
        assert len(retry_after) > 1, "clients are spread"
        await asyncio.sleep(2)
        after = await world.load(capacity * 0.3, 5)
        assert after.percentile(0.5) < 1.5 * SERVICE * workers / 2
        assert not after.refused

    simulate(work())


def test_below_capacity_nothing_is_refused() -> None:
    async def work() -> None:
        world = World(SimulatedReplica(SERVICE), SimulatedReplica(SERVICE))
        await world.start()
        seen = await world.load(0.7 * 200, 60)
        assert not seen.refused
        assert seen.percentile(0.99) <= OBJECTIVE

    simulate(work())


def test_one_slow_replica_of_three_is_hardly_used() -> None:
    async def work() -> None:
        fast, slow = [SimulatedReplica(SERVICE), SimulatedReplica(SERVICE)], SimulatedReplica(SERVICE * 40)
        world = World(*fast, slow)
        await world.start()
        await world.load(250, 3)
        seen = await world.load(250, 30)
        assert len(seen.latencies) >= 0.9 * 200 * 30
        assert seen.percentile(0.99) <= 2 * OBJECTIVE

    simulate(work())


def test_a_replica_that_recovers_is_used_again() -> None:
    async def work() -> None:
        replicas = [SimulatedReplica(SERVICE) for _ in range(3)]
        world = World(*replicas)
        replicas[2].seconds = SERVICE * 40
        await world.start()
        await world.load(250, 5)
        replicas[2].seconds = SERVICE
        await world.load(250, 40)
        before = replicas[2].served
        await world.load(250, 5)
        assert replicas[2].served - before > 300

    simulate(work())


def test_when_all_replicas_are_slow_none_is_taken_out_of_use() -> None:
    async def work() -> None:
        world = World(*(SimulatedReplica(SERVICE * 40) for _ in range(3)))
        await world.start()
        await world.load(5, 20)
        assert [backend.state for backend in world.pool.backends] == ["ready"] * 3

    simulate(work())


def test_a_full_replica_is_not_passed_on_to_the_client() -> None:
    async def work() -> None:
        replicas = [SimulatedReplica(SERVICE, room=4) for _ in range(2)]
        world = World(*replicas)
        await world.start()
        seen = await world.load(600, 20)  # an RpcError would end the test
        assert len(seen.latencies) >= 0.9 * 200 * 20
        refusals = sum(replica.refusals for replica in replicas)
        assert refusals < 0.1 * len(seen.latencies), "the limits learn where the room ends"

    simulate(work())


def test_a_flood_for_one_model_leaves_the_other_its_share() -> None:
    async def work() -> None:
        world = World(SimulatedReplica(SERVICE), SimulatedReplica(SERVICE))
        await world.start()
        flood = asyncio.create_task(world.load(1000, 20, "loud"))
        await asyncio.sleep(2)
        quiet = await world.load(50, 15, "quiet")
        await flood
        assert len(quiet.refused) <= 0.02 * len(quiet.latencies)

    simulate(work())


def test_urgent_requests_come_first() -> None:
    async def work() -> None:
        world = World(SimulatedReplica(SERVICE), SimulatedReplica(SERVICE))
        await world.start()
        flood = asyncio.create_task(world.load(600, 20, priority=LOW))
        await asyncio.sleep(2)
        urgent = await world.load(50, 15, priority=HIGH)
        rest = await flood
        assert not urgent.refused
        assert urgent.percentile(0.5) < rest.percentile(0.5)

    simulate(work())


def test_what_cannot_finish_in_time_is_rejected_at_once() -> None:
    async def work() -> None:
        world = World(SimulatedReplica(SERVICE))
        await world.start()
        flood = asyncio.create_task(world.load(400, 10))
        await asyncio.sleep(2)
        seen = Seen()
        for _ in range(20):
            await world.request(seen, timeout=0.02)
            await asyncio.sleep(0.2)
        await flood
        assert {error.reason for error in seen.refused} <= {"deadline", "queue_time", ""}
        assert sum(error.status == 503 for error in seen.refused) >= 15
        assert sorted(seen.refusal_seconds)[10] == 0.0

    simulate(work())


def test_a_canary_that_is_slow_by_nature_takes_no_place_from_the_others() -> None:
    async def work() -> None:
        replicas = [SimulatedReplica(SERVICE, workers=32) for _ in range(3)]
        world = World(*replicas)
        await world.start()

        async def call(choice: str, seconds: float, seen: Seen) -> None:
            began = world.time()
            try:
                entered = await world.admission.enter("m", began + 5)
            except Unavailable as error:
                seen.refused.append(error)
                return
            for replica in replicas:
                replica.seconds = seconds  # a call takes what is set when it begins: nothing else runs in between
            await world.pool.call(methods.PREDICT, b"", began + 5, ("m", choice))
            world.admission.leave("m", entered)
            seen.latencies.append(world.time() - began)

        stable, canary = Seen(), Seen()
        async with asyncio.TaskGroup() as tasks:
            for number in range(4000):
                slow = number % 2 == 1
                tasks.create_task(
                    call("canary" if slow else "stable", 0.15 if slow else SERVICE, canary if slow else stable)
                )
                await asyncio.sleep(world.random.expovariate(100))
        assert not stable.refused
        assert not canary.refused
        assert world.pool.places() >= 16

    simulate(work())
