"""Every metric of gateway and model server stands in its table with type and labels, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from markdown_pages import REFERENCE, Cell, Page
from source_code import calls, keyword, modules, strings

from gateway.active import activate
from gateway.backends.retry import REPEATABLE
from gateway.gateway import Gateway
from tfserving.server import metrics as model_server

GATEWAY = Page(REFERENCE / "gateway.md").table("Metrics").keys()
MODEL_SERVER = Page(REFERENCE / "metrics.md").table("Model server").keys()
NOT_COUNTED = (
    "gateway/app.py",
    "gateway/api/admin.py",
    "gateway/api/v2/models.py",
    "gateway/admin/routes.py",
    *(f"gateway/guard/access/{name}.py" for name in ("caller", "door", "tokens")),
)
"""Answer what is no prediction request, and so appears in no metric of requests."""


@pytest.fixture(scope="module")
def gateway() -> Gateway:
    """A gateway with its metrics, never started."""

    async def made() -> Gateway:
        return Gateway(activate("{version: v1, models: {}, backends: {static: ['localhost:1']}}", None))

    return asyncio.run(made())


def test_every_metric_of_the_gateway_has_its_row_and_nothing_else_has(gateway: Gateway) -> None:
    assert described(GATEWAY) == {metric.name: (metric.kind, metric.labels) for metric in gateway.metrics.families}


def test_every_metric_of_the_model_server_has_its_row_and_nothing_else_has() -> None:
    assert described(MODEL_SERVER) == {
        family.exposed_name: (family.kind, family.labels) for family in model_server.Metrics().families
    }


def described(table: dict[str, dict[str, Cell]]) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {name: (row["Type"].text, row["Labels"].codes) for name, row in table.items()}


def test_the_exposition_begins_with_the_names_of_the_table(gateway: Gateway) -> None:
    lines = gateway.metrics.render().decode().splitlines()
    assert [line.split()[2] for line in lines if line.startswith("# TYPE")] == list(GATEWAY)
    lines = model_server.Metrics().text().splitlines()
    assert {line.split()[2] for line in lines} == MODEL_SERVER.keys()


def values_of_labels(gateway: Gateway) -> Iterator[tuple[str, set[str]]]:
    """What the labels can be whose values are chosen by the code, by metric."""
    yield "gateway_retries_total", {fault.value for fault in REPEATABLE}
    yield "gateway_backends", {state for (state,) in gateway._backend_states()}
    reasons = {text for module in modules("gateway") for call in calls(module) for text in keyword(call, "reason")}
    yield "gateway_shed_total", added("shed") | reasons
    denials = {text for module in modules("gateway") for call in calls(module) for text in keyword(call, "denied")}
    yield "gateway_denied_total", denials
    yield "gateway_config_reloads_total", added("reloads")
    yield "gateway_shadow_records_total", added("shadow")
    yield (
        "gateway_stage_seconds",
        {text for module in modules("gateway") for call in calls(module, "trace.mark") for text in strings(call)},
    )
    yield (
        "gateway_errors_total",
        {
            text
            for module in modules("gateway")
            if module.path not in NOT_COUNTED
            for call in calls(module)
            for text in keyword(call, "stage")
        },
    )


def added(name: str) -> set[str]:
    """The texts with which a counter is counted up."""
    return {
        text
        for module in modules("gateway")
        for call in calls(module, f"{name}.add")
        for argument in call.args
        for text in strings(argument)
    }


def test_the_values_of_labels_stand_in_the_row(gateway: Gateway) -> None:
    for name, values in values_of_labels(gateway):
        assert values, name
        assert set(GATEWAY[name]["Meaning"].codes) == values, name
