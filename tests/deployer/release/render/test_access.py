"""Who may send requests to the gateways of a release: never more than deployer.yaml says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployer.domain.serving import ModelState, ServingConfig
from deployer.errors import SpecError
from deployer.release import spec
from deployer.release.render import render_release
from gateway.settings import parse_settings

HERE = "release: demo\nstore: models\nmodels: [loan]\n"
CLUSTER = "release: demo\nstore: pvc://ns/claim\nmodels: [loan]\n"
STATE = ServingConfig(models={"loan": ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})})
JWT = "issuer: https://i/, audience: a"


def files(text: str) -> dict[str, str]:
    return dict(render_release(spec.parse(text, Path("/srv")), STATE, {}).files)


def test_on_one_machine_the_gateway_reads_the_file_beside_deployer_yaml() -> None:
    text = files(f"{HERE}gateway: {{auth: {{keys_file: keys.yaml, keys_secret: s, jwt: {{{JWT}, jwks_file: k}}}}}}\n")
    auth = parse_settings(text["gateway.yaml"]).auth
    assert auth is not None
    assert auth.keys_file == "/srv/keys.yaml"
    assert auth.jwt is not None
    assert auth.jwt.jwks_file == "/srv/k"


def test_in_a_cluster_the_secret_is_mounted_where_the_gateway_reads() -> None:
    text = files(
        f"{CLUSTER}gateway: {{auth: {{keys_file: keys.yaml, keys_secret: s}}, cors: {{origins: ['https://a']}}}}\n"
    )
    values = yaml.safe_load(text["gateway-values.yaml"])
    assert values["keysSecret"] == "s"
    assert values["config"]["auth"] == {"keys_file": "/etc/gateway-keys/keys.yaml"}
    assert values["config"]["cors"]["origins"] == ["https://a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HERE}gateway: {{auth: {{keys_secret: s}}}}\n", "gateway.auth.keys_file is not set"),
        (f"{CLUSTER}gateway: {{auth: {{keys_file: f}}}}\n", "gateway.auth.keys_secret is not set"),
        (f"{CLUSTER}gateway: {{auth: {{jwt: {{{JWT}, jwks_file: k}}}}}}\n", "jwks_file does not work in a cluster"),
        (f"{HERE}gateway: {{auth: {{}}}}\n", "set keys_file, keys_secret or jwt"),
        (f"{HERE}gateway: {{auth: {{jwt: {{{JWT}}}}}}}\n", "exactly one of jwks_file and jwks_url"),
        (f"{HERE}serving: {{flags: {{ssl_config_file: x}}}}\n", "serving.tls sets both"),
    ],
)
def test_what_would_leave_a_gateway_open_or_alone_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        files(text)


def test_the_certificate_is_read_beside_deployer_yaml_or_from_the_secret() -> None:
    tls = "{cert_file: a.crt, key_file: a.key, secret: s, ca_file: ca.pem}"
    here = parse_settings(files(f"{HERE}gateway: {{tls: {tls}}}\n")["gateway.yaml"]).tls
    assert here is not None
    assert (here.cert_file, here.key_file) == ("/srv/a.crt", "/srv/a.key")
    values = yaml.safe_load(files(f"{CLUSTER}gateway: {{tls: {tls}}}\n")["gateway-values.yaml"])
    assert values["tlsSecret"] == "s"
    mounted = {"cert_file": "/etc/gateway-tls/tls.crt", "key_file": "/etc/gateway-tls/tls.key"}
    assert values["config"]["tls"] == mounted


PAIR = "cert_file: a, key_file: b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HERE}gateway: {{tls: {{secret: s}}}}\n", "gateway.tls.cert_file is not set"),
        (f"{CLUSTER}gateway: {{tls: {{{PAIR}}}}}\n", "gateway.tls.secret is not set"),
        (f"{HERE}gateway: {{tls: {{cert_file: a}}}}\n", "cert_file and key_file belong together"),
        (f"{HERE}gateway: {{tls: {{ca_file: a}}}}\n", "set cert_file with key_file, or secret"),
        (f"{HERE}gateway: {{tls: {{{PAIR}, client_ca_file: c}}}}\n", "needs a certificate of its own"),
        (
            f"{CLUSTER}gateway: {{tls: {{secret: s, client_ca_file: c, client_cert_file: d, client_key_file: e}}}}\n",
            "client_ca_file does not work in a cluster",
        ),
    ],
)
def test_tls_that_cannot_work_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        files(text)


SERVING = "secret: s, gateway_secret: g"


def test_model_servers_and_gateways_get_the_two_ends_of_tls() -> None:
    text = files(f"{CLUSTER}serving: {{tls: {{{SERVING}, mutual: true}}}}\n")
    servers, gateways = (yaml.safe_load(text[f"{chart}-values.yaml"]) for chart in ("tf-serving", "gateway"))
    assert servers["sslConfigSecret"] == "s"
    name = "demo-tf-serving-headless.ns.svc"
    assert gateways["modelServer"]["tls"] == {"secret": "g", "serverName": name, "clientCertificate": True}
    tls = parse_settings(text["gateway.yaml"]).backends.tls
    assert tls is not None
    assert (tls.server_name, tls.cert_file) == (name, "/etc/model-server-tls/tls.crt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HERE}serving: {{tls: {{{SERVING}}}}}\n", "serving.tls.cert_file is not set"),
        (f"{CLUSTER}serving: {{tls: {{{PAIR}, ca_file: c}}}}\n", "serving.tls.secret is not set"),
        (f"{HERE}serving: {{tls: {{{PAIR}}}}}\n", "cert_file needs ca_file too"),
        (f"{CLUSTER}serving: {{tls: {{secret: s}}}}\n", "secret needs gateway_secret too"),
        (f"{HERE}serving: {{tls: {{{PAIR}, ca_file: c, mutual: true}}}}\n", "needs client_ca_file too with mutual"),
        (f"{HERE}serving: {{tls: {{{PAIR}, ca_file: c, client_ca_file: d}}}}\n", "is for mutual: true"),
    ],
)
def test_tls_to_model_servers_that_cannot_work_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        files(text)


def test_records_are_kept_in_the_folder_here_and_in_the_volume_there() -> None:
    sampling = "{consent: true, mask: [name], pvc: kept, max_bytes: 1048576}"
    here = parse_settings(files(f"{HERE}gateway: {{sampling: {sampling}}}\n")["gateway.yaml"]).sampling
    assert here is not None
    assert (here.folder, here.mask) == ("/srv/samples", ["name"])
    values = yaml.safe_load(files(f"{CLUSTER}gateway: {{sampling: {sampling}}}\n")["gateway-values.yaml"])
    assert values["config"]["sampling"]["folder"] == "/var/lib/gateway-samples"
    assert values["samples"] == {"enabled": True, "existingClaim": "kept", "sizeLimit": "17Mi"}
    with pytest.raises(SpecError, match=r"sampling\.consent"):
        files(f"{HERE}gateway: {{sampling: {{share: 0.5}}}}\n")
