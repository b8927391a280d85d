"""gateway.yaml: what is accepted, and that every mistake names its path."""

from __future__ import annotations

import pytest

from gateway.settings import SettingsError, parse_settings, settings_hash

GOOD = """
version: v1
models:
  digits:
    labels: {stable: 1, canary: 2}
    routing: {weights: {stable: 95, canary: 5}, sticky: {metadata: customer_id}}
backends: {static: ["127.0.0.1:8500"], refresh_seconds: 5}
limits: {max_records: 100}
rates: {base: USD, table: {EUR: 0.9}}
"""


MONEY = """  loan:
    specs:
      2:
        features: [{name: income, type: float, currency: {field: code, to: EUR}}]
        input: {name: x, dtype: float32, shape: [-1, 1]}
        output: {name: y, kind: regression}
"""


def test_a_complete_file_is_read_and_the_rest_has_defaults() -> None:
    settings = parse_settings(GOOD)
    digits = settings.models["digits"]
    assert digits.routing is not None
    assert digits.routing.weights == {"stable": 95.0, "canary": 5.0}
    assert (settings.limits.max_records, settings.limits.timeout_ms) == (100, 10_000)
    assert not settings.batching.enabled


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ("", "currency needs a table of exchange rates; set rates in the gateway's config"),
        ("rates: {base: USD, table: {JPY: 150}}", "currency 'EUR' is not in the rate table; it has JPY, USD"),
    ],
)
def test_a_spec_with_money_needs_rates_with_its_currency(rates: str, message: str) -> None:
    text = GOOD.replace("rates: {base: USD, table: {EUR: 0.9}}", rates).replace("models:\n", f"models:\n{MONEY}")
    with pytest.raises(SettingsError) as raised:
        parse_settings(text)
    assert str(raised.value) == f"models.loan.specs.2.features: income: {message}"


def test_the_hash_follows_the_bytes() -> None:
    assert settings_hash(GOOD) != settings_hash(GOOD + "#")


SPEC = """
    specs:
      2:
        features: [{name: income, type: float}]
        input: {name: x, dtype: float32, shape: [-1, 1]}
        output: {name: y, kind: regression}
"""


def test_a_feature_spec_travels_in_the_file() -> None:
    settings = parse_settings(GOOD.replace("\nbackends", SPEC + "backends"))
    assert settings.models["digits"].specs["2"].features[0].name == "income"


def test_a_mistake_in_a_feature_spec_names_model_and_version() -> None:
    with pytest.raises(SettingsError, match=r"models.digits.specs.2.features\[0\].*unknown key 'nam'"):
        parse_settings(GOOD.replace("\nbackends", SPEC.replace("name: income", "nam: income") + "backends"))


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("max_records", "max_recods", "limits: unknown key 'max_recods'; did you mean 'max_records'?"),
        ("labels:", "label:", "models.digits: unknown key 'label'"),
        ("canary: 5}", "beta: 5}", "models.digits.routing.weights: 'beta'"),
        ("stable: 95, canary: 5", "stable: 0, canary: 0", "models.digits.routing.weights: at least one"),
        ("canary: 5}", "canary: .inf}", "models.digits.routing.weights: at least one"),
        ("canary: 5}", "canary: -5}", "models.digits.routing.weights[...]: Expected float >= 0.0"),
        ("{metadata: customer_id}", "{metadata: a, header: b}", "models.digits.routing.sticky: exactly one"),
        ('static: ["127.0.0.1:8500"], ', "", "backends: exactly one"),
        ("refresh_seconds: 5", "hedge: {max_share: 0.1}", "backends.hedge: exactly one"),
        ("refresh_seconds: 5", "hedge: {after_ms: 5, after_quantile: 0.9}", "backends.hedge: exactly one"),
        ("refresh_seconds: 5", "hedge: {after_ms: 5, max_share: 0.9}", "backends.hedge.max_share"),
        ("127.0.0.1:8500", "127.0.0.1", "backends: expected HOST:PORT, got '127.0.0.1'"),
        ('["127.0.0.1:8500"]', "[]", "backends.static: at least one"),
        ("table: {EUR: 0.9}", "", "rates: exactly one"),
        ("EUR: 0.9", "EUR: 0", "rates.table[...]: Expected float > 0.0"),
        ("version: v1", "version: v2", "version: Invalid enum value 'v2'"),
        ("stable: 1", "stable: one", "models.digits.labels[...]: Expected int"),
    ],
)
def test_every_mistake_names_its_path(old: str, new: str, path: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_settings(GOOD.replace(old, new))
    assert path in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "version: [", "models: {a: 1}", "\x00"])
def test_a_file_that_is_no_config_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_settings(text)


def test_a_lookup_needs_its_store_and_a_store_one_place() -> None:
    spec = SPEC.replace("output:", "lookup: {key: id, features: [income], on_miss: error}\n        output:")
    with pytest.raises(SettingsError, match=r"models\.digits\.specs\.2\.lookup\.store: there is no store 'default'"):
        parse_settings(GOOD.replace("    routing:", f"{spec.strip(chr(10))}\n    routing:"))
    with pytest.raises(SettingsError, match=r"stores\.a: exactly one of redis and sqlite is needed"):
        parse_settings(GOOD + "stores: {a: {}}\n")
