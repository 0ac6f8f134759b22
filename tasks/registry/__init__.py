"""Floor 5, loads mlflow, prefect: MLflow, which nobody else imports: runs, versions, aliases, cards."""
