"""How many threads a replica gets. The server would count the CPUs of the node, not those that it may use."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.domain import quantity
from deployer.domain.release import Release

GRPC_LEAST = 64
"""A gRPC thread is only a place to wait, and who finds none is refused (RESOURCE_EXHAUSTED). Arrivals bunch, and a
replica on a fraction of a CPU pauses when its share of 100 ms is used up: with 16 places it refused at 90 % of what it
can carry."""


@dataclass(frozen=True, kw_only=True)
class ThreadCounts:
    """Threads of one replica, every pool with its number."""

    intra_op: int
    inter_op: int
    grpc: int
    rest: int
    batch: int
    load: int
    unload: int


def thread_counts(release: Release) -> ThreadCounts:
    """What deployer.yaml says, and for the rest: the CPUs of a replica, rounded up.

    A request in flight holds a gRPC thread, also while it waits for its batch: hence room for two full batches. A GPU
    runs one batch at a time.
    """
    given = release.serving.threads
    cpus = quantity.whole_cpus(release.serving.resources.cpu)
    waiting = 2 * release.batching.max_batch_size if release.batching else 0
    batch = release.batching.num_batch_threads if release.batching else None
    return ThreadCounts(
        intra_op=given.intra_op or cpus,
        inter_op=given.inter_op or cpus,
        grpc=given.grpc or max(GRPC_LEAST, 16 * cpus, waiting),
        rest=given.rest or max(4, 4 * cpus),
        batch=batch or (1 if release.serving.pool == "gpu" else cpus),
        load=given.load,
        unload=given.unload,
    )
