"""A Ray cluster of so many nodes on this machine; says its address, and ends with its input."""

import json
import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 2, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1"}

if __name__ == "__main__":
    count, options = int(sys.argv[1]), json.loads(sys.argv[2])
    head = NODE | {"include_dashboard": False} | options
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(count - 1):
        cluster.add_node(**NODE)
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()
