"""Batching: what is merged, what is refused, and what one request does to its neighbours. No tensorflow needed."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from eventually import eventually
from google.protobuf import text_format
from numpy.typing import ArrayLike, DTypeLike

from tfserving.server.execution.batch_queue import Scheduler
from tfserving.server.execution.batching import Batching
from tfserving.server.execution.servable import Runner
from tfserving.server.metrics import Metrics
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code, StatusError
from tfserving.wire.tensor import Tensor


class FakeModel:
    """A runner that returns y = 2x, notes the inputs of every run, and can be held up."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.timeouts: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Semaphore(0)
        self.closed = False

    def run(
        self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_ms: int, *, only_if_quick: bool = False
    ) -> list[Tensor]:
        self.runs.append({name: tensor.array.tolist() for name, tensor in feeds.items()})
        self.timeouts.append(timeout_ms)
        self.entered.release()
        assert self.go.wait(20)
        array = feeds["x:0"].array
        if (array < 0).any():
            raise StatusError(Code.INVALID_ARGUMENT, "must be positive")
        return [Tensor.of(array * 2) if name == "y:0" else Tensor.of(array.sum()) for name in fetches]

    def close(self) -> None:
        self.closed = True


class Batched(Protocol):
    """Puts the fake model behind a batching configuration given as text."""

    def __call__(self, text: str, threads: int = 1) -> Runner: ...


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def batched(model: FakeModel, metrics: Metrics) -> Batched:

    def wrap(text: str, threads: int = 1) -> Runner:
        parameters = text_format.Parse(text, m.BatchingParameters())
        return Batching(Scheduler(threads), metrics, parameters, per_model=False)("/models/m/1", model)

    return wrap


def ask(
    runner: Runner,
    *rows: object,
    timeout_ms: int = 0,
    fetches: Sequence[str] = ("y:0",),
    dtype: DTypeLike = np.float32,
) -> list[Any]:
    outputs = runner.run({"x:0": Tensor.of(np.array(rows, dtype))}, fetches, timeout_ms)
    return [output.array.tolist() for output in outputs]


def together(runner: Runner, *requests: Sequence[object]) -> list[Any]:
    """Send requests from one thread each; their responses, or the StatusError each got."""

    def one(rows: Sequence[object]) -> object:
        try:
            return ask(runner, *rows)[0]
        except StatusError as error:
            return error

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(one, requests))


LONG_WAIT = "batch_timeout_micros { value: 600000000 } "
"""Batches run when they are full, not when time is up."""


def test_concurrent_requests_run_as_one_and_each_gets_its_rows(batched: Batched, model: FakeModel) -> None:
    runner = batched(LONG_WAIT + "max_batch_size { value: 6 }")
    answers = together(runner, [1], [2, 3], [4, 5, 6])
    assert answers == [[2], [4, 6], [8, 10, 12]]
    assert [sorted(run["x:0"]) for run in model.runs] == [[1, 2, 3, 4, 5, 6]]


def test_a_batch_runs_when_its_time_is_up(batched: Batched, model: FakeModel) -> None:
    runner = batched("batch_timeout_micros { value: 20000 } max_batch_size { value: 100 }")
    assert ask(runner, 1) == [[2]]
    assert len(model.runs) == 1


def test_other_outputs_are_another_queue(batched: Batched, model: FakeModel) -> None:
    runner = batched("max_batch_size { value: 4 }")
    with pytest.raises(StatusError, match="Batched output tensor has 0 dimensions"):
        ask(runner, 1, fetches=("y:0", "sum:0"))
    assert ask(runner, 1, fetches=("y:0",)) == [[2]]


def test_batches_are_padded_to_an_allowed_size_with_the_last_request(batched: Batched, model: FakeModel) -> None:
    runner = batched("max_batch_size { value: 8 } allowed_batch_sizes: 4 allowed_batch_sizes: 8")
    assert ask(runner, 7, 9) == [[14, 18]]
    assert model.runs[0]["x:0"] == [7, 9, 7, 7]


