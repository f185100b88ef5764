"""A run in MLflow: logged, registered, and read again."""
