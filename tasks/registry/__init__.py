"""Floor 5, loads mlflow: MLflow, which nobody else imports: runs, versions, aliases, cards."""
