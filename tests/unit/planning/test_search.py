"""Which layouts there are, and which is chosen."""

from collections import Counter

import pytest

from tasks.planning.plan import problem_of
from tasks.planning.search import candidate, layouts, needed_bytes, search, works
from tasks.planning.step_time import step_time
from tests.kit.plans import large
from tests.kit.published_runs import DENSE, OUT_OF_MEMORY, TENSOR, device_of, least_memory


def test_every_layout_multiplies_to_the_world_and_divides_the_model():
    problem = problem_of(large(), "h100", 64)
    found = list(layouts(problem, Counter()))
    assert {layout.world_size for layout in found} == {64}
    assert {layout.tensor_parallel for layout in found} == {1, 2, 4, 8}
    assert {layout.pipeline_parallel for layout in found} == {1, 2, 4, 8, 16, 32}
    assert len(set(found)) == len(found)


def test_what_cannot_be_had_is_counted_with_its_reason():
    impossible = Counter()
    assert list(layouts(problem_of(large(ranks=1, sequences=3), "h100", 64), impossible))
    assert any("3 sequences of a step do not divide" in reason for reason in impossible)
    assert any("more pipeline stages than 32 layers" in reason for reason in impossible)
    assert any("tensor_parallel beyond the 8 devices" in reason for reason in impossible)


def test_the_chosen_one_is_the_fastest_of_all_that_fit():
    problem = problem_of(large(sequences=64), "h100", 16)
    found = search(problem)
    everything = [(step_time(w, problem.accelerator).total, w) for w in works(problem, Counter())]
    fitting = [time for time, w in everything if needed_bytes(problem, w) <= problem.accelerator.memory_bytes]
    assert found.considered == len(everything)
    assert found.fitting[0].step_seconds == pytest.approx(min(fitting))
    assert all(made.fits for made in found.fitting)
    assert all(not made.fits and made.step_seconds <= found.fitting[0].step_seconds for made in found.too_large)


def test_each_kind_that_fits_is_shown_once_with_its_fastest_layout():
    problem = problem_of(large(sequences=64), "h100", 16)
    found = search(problem)
    kinds = [made.kind for made in found.fitting[4:]]
    assert len(set(kinds)) == len(kinds)
    layouts_shown = [made.layout for made in found.fitting]
    assert len(set(layouts_shown)) == len(layouts_shown)


def test_where_nothing_fits_the_smallest_is_known():
    found = search(problem_of(large(), "4090", 2))
    assert found.fitting == []
    assert found.smallest is not None and not found.smallest.fits


@pytest.mark.parametrize("run", DENSE + TENSOR, ids=lambda run: f"{run.name} {run.recomputed}")
def test_no_published_run_that_fitted_would_be_refused(run):
    assert least_memory(run) <= device_of(run).memory_bytes


@pytest.mark.parametrize("run", OUT_OF_MEMORY, ids=lambda run: run.name)
def test_a_published_run_that_did_not_fit_would_be_refused(run):
    assert least_memory(run) > device_of(run).memory_bytes


def test_a_candidate_carries_its_parts():
    problem = problem_of(large(), "h100", 64)
    work = next(iter(works(problem, Counter())))
    made = candidate(problem, work)
    assert sum(made.memory_parts.values()) == made.tensor_bytes < made.memory_bytes
    assert sum(made.time_parts.values()) == pytest.approx(made.step_seconds)
    assert made.tokens_per_second == pytest.approx(4096 * 4096 / made.step_seconds)