def test_different_widths_fail_all_members_unless_padding_is_on(batched: Batched, model: FakeModel) -> None:
    for answer in together(batched(LONG_WAIT + "max_batch_size { value: 2 }"), [[1, 2]], [[1, 2, 3]]):
        assert answer.code is Code.FAILED_PRECONDITION
        assert "padding is turned off" in answer.message
    padding = batched(LONG_WAIT + "max_batch_size { value: 2 } pad_variable_length_inputs: true")
    assert together(padding, [[5, 6]], [[7, 8, 9]]) == [[[10, 12, 10]], [[14, 16, 18]]]


def test_inputs_of_different_rank_are_refused_with_padding_on(batched: Batched) -> None:
    runner = batched(LONG_WAIT + "max_batch_size { value: 2 } pad_variable_length_inputs: true")
    assert {answer.code for answer in together(runner, [1], [[1, 2]])} == {Code.FAILED_PRECONDITION}


def test_with_padding_on_a_request_has_up_to_six_dimensions_also_alone(batched: Batched) -> None:
    runner = batched("pad_variable_length_inputs: true")
    assert np.shape(ask(runner, [[[[[1]]]]])) == (1, 1, 1, 1, 1, 1, 1)
    with pytest.raises(StatusError, match="Only tensors with rank from 1 to 6 can be padded"):
        ask(runner, [[[[[[1]]]]]])


def test_only_an_empty_tensor_that_would_have_to_grow_is_refused(batched: Batched) -> None:
    padding = LONG_WAIT + "max_batch_size { value: 2 } pad_variable_length_inputs: true"
    assert together(batched(padding), [[[], []]], [[[]]]) == [[[[], []]], [[[], []]]]
    assert {answer.message for answer in together(batched(padding), [[]], [[1]])} == {
        "Got empty tensor in batch of non-empty tensors."
    }


def test_one_bad_value_fails_its_whole_batch_and_nothing_after_it(batched: Batched) -> None:
    runner = batched(LONG_WAIT + "max_batch_size { value: 2 }")
    assert [answer.message for answer in together(runner, [1], [-1])] == ["must be positive"] * 2
    assert together(runner, [1], [2]) == [[2], [4]]


def test_metrics_count_rows_of_requests_and_runs_of_batches(model: FakeModel) -> None:
    metrics = Metrics()
    parameters = text_format.Parse(LONG_WAIT + "max_batch_size { value: 3 }", m.BatchingParameters())
    runner = Batching(Scheduler(1), metrics, parameters, per_model=False)("/models/m/1", model)
    together(runner, [1], [2, 3])
    together(runner, [-1], [2, 3])
    together(runner, [[1]], [[2, 3], [4, 5]])
    page = metrics.text()
    prefix = ":tensorflow:serving:batching_session:"
    assert f"{prefix}input_batch_size_count{{}} 6\n" in page, "of every request"
    assert f"{prefix}input_batch_size_sum{{}} 9\n" in page
    assert f"{prefix}processed_batch_size_count{{}} 3\n" in page, "also of what could not be merged"
    assert f"{prefix}wrapped_run_count{{}} 2\n" in page, "also of a run that failed"


def test_zero_rows_do_not_wait_for_company(batched: Batched) -> None:
    assert ask(batched(LONG_WAIT + "max_batch_size { value: 2 }")) == [[]]


@pytest.mark.parametrize(
    ("feeds", "text"),
    [
        ({}, "must have at least one input tensor"),
        ({"x:0": np.float32(1)}, "must have at least one dimension"),
        ({"x:0": np.ones(2), "z:0": np.ones(3)}, "must have equal 0th-dimension size"),
        ({"x:0": np.ones(5)}, "Task size 5 is larger than maximum input batch size 4"),
    ],
)
def test_what_cannot_be_batched_is_refused(batched: Batched, feeds: dict[str, ArrayLike], text: str) -> None:
    runner = batched("max_batch_size { value: 4 }")
    with pytest.raises(StatusError, match=text) as caught:
        runner.run({name: Tensor.of(np.asarray(array)) for name, array in feeds.items()}, ["y:0"], 0)
    assert caught.value.code is Code.INVALID_ARGUMENT


