"""Measuring on the nodes of a cluster: what is sent there, what comes back, and who gets what."""
