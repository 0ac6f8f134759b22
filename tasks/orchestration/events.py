"""A model that fine-tunes start from is a new one: said to the Prefect server, whose triggers refresh what depends on it."""

from prefect.events import emit_event

NEW_BASE = "pretune.base.new"


def base_resource(base: str) -> str:
    """What a base is called in events, by how the settings of a fine-tune write it."""
    return f"pretune.base.{base}"


def say_new_base(*bases: str) -> None:
    """`bases` are the ways in which settings may write it, such as `run:demo` and `models:/demo@pretrained`."""
    for base in bases:
        emit_event(event=NEW_BASE, resource={"prefect.resource.id": base_resource(base), "prefect.resource.name": base})
