"""Floor 6.5, loads prefect: the verbs, one thin Prefect task for each kind of stage; and `worker`, which is a rank.

`worker` is on floor 5, loads nothing by itself, and is the only module that is given to `accelerate launch -m`.
"""
