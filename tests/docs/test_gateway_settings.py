"""docs/reference/gateway.md has every key of gateway.yaml with its default, and every route, header and status code."""

from __future__ import annotations

import re

from markdown_pages import REFERENCE, Page
from source_code import modules, strings
from type_keys import inner, leaves

from gateway import errors
from gateway.admin import routes, server
from gateway.app import ROUTES
from gateway.settings import Settings
from gateway.spec import FeatureSpec
from tfserving.wire.status import HTTP_STATUS

PAGE = Page(REFERENCE / "gateway.md")
KEYS = leaves(Settings, closed=[FeatureSpec])
TABLE = PAGE.table("Config keys").keys()


def test_every_key_has_its_row_and_nothing_else_has() -> None:
    assert sorted(KEYS.keys() - TABLE.keys()) == []
    assert sorted(TABLE.keys() - KEYS.keys() - inner(KEYS)) == []


def test_every_default_is_that_of_the_code() -> None:
    inside_optional = {"models.<>.routing.weights"}  # `routing` may be left out, and then so are its weights
    wrong = {
        key: row["Default"].text
        for key, row in TABLE.items()
        if key not in inside_optional and not KEYS[key].fits(row["Default"].text)
    }
    assert wrong == {}


def test_every_route_has_its_row_and_every_row_responds() -> None:
    documented = PAGE.table("Routes").codes("Route")
    found = {written: {route_of(example) for example in examples(written)} for written in documented}
    assert all(len(routes) == 1 for routes in found.values()), found
    assert {route for routes in found.values() for route in routes} == set(range(len(ROUTES)))
    assert len(documented) == len(ROUTES)


def test_every_page_of_the_admin_port_has_its_row_and_every_row_responds() -> None:
    documented = PAGE.table("Admin port", first="Page").codes("Page")
    own = {server.LIVE, server.READY}
    answered = [
        {at for at, (pattern, _) in enumerate(routes.ROUTES) for page in examples(row) if pattern.fullmatch(page)}
        for row in documented
        if row not in own
    ]
    assert all(len(found) == 1 for found in answered), answered
    assert set().union(*answered) == set(range(len(routes.ROUTES)))
    assert len(documented) == len(routes.ROUTES) + len(own)
    assert own <= set(documented)


def examples(written: str) -> list[str]:
    """Request lines that a row stands for: `GET /a/M[/b/N or /c/L]` gives one without, one with each."""
    optional = re.search(r"\[(.*?)\]", written)
    if optional is None:
        return [written]
    return [written.replace(optional[0], choice) for choice in ("", *optional[1].replace("N", "1").split(" or "))]


def route_of(example: str) -> int:
    """Which entry of the application's table answers a request line; -1 for none."""
    method, _, target = example.partition(" ")
    matches = (at for at, route in enumerate(ROUTES) if route.method == method and route.pattern.fullmatch(target))
    return next(matches, -1)


def test_every_header_of_our_own_has_its_row_and_nothing_else_has() -> None:
    documented = {code for code in PAGE.table("Headers").codes() if code.startswith("x-")}
    assert documented == {
        text for module in modules("gateway") for text in strings(module.tree) if re.fullmatch(r"x-[a-z-]+", text)
    }


def test_every_status_code_of_our_own_has_its_row() -> None:
    documented = {int(cell.text) for cell in PAGE.table("Status codes").column("Code")}
    own = {kind.status for kind in errors.GatewayError.__subclasses__() if kind is not errors.FromModelServer}
    assert own <= documented
    assert documented <= own | set(HTTP_STATUS.values())
