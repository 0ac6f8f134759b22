"""A person with a browser answers for a candidate: once yes, once no, once too late."""

from pathlib import Path

import pytest

from tests.browser.test_ui import BLANK, chromium, log_in  # noqa: F401  (a fixture)
from tests.integration.test_approval import TEN_SECONDS, asking, outcomes, waiting  # noqa: F401  (a fixture)
from tests.kit.servers import Services, tail

pytestmark = pytest.mark.soak


def answer_in_form(page, services: Services, run: str, decision: str, name: str, reason: str, pictures: Path) -> None:
    """As a person would: the run's page, the menu behind its three dots, the form."""
    page.goto(f"{services.prefect_url}/v2/runs/flow-run/{run}")
    page.get_by_text("Waiting for approval").first.wait_for()
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name="Resume").click()
    form = page.get_by_role("dialog")
    form.get_by_text("passed the gate").wait_for()
    for field, choice in (("Decision", decision), ("Your name", name)):
        form.get_by_role("button", name=f"Select {field}").click()
        page.get_by_role("option", name=choice, exact=True).click()
    form.locator("textarea").last.fill(reason)
    page.screenshot(path=pictures / f"{decision}.png")
    form.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_text("Flow run resumed").wait_for()
    page.goto(BLANK)


def test_one_candidate_is_approved_in_the_form_one_refused_and_one_expires(services, chromium, asking, tmp_path):  # noqa: F811
    page = chromium.new_page(viewport={"width": 1400, "height": 1200})
    log_in(page, services)
    page.goto(BLANK)
    for name, decision, came in (("clicked-yes", "approve", "Promoted"), ("clicked-no", "refuse", "Refused")):
        run, _ = waiting(services, name, asking(name, approvers=["anna", "ben"]))

        answer_in_form(page, services, run, decision, "ben", f"I {decision}", tmp_path)

        state = services.wait(run)
        assert state["name"] == came, f"{state['message']}\n{tail(services.home)}"
        assert [(one.came, one.by, one.reason) for one in outcomes(services, name)][1:] == [(came, "ben", f"I {decision}")]
    run, _ = waiting(services, "not-clicked", asking("not-clicked", approval_days=TEN_SECONDS))
    services.wait(run)
    page.goto(f"{services.prefect_url}/v2/runs/flow-run/{run}")
    page.get_by_text("Expired").first.wait_for()
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name="Change state").wait_for()
    assert page.get_by_role("menuitem", name="Resume").count() == 0
    page.close()
