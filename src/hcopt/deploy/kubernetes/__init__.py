"""Kubernetes manifests of a finished run; every number in them says where it comes from."""
