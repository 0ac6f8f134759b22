"""Floor 4, loads no library: Prefect, MLflow and the worker of this machine: started, found again, stopped, examined."""
