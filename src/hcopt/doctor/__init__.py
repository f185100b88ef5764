"""What this machine and the configured services can do: probes, each of which ends in one finding."""
