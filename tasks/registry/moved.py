"""A home that was moved or copied: what MLflow's database and the records say of folders is made true of the new place.

MLflow keeps absolute locations, so that a copy would write into the home that it is a copy of. Before the store is used, the
locations inside of an earlier place are rewritten, in one transaction; which places those were is kept, since requests of
stages name their inputs by absolute paths too.
"""

import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

from tasks.record.files import write_json
from tasks.registry.records import PATH_TAGS
from tasks.registry.store import artifact_folder, database_file, earlier_places, locked, places_file

logger = logging.getLogger("pretune")

URI_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
WAIT_SECONDS = 60


def settle_home(home: Path) -> None:
    """Rewrite the locations of the local store, if the home was somewhere else when they were written. Safe in any process."""
    if not database_file(home).exists() or not places_in_store(home):
        return
    with locked(database_file(home).with_name("moved.lock")):
        places = places_in_store(home)
        if not places:
            return
        known = earlier_places(home)
        write_json(places_file(home), [str(place) for place in dict.fromkeys([*known, *places])], 0o600)
        rows = rewrite(home, places)
    logger.info(
        "this home is in %s and was in %s: %d locations in MLflow's store were rewritten", home,
        ", ".join(str(place) for place in places), rows,
    )  # fmt: skip


def places_in_store(home: Path) -> list[Path]:
    """Other folders than this home in which experiments of this store keep their artifacts as a home does."""
    inside = artifact_folder(home).relative_to(home).as_posix()
    pattern = re.compile(rf"(.+)/{re.escape(inside)}(/\d+)?")
    with closing(sqlite3.connect(database_file(home), timeout=WAIT_SECONDS)) as database:
        made = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone()
        locations = [row[0] for row in database.execute("SELECT artifact_location FROM experiments")] if made else []
    found = [pattern.fullmatch(unquote(urlparse(location).path)) for location in locations if location.startswith("file:")]
    places = dict.fromkeys(Path(match.group(1)) for match in found if match)
    return [place for place in places if place != home and not (place.exists() and place.samefile(home))]


def rewrite(home: Path, places: list[Path]) -> int:
    """All locations in one transaction; returns how many there were."""
    rows = 0
    with closing(sqlite3.connect(database_file(home), timeout=WAIT_SECONDS)) as database, database:
        database.execute("BEGIN IMMEDIATE")
        for place in places:
            for table, column, old, new in changes(home, place):
                where = f"({column} = ?1 OR substr({column}, 1, length(?1) + 1) = ?1 || '/')"
                if table == "model_version_tags":
                    where += f" AND key IN {PATH_TAGS}"
                change = f"UPDATE {table} SET {column} = ?2 || substr({column}, length(?1) + 1) WHERE {where}"
                rows += database.execute(change, (old, new)).rowcount
    return rows


def changes(home: Path, place: Path) -> Iterator[tuple[str, str, str, str]]:
    """Table, column, and how what lies there begins, before and after."""
    for table, column in URI_COLUMNS:
        yield table, column, place.as_uri(), home.as_uri()
    yield "model_version_tags", "value", str(place), str(home)
