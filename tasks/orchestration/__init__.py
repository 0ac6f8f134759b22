"""Floor 5, loads prefect, prefect_ray: one stage under Prefect: skipped, started or joined, shown, cancelled; and its parts."""
