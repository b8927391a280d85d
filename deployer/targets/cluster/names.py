"""Names of the Kubernetes objects of a release, as the charts name them."""

from __future__ import annotations

from dataclasses import dataclass

MODELS_KEY = "model.config"
NEWCOMER_KEY = "newcomer.config"
GATEWAY_KEY = "gateway.yaml"
MODEL_SERVER = "model-server"
GATEWAY = "gateway"
"""Names of the containers, and values of the label app.kubernetes.io/component."""

GRPC_PORT = 8500
REST_PORT = 8501
GATEWAY_PORT = 8080
ADMIN_PORT = 8081
"""Of a gateway: health, metrics and routes."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names derived from the name of the release."""

    release: str

    @property
    def tf_serving(self) -> str:
        """The Helm release of the model servers, their Deployment and their autoscaler."""
        return f"{self.release}-tf-serving"

    @property
    def gateway(self) -> str:
        """The Helm release of the gateways, their Deployment and their autoscaler."""
        return f"{self.release}-gateway"

    @property
    def models(self) -> str:
        """The ConfigMap with the model_config."""
        return f"{self.tf_serving}-models"

    @property
    def gateway_config(self) -> str:
        """The ConfigMap with the gateway's settings."""
        return f"{self.gateway}-config"

    @property
    def replica_labels(self) -> str:
        """Label selector of the model server pods."""
        return f"app.kubernetes.io/instance={self.tf_serving},app.kubernetes.io/component={MODEL_SERVER}"

    @property
    def gateway_labels(self) -> str:
        """Label selector of the gateway pods."""
        return f"app.kubernetes.io/instance={self.gateway},app.kubernetes.io/component={GATEWAY}"

    def http_port(self, pod: str) -> int:
        """The HTTP port of a pod of this release, by its name."""
        return GATEWAY_PORT if self.is_gateway(pod) else REST_PORT

    def state_port(self, pod: str) -> int:
        """The port where a pod of this release tells its state, by its name."""
        return ADMIN_PORT if self.is_gateway(pod) else REST_PORT

    def is_gateway(self, pod: str) -> bool:
        """Whether a pod of this release is a gateway, by its name."""
        return pod.startswith(f"{self.gateway}-")
