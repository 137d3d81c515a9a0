"""One more node of a cluster, in this process's namespaces; says "joined", and stays."""

import signal
import sys

from ray._private.node import Node
from ray._private.parameter import RayParams

from tests.pipeline.live.ray.nodes import NODE

if __name__ == "__main__":
    address, ours, cpus = sys.argv[1], sys.argv[2], int(sys.argv[3])
    ports = {"min_worker_port": 0, "max_worker_port": 0, "node_manager_port": 0}
    # An address of its own on loopback: Ray tells machines apart by it.
    options = NODE | {"node_ip_address": ours, "num_cpus": cpus, "include_log_monitor": False}
    parameters = RayParams(gcs_address=address, redis_address=address, **options, **ports)
    parameters.dashboard_agent_listen_port = None
    Node(parameters, head=False, shutdown_at_exit=True, spawn_reaper=False)
    sys.stdout.write("joined\n")
    sys.stdout.flush()
    signal.pause()
