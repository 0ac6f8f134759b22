"""Environment variables and commands of the Prefect server, the MLflow server and the worker."""

import os
import sys
from pathlib import Path

from tasks.record.layout import mlflow_folder, prefect_folder
from tasks.services.records import PRIVATE_FOLDER, Credentials, ServiceName, alive, credentials, services_folder

WORK_POOL = "pretune"
AUTH_CACHE_SECONDS = 300
"""How long MLflow believes a password that it has checked: each check is a slow hash, and each request would need one."""
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLI_PROMPT": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Nothing is sent to the makers of the libraries."""


def prefect_home(home: Path) -> Path:
    """Prefect's own folder: its database holds every run of this home. Readable by its owner only."""
    folder = prefect_folder(home)
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    folder.chmod(PRIVATE_FOLDER)
    return folder


def client_environment(home: Path, port: int, pages: bool = True) -> dict[str, str]:
    """What a process needs to talk to the Prefect server of this home, and to have `pretune`'s log lines kept there.

    `pages`: whether the server shows its runs in a browser, so that links may lead there.
    """
    return QUIET | {
        "PRETUNE_HOME": str(home),
        "PREFECT_HOME": str(prefect_home(home)),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_UI_URL": f"http://127.0.0.1:{port}/v2" if pages else "",
        "PREFECT_API_AUTH_STRING": credentials(home).prefect_auth,
        "PREFECT_LOGGING_EXTRA_LOGGERS": "pretune",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_WORKER_QUERY_SECONDS": "3",
    }


def server_environment(home: Path, port: int) -> dict[str, str]:
    """Only pages that this server itself serves may use the API, and only with the password."""
    return QUIET | {
        "PRETUNE_HOME": str(home),
        "PREFECT_HOME": str(prefect_home(home)),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_AUTH_STRING": credentials(home).prefect_auth,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_UI_URL": f"http://127.0.0.1:{port}/v2",
    }


def server_command(port: int, temporary: bool = False) -> list[str]:
    """`temporary`: for one flow run of the command line; no UI, and nothing is scheduled."""
    command = [
        sys.executable,
        "-m",
        "tasks.services.prefect_server",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--analytics-off",
    ]
    return [*command, "--no-scheduler", "--no-late-runs", "--no-ui"] if temporary else command


def worker_command() -> list[str]:
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process", "--name", WORK_POOL]


def mlflow_environment(home: Path) -> dict[str, str]:
    """Basic authentication against a database of its own; users other than the administrator may see nothing."""
    known = credentials(home)
    return QUIET | {
        "PRETUNE_HOME": str(home),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": known.mlflow_secret_key,
        "MLFLOW_AUTH_CONFIG_PATH": str(auth_config(home, known)),
        "MLFLOW_AUTH_ADMIN_USERNAME": known.user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": known.mlflow_password,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def auth_config(home: Path, known: Credentials) -> Path:
    """The file that MLflow's authentication reads; it holds no password."""
    folder = services_folder(home)
    path = folder / "mlflow_auth.ini"
    path.write_text(
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{folder / 'mlflow_auth.db'}\n"
        f"admin_username = {known.user}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        f"auth_cache_ttl_seconds = {AUTH_CACHE_SECONDS}\n"
    )
    return path


def mlflow_command(home: Path, port: int) -> list[str]:
    """One process on the database that flows write to directly when there is no server."""
    folder = mlflow_folder(home)
    (folder / "artifacts").mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    hosts = [f"127.0.0.1:{port}", f"localhost:{port}"]
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--default-artifact-root", (folder / "artifacts").as_uri(), "--no-serve-artifacts"),
        *("--app-name", "basic-auth", "--allowed-hosts", ",".join(hosts)),
        *("--cors-allowed-origins", ",".join(f"http://{host}" for host in hosts)),
    ]


def use_server(home: Path, port: int, pages: bool = True) -> None:
    """Point this process at a Prefect server of this home. To be called before prefect is imported."""
    os.environ.update(client_environment(home, port, pages))


def page(home: Path, name: ServiceName) -> str | None:
    """Address of a service that runs."""
    record = alive(home, name)
    return record.url if record else None
