"""One run from the model to the report, or many of them; here or on a cluster."""
