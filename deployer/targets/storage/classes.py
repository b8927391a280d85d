"""Whether a cluster has a StorageClass for a PVC that is to be created: without one it would stay Pending for ever."""

from __future__ import annotations

from deployer.errors import TargetError
from deployer.targets.cluster.api import NOT_FOUND, ApiServer, Refused
from deployer.targets.cluster.objects import StorageClass

STORAGE_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
FORBIDDEN = 403


def require_class(api: ApiServer, name: str, pvc: str) -> None:
    """Check that the StorageClass exists; an empty `name` is the default of the cluster.

    Whoever may not see the classes checks nothing. Errors: TargetError that names the classes there are.
    """
    try:
        classes = api.list(STORAGE_CLASSES, StorageClass)
    except Refused as error:
        if error.code in (FORBIDDEN, NOT_FOUND):
            return
        raise
    names = sorted(one.metadata.name for one in classes)
    if name in names or (not name and any(one.is_default for one in classes)):
        return
    what = f"there is no StorageClass {name}" if name else "the cluster has no default StorageClass"
    raise TargetError(
        f"{what}, so PVC {pvc} would stay Pending",
        hint=f"name one with storage.storage_class or --storage-class: {', '.join(names)}"
        if names
        else "install a storage provisioner, or create the PVC yourself",
    )
