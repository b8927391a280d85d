"""What the deployer relies on of an API server: `FakeApi` keeps it in tests/, a real one in k8s-tests/cluster/."""

from __future__ import annotations

from typing import Any

import pytest

from deployer.targets.cluster.api import ApiServer, Refused
from deployer.targets.cluster.objects import Deployment, Event, Meta
from deployer.targets.cluster.reported import report

Object = dict[str, Any]


class Contract:
    """A class of tests; a subclass in a test module has the fixtures `api` and `maps`, the path of ConfigMaps."""

    def config_map(self, maps: str, name: str, **data: str) -> Object:
        namespace = maps.split("/")[4]
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": data,
        }

    def read(self, api: ApiServer, path: str) -> Object:
        found: Object = api.read(path, dict)
        return found

    def test_an_object_is_created_once(self, api: ApiServer, maps: str) -> None:
        api.create(maps, self.config_map(maps, "once", a="1"))
        assert self.read(api, f"{maps}/once")["data"] == {"a": "1"}
        with pytest.raises(Refused) as refused:
            api.create(maps, self.config_map(maps, "once", a="2"))
        assert (refused.value.code, refused.value.reason) == (409, "AlreadyExists")
        assert self.read(api, f"{maps}/once")["data"] == {"a": "1"}

    def test_what_is_not_there_is_not_found_and_not_made_by_a_patch(self, api: ApiServer, maps: str) -> None:
        assert api.find(f"{maps}/absent", dict) is None
        for change in ({"data": {"a": "1"}}, {"metadata": {"resourceVersion": "1"}, "data": {"a": "1"}}):
            with pytest.raises(Refused) as refused:
                api.patch(f"{maps}/absent", change)
            assert (refused.value.code, refused.value.reason) == (404, "NotFound")
        assert api.find(f"{maps}/absent", dict) is None

    def test_a_patch_changes_what_it_names_and_null_removes(self, api: ApiServer, maps: str) -> None:
        api.create(maps, self.config_map(maps, "patched", a="1", b="2"))
        api.patch(f"{maps}/patched", {"data": {"a": None, "c": "3"}, "metadata": {"annotations": {"x": "y"}}})
        found = self.read(api, f"{maps}/patched")
        assert (found["data"], found["metadata"]["annotations"]) == ({"b": "2", "c": "3"}, {"x": "y"})

    def test_a_patch_of_a_version_that_is_past_is_a_conflict(self, api: ApiServer, maps: str) -> None:
        api.create(maps, self.config_map(maps, "raced", a="1"))
        path = f"{maps}/raced"
        seen = self.read(api, path)["metadata"]["resourceVersion"]
        api.patch(path, {"data": {"a": "2"}})
        with pytest.raises(Refused) as refused:
            api.patch(path, {"metadata": {"resourceVersion": seen}, "data": {"a": "3"}})
        assert (refused.value.code, refused.value.reason) == (409, "Conflict")
        found = self.read(api, path)
        assert found["data"] == {"a": "2"}
        assert found["metadata"]["resourceVersion"] != seen
        api.patch(path, {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "data": {"a": "3"}})
        assert self.read(api, path)["data"] == {"a": "3"}

    def test_what_is_applied_for_a_version_that_is_past_is_a_conflict(self, api: ApiServer, maps: str) -> None:
        path, wanted = f"{maps}/raced-apply", self.config_map(maps, "raced-apply", a="1")
        api.apply(path, wanted)
        seen = self.read(api, path)["metadata"]["resourceVersion"]
        api.apply(path, self.config_map(maps, "raced-apply", a="2"))
        stale = self.config_map(maps, "raced-apply", a="3")
        stale["metadata"]["resourceVersion"] = seen
        with pytest.raises(Refused) as refused:
            api.apply(path, stale)
        assert (refused.value.code, refused.value.reason) == (409, "Conflict")
        assert self.read(api, path)["data"] == {"a": "2"}

    def test_an_event_is_listed_with_what_it_is_about(self, api: ApiServer, maps: str) -> None:
        namespace, events = maps.split("/")[4], maps.replace("/configmaps", "/events")
        subject = Deployment(metadata=Meta(name="about", namespace=namespace, uid="0-1"))
        report(api, subject, reason="RolloutPaused", message="m" * 2000, warning=True, now=1_700_000_000.0)
        (found,) = [one for one in api.list(events, Event) if one.involved_object.uid == "0-1"]
        assert (found.type, found.reason, len(found.message)) == ("Warning", "RolloutPaused", 1024)
        assert found.when == "2023-11-14T22:13:20Z"

    def test_an_event_about_another_namespace_is_refused(self, api: ApiServer, maps: str) -> None:
        subject = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "there", "namespace": "kube-system"}
        metadata = {"name": "there.1", "namespace": maps.split("/")[4]}
        event = {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": subject, "reason": "R"}
        with pytest.raises(Refused) as refused:
            api.create(maps.replace("/configmaps", "/events"), event)
        assert (refused.value.code, refused.value.reason) == (422, "Invalid")

    def test_what_is_applied_is_made_and_then_changed(self, api: ApiServer, maps: str) -> None:
        for value in ("1", "2"):
            api.apply(f"{maps}/applied", self.config_map(maps, "applied", a=value))
            assert self.read(api, f"{maps}/applied")["data"] == {"a": value}
