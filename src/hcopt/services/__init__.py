"""How MLflow and S3 are reached."""
