"""Thread counts of a replica. The server itself would use the CPUs of the node, not its CPU limit."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.domain import quantity
from deployer.domain.release import Release

MIN_GRPC_THREADS = 64
"""A gRPC thread mostly waits, and a request without a thread is rejected (RESOURCE_EXHAUSTED). Requests arrive in
bursts, and a replica with a fraction of a CPU is throttled when its quota of a 100 ms period is used up: with 16
threads it rejected requests at 90 % of the rate that it can sustain."""


@dataclass(frozen=True, kw_only=True)
class ThreadCounts:
    """Threads of one replica, by pool."""

    intra_op: int
    inter_op: int
    grpc: int
    rest: int
    batch: int
    load: int
    unload: int


def thread_counts(release: Release) -> ThreadCounts:
    """The counts of deployer.yaml; the others are derived from the CPUs of a replica, rounded up.

    A request in flight holds a gRPC thread, also while it waits for its batch: so there are threads for two full
    batches. A GPU runs one batch at a time.
    """
    given = release.serving.threads
    cpus = quantity.whole_cpus(release.serving.resources.cpu)
    waiting = 2 * release.batching.max_batch_size if release.batching else 0
    batch = release.batching.num_batch_threads if release.batching else None
    return ThreadCounts(
        intra_op=given.intra_op or cpus,
        inter_op=given.inter_op or cpus,
        grpc=given.grpc or max(MIN_GRPC_THREADS, 16 * cpus, waiting),
        rest=given.rest or max(4, 4 * cpus),
        batch=batch or (1 if release.serving.pool == "gpu" else cpus),
        load=given.load,
        unload=given.unload,
    )
