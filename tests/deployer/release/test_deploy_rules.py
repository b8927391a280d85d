"""Rules of a deployment that need no cluster: memory, waiting, the shape of a smoke Predict, the command line."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from partial_target import PartialTarget

from deployer.cli.__main__ import main
from deployer.errors import TargetError, WaitTimeout
from deployer.release import memory, smoke
from deployer.targets.base import HttpReply
from deployer.targets.waiting import until_nothing

MIB = 2**20


def test_memory_covers_two_of_the_largest_model_and_one_of_each_other() -> None:
    sizes = {"large": 400 * MIB, "small": 100 * MIB}

    assert memory.needed(sizes) == (600 + 1000 + 100) * MIB
    assert memory.problem(1700 * MIB, sizes) == ""
    said = memory.problem(1699 * MIB, sizes)
    assert said == (
        "1699 Mi is below 1700 Mi: 600 Mi for the server, 2.5 × 400 Mi of large, 100 Mi for the other models"
    )


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_wait_that_runs_out_names_what_was_missing_and_why() -> None:
    clock, said = Clock(), list[str]()

    with pytest.raises(WaitTimeout) as failed:
        until_nothing(
            lambda: [f"pod {number} is not ready" for number in range(7)],
            what="all pods ready",
            deadline=20,
            progress=said.append,
            explain=lambda: "an event",
            clock=clock,
            sleep=clock.sleep,
        )

    assert "timed out after 20 s waiting for all pods ready (pod 0 is not ready;" in failed.value.message
    assert "and 2 more" in failed.value.message
    assert failed.value.cause == "an event"
    assert len(said) == 1, "the same sentence is not repeated every few seconds"


def test_two_sentences_that_alternate_are_printed_once_each() -> None:
    clock, said = Clock(), list[str]()

    with pytest.raises(WaitTimeout):
        until_nothing(
            lambda: ["ErrImagePull" if clock.now % 14 < 7 else "ImagePullBackOff"],
            what="a pod",
            deadline=100,
            progress=said.append,
            clock=clock,
            sleep=clock.sleep,
        )

    assert [line.partition(";")[0] for line in said] == [
        "waiting for a pod: ErrImagePull",
        "waiting for a pod: ImagePullBackOff",
    ]
    assert all(line.endswith(" s more") and "; at most " in line for line in said)


def test_a_wait_ends_as_soon_as_nothing_is_missing_and_asks_for_no_explanation() -> None:
    clock, answers = Clock(), iter([["a"], ["a"], []])

    until_nothing(
        lambda: next(answers),
        what="it",
        deadline=20,
        progress=lambda _: None,
        explain=lambda: pytest.fail("asked"),
        clock=clock,
        sleep=clock.sleep,
    )

    assert clock.now < 1


class FakePlace(PartialTarget):
    """A gateway that describes one model and answers with `predict`."""

    def __init__(self, predict: HttpReply) -> None:
        self.predict = predict
        self.posted: list[tuple[str, object]] = []

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        shape = {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False}
        signature = {"inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": "x:0"}}, "outputs": {}}
        described = {"signature_def": {"signature_def": {"serving_default": signature}}}
        spec = {"name": "m", "signature_name": "", "version": "3"}
        return HttpReply(status=200, body=json.dumps({"model_spec": spec, "metadata": described}).encode())

    def post(self, name: str, path: str, body: bytes, *, timeout: float) -> HttpReply:
        self.posted.append((path, msgspec.json.decode(body)))
        return self.predict


def test_a_smoke_predict_sends_zeros_of_the_shape_that_the_signature_declares() -> None:
    place = FakePlace(HttpReply(status=200, body=b'{"outputs": [[1]]}'))

    answered = smoke.smoke(place, "gateway", "m", "stable", signature="serving_default")

    assert (answered.version, answered.refused) == (3, "")
    path, body = place.posted[0]
    assert path == "/v1/models/m/labels/stable:predict"
    assert body == {"signature_name": "serving_default", "inputs": {"x": [[0, 0]]}}


def test_a_model_that_refuses_zeros_was_reached_and_a_failing_one_was_not() -> None:
    refusing = FakePlace(HttpReply(status=400, body=b'{"error": "not a JPEG"}'))
    failing = FakePlace(HttpReply(status=503, body=b'{"error": "no backend"}'))

    assert smoke.smoke(refusing, "g", "m", "stable", signature="serving_default").refused == "not a JPEG"
    with pytest.raises(TargetError, match="503") as failed:
        smoke.smoke(failing, "g", "m", "stable", signature="serving_default")
    assert failed.value.cause == "no backend"
    with pytest.raises(TargetError, match="no signature other"):
        smoke.smoke(failing, "g", "m", "stable", signature="other")


def test_cluster_options_are_refused_for_a_local_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deployer.yaml").write_text("release: demo\nstore: models\nmodels: [m]\n")

    code = main(["status", "-f", str(tmp_path / "deployer.yaml"), "-n", "ns"])

    assert code == 2
    assert "--target cluster" in capsys.readouterr().err


def test_a_context_that_does_not_exist_is_named_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deployer.yaml").write_text("release: demo\nstore: models\nmodels: [m]\n")
    (tmp_path / "config").write_text("apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n")

    code = main(
        [
            *("status", "-f", str(tmp_path / "deployer.yaml"), "--target", "cluster"),
            *("--kubeconfig", str(tmp_path / "config"), "--context", "nowhere"),
        ]
    )

    said = capsys.readouterr().err
    assert code == 6
    assert "nowhere" in said
    assert "kubectl config get-contexts" in said
