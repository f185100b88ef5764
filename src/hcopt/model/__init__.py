"""A URI becomes a model that Triton can serve: fetched, looked at, configured, with rows to send."""
