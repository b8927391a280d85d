"""Where versions lie: a directory on this machine, or a PVC reached through a pod."""
