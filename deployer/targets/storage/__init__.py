"""Model stores: a directory on this machine, or a PVC accessed through a pod."""
