"""A finished run becomes Kubernetes manifests whose every number says where it comes from."""
