"""A stage leads to the flow run that waited for it, by a link only where there is a page."""

import os

import psutil

from tasks.record.files import write_json
from tasks.record.layout import StageLayout
from tasks.registry.flow_links import flow_run_of, flow_tags
from tasks.services.environment import client_environment
from tasks.services.records import ServiceRecord, write_record


def test_a_stage_that_no_flow_waited_for_has_no_tags(tmp_path):
    assert flow_tags(tmp_path, flow_run_of(StageLayout(tmp_path))) == {}
    write_json(tmp_path / "orchestrator.json", {"flow_run_id": None, "api_url": None})
    assert flow_tags(tmp_path, flow_run_of(StageLayout(tmp_path))) == {}


def test_the_page_is_that_of_the_server_it_ran_at(tmp_path):
    write_json(tmp_path / "orchestrator.json", {"flow_run_id": "f-1", "api_url": "http://p/api", "pages": "http://p/v2"})
    tags = flow_tags(tmp_path, flow_run_of(StageLayout(tmp_path)))
    assert tags == {"prefect_flow_run_id": "f-1", "prefect_url": "http://p/v2/runs/flow-run/f-1"}


def test_a_server_of_one_command_has_no_page_until_up_shows_what_it_did(tmp_path):
    assert client_environment(tmp_path, 4321, pages=False)["PREFECT_UI_URL"] == ""
    assert client_environment(tmp_path, 4321)["PREFECT_UI_URL"] == "http://127.0.0.1:4321/v2"
    run = {"flow_run_id": "f-1", "api_url": "http://127.0.0.1:40001/api", "pages": None}
    assert flow_tags(tmp_path, run) == {"prefect_flow_run_id": "f-1"}
    own = psutil.Process(os.getpid())
    write_record(tmp_path, ServiceRecord(name="prefect", pid=own.pid, create_time=own.create_time(), port=4200))
    assert flow_tags(tmp_path, run)["prefect_url"] == "http://127.0.0.1:4200/v2/runs/flow-run/f-1"
