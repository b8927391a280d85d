"""Which directories are versions, which of them are wanted, and what the manager does next."""

import pytest
from google.protobuf import text_format

from tfserving.server.versions.policy import Action, Phase, Snapshot, choose, next_action, version_number
from tfserving.wire import messages_pb2 as m


@pytest.mark.parametrize(
    ("name", "number"),
    [("7", 7), ("0002", 2), ("+7", 7), (" 9 ", 9), ("-5", -5), ("0", 0)]
    + [(name, None) for name in ("", "v1", "3.0", "0x5", "1_0", "99999999999999999999", ".tmp-9", "²", "1 2")],
)
def test_any_directory_named_as_an_integer_is_a_version(name: str, number: int | None) -> None:
    assert version_number(name) == number


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("", {10: "10"}),
        ("latest { num_versions: 2 }", {9: "009", 10: "10"}),
        ("latest { num_versions: 0 }", {10: "10"}),
        ("all {}", {1: "1", 9: "009", 10: "10"}),
        ("specific { versions: 9 versions: 4 }", {9: "009"}),
        ("specific {}", {}),
    ],
)
def test_policies_choose_by_number(policy: str, wanted: dict[int, str]) -> None:
    assert choose(["1", "10", "009", "x"], text_format.Parse(policy, m.ServableVersionPolicy())) == wanted


@pytest.mark.parametrize(("policy", "wanted"), [("", "7"), ("specific { versions: 7 }", "7"), ("all {}", "007")])
def test_of_two_spellings_one_counts_in_whatever_order_they_are_listed(policy: str, wanted: str) -> None:
    for names in (["7", "007"], ["007", "7"]):
        assert choose(names, text_format.Parse(policy, m.ServableVersionPolicy())) == {7: wanted}


def next_for(*versions: str) -> tuple[bool, int] | None:
    """Versions as "number phase", with "!" for one that is no longer wanted."""
    snapshots = [
        Snapshot(int(text.split()[0]), Phase(text.split()[1].rstrip("!")), not text.endswith("!")) for text in versions
    ]
    action = next_action({"m": snapshots})
    return None if action is None else (action.load, action.version)


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([], None),
        (["1 new", "2 new"], (True, 2)),
        (["1 ready!", "2 new"], (True, 2)),
        (["1 ready!", "2 loading"], None),
        (["1 ready!", "2 ready"], (False, 1)),
        (["1 ready!", "2 error"], None),
        (["1 ready!"], (False, 1)),
        (["1 ready!", "2 ready!", "3 loading"], (False, 1)),
    ],
)
def test_a_version_is_unloaded_only_when_another_is_available(
    versions: list[str], expected: tuple[bool, int] | None
) -> None:
    assert next_for(*versions) == expected


def test_of_several_models_unloading_comes_first() -> None:
    models = {"a": [Snapshot(1, Phase.NEW, True)], "b": [Snapshot(1, Phase.READY, False)]}
    assert next_action(models) == Action(load=False, name="b", version=1)
