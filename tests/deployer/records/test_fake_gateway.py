"""The fake gateway of the tests answers whoever sends records as a real one does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import Behaviour, FakeGateway
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config

from deployer.records.endpoint import RecordApi
from deployer.records.files import Batch, Sample
from deployer.records.send import RecordSender, SendFailed


@dataclass(frozen=True, kw_only=True)
class Answering:
    """A gateway, records, and what it predicts for each; `exhaust` leaves it unable to predict."""

    url: str
    records: list[dict[str, Any]]
    expected: list[str]
    exhaust: Callable[[], None]

    def ask(self, work: Callable[[RecordSender, bytes], Awaitable[None]]) -> None:
        """Run `work` with a sender and one request of all records."""
        samples = tuple(Sample(record=record) for record in self.records)
        batch = Batch(indices=tuple(range(len(samples))), samples=samples)

        async def main() -> None:
            sender = RecordSender(RecordApi(urls=(self.url,), path="/v1/models/m:predict"), timeout=30)
            try:
                await work(sender, sender.payload(batch))
            finally:
                await sender.close()

        asyncio.run(main())


@pytest.fixture(params=["fake", "real"])
def answering(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Answering]:
    if request.param == "fake":
        with FakeGateway() as fake:
            yield Answering(
                url=fake.url,
                records=[{"x": number} for number in range(4)],
                expected=["0", "1", "2", "0"],
                exhaust=lambda: setattr(fake, "behaviour", Behaviour(refuse_every=1)),
            )
        return
    server = FakeModelServer()
    content = config(server.address)
    output = {"name": "y", "kind": "binary", "labels": ["low", "high"], "threshold": 0.5}
    content["models"]["m"]["specs"]["1"]["output"] = output
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    yield Answering(
        url=gateway.url,
        records=[{"a": number / 100, "b": 0} for number in (1, 9, 2, 8)],
        expected=["low", "high", "low", "high"],
        exhaust=server.stop,
    )
    assert gateway.stop() == 0
    server.stop()


def test_every_record_has_its_prediction_in_its_place(answering: Answering) -> None:
    async def work(sender: RecordSender, payload: bytes) -> None:
        assert sender.predictions(await sender.send(payload)) == answering.expected

    answering.ask(work)


def test_connections_are_kept_and_requests_at_the_same_time_are_not_mixed_up(answering: Answering) -> None:
    async def work(sender: RecordSender, payload: bytes) -> None:
        await sender.open(4)
        for _ in range(3):
            found = await asyncio.gather(*(sender.send(payload) for _ in range(8)))
            assert [sender.predictions(one) for one in found] == [answering.expected] * 8

    answering.ask(work)


def test_a_gateway_that_cannot_predict_says_so_with_503_and_a_reason(answering: Answering) -> None:
    answering.exhaust()

    async def work(sender: RecordSender, payload: bytes) -> None:
        with pytest.raises(SendFailed) as failed:
            await sender.send(payload)
        assert failed.value.code == "503"
        assert str(failed.value) != ""

    answering.ask(work)
