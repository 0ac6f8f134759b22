"""`python -m tests.kit.prepared_in_parts CONFIG_JSON`: the flow `prepare` at a Prefect server of its own."""

import logging
import sys
from pathlib import Path

from tasks.config.config import Config
from tasks.record.layout import home
from tasks.services.servers import temporary_server


def main(path: str) -> None:
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    config = Config.model_validate_json(Path(path).read_bytes())
    with temporary_server(home()) as server:
        server.wait()
        from flows.preparation import prepare

        result = prepare(config, "parts")
        print(f"prepared {result.stage.path}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
