"""The configuration: config.yaml, `--set` and the environment."""
