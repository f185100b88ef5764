"""How many pods a load needs, and the Kubernetes manifests of a run."""