def in_background(runner: Runner, *rows: object, timeout_ms: int = 0) -> Future[list[Any]]:
    future: Future[list[Any]] = Future()

    def work() -> None:
        try:
            future.set_result(ask(runner, *rows, timeout_ms=timeout_ms))
        except StatusError as error:
            future.set_exception(error)

    threading.Thread(target=work).start()
    return future


def test_a_full_queue_refuses_and_the_queued_are_served(batched: Batched, model: FakeModel) -> None:
    runner = batched("max_batch_size { value: 1 } max_enqueued_batches { value: 1 }")
    model.go.clear()
    running = in_background(runner, 1)
    assert model.entered.acquire(timeout=10)
    others = [in_background(runner, 2), in_background(runner, 2)]  # one takes the only place, the other is refused
    (refused,) = wait(others, 10, FIRST_COMPLETED).done
    model.go.set()
    with pytest.raises(StatusError, match="currently 1 batches enqueued and max_enqueued_batches is 1") as caught:
        refused.result()
    assert caught.value.code is Code.UNAVAILABLE
    assert running.result(10) == [[2]]
    assert [other.result(10) for other in others if other is not refused] == [[[4]]]


def test_requests_that_expired_in_the_queue_never_run(batched: Batched, model: FakeModel, metrics: Metrics) -> None:
    runner = batched("max_batch_size { value: 1 }")
    model.go.clear()
    running = in_background(runner, 1)
    assert model.entered.acquire(timeout=10)
    late = in_background(runner, 2, timeout_ms=30)
    asked = ":tensorflow:serving:batching_session:input_batch_size_count{} 2"
    eventually(lambda: asked in metrics.text(), "the second request is in the queue")
    time.sleep(0.1)  # its time runs out there
    model.go.set()
    assert running.result(10) == [[2]]
    with pytest.raises(StatusError, match="timeout exceeded while waiting in batching queue") as caught:
        late.result(10)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert len(model.runs) == 1


def test_large_requests_are_split_and_put_together_again(batched: Batched, model: FakeModel) -> None:
    runner = batched(
        "max_batch_size { value: 10 } enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 4 } max_enqueued_batches { value: 3 }"
    )
    assert ask(runner, *range(10)) == [[2 * n for n in range(10)]]
    assert [len(run["x:0"]) for run in model.runs] == [4, 4, 2]
    with pytest.raises(StatusError, match="larger than maximum input batch size 10"):
        ask(runner, *range(11))


def test_batch_threads_run_at_the_same_time(batched: Batched, model: FakeModel) -> None:
    runner = batched("max_batch_size { value: 1 }", threads=2)
    model.go.clear()
    both = [in_background(runner, 1), in_background(runner, 2)]
    assert model.entered.acquire(timeout=10)
    assert model.entered.acquire(timeout=10)
    model.go.set()
    assert sorted(one.result(10) for one in both) == [[[2]], [[4]]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size must be positive"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must not be negative"),
        ("allowed_batch_sizes: 4", "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4"),
        (
            "max_batch_size { value: 4 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 8 }",
            "max_execution_batch_size must be at most max_batch_size",
        ),
    ],
)
def test_sizes_that_contradict_each_other_fail_the_load(batched: Batched, text: str, problem: str) -> None:
    with pytest.raises(StatusError, match=problem):
        batched(text)


def test_a_version_without_its_own_file_is_not_batched(model: FakeModel, tmp_path: Path) -> None:
    batching = Batching(Scheduler(1), Metrics(), m.BatchingParameters(), per_model=True)
    assert batching(str(tmp_path), model) is model
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    with pytest.raises(StatusError, match="larger than maximum input batch size 2"):
        ask(batching(str(tmp_path), model), 1, 2, 3)
