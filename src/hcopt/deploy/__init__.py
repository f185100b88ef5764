"""From the capacity of one pod to replicas, autoscaler and manifests."""
