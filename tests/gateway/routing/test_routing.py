"""Shares of traffic per label."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.labels import Choice, Router
from gateway.settings import Routing

weights_of_labels = st.dictionaries(
    st.sampled_from(["stable", "canary", "shadow", "blue", "green"]), st.integers(1, 1000), min_size=1
)
KEYS = [f"customer-{number}" for number in range(40)]


def router(weights: dict[str, float]) -> Router:
    return Router(Routing(weights=weights))


@given(weights_of_labels, st.data())
def test_raising_one_weight_moves_keys_to_that_label_only(weights: dict[str, float], data: st.DataObject) -> None:
    raised = data.draw(st.sampled_from(sorted(weights)))
    more = weights | {raised: weights[raised] * data.draw(st.floats(1, 100))}
    before, after = router(weights), router(more)
    for key in KEYS:
        old, new = before.choose(key, 0).label, after.choose(key, 0).label
        assert new in (old, raised)


@given(weights_of_labels, st.text(max_size=20))
def test_a_key_gets_the_same_label_from_every_replica_whatever_the_order(weights: dict[str, float], key: str) -> None:
    assert router(weights).choose(key, 0.1) == router(dict(reversed(weights.items()))).choose(key, 0.9)


@given(weights_of_labels, st.floats(0, 1, exclude_max=True))
def test_a_label_of_weight_zero_gets_nothing(weights: dict[str, float], chance: float) -> None:
    chooser = router(weights | {"off": 0})
    assert chooser.choose(None, chance) != Choice(label="off")
    assert chooser.choose("key", chance) != Choice(label="off")


def test_shares_follow_the_weights() -> None:
    chooser = router({"stable": 90, "canary": 10})
    by_key = Counter(chooser.choose(f"key-{number}", 0).label for number in range(5_000))
    by_chance = Counter(chooser.choose(None, number / 5_000).label for number in range(5_000))
    assert 400 < by_key["canary"] < 600
    assert by_chance["canary"] == 500
