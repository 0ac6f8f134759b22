"""Floor 4, loads prefect: Prefect, MLflow and the worker of this machine: started, found again, stopped, examined."""
