"""config.yaml, `--set` and the environment become one Config."""
