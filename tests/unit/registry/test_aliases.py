"""An alias moves by compare-and-set, remembers who held it, and a promotion is all or nothing."""

import os
from functools import partial

import pytest

from tasks.record.errors import ConfigError, GateError
from tasks.record.manifest import Input, Manifest
from tasks.registry import aliases
from tasks.registry import versions as registry
from tasks.registry.tracking import connect
from tests.kit.registered_stages import die, registered, run_in_child

MODEL = "demo-topic"


def decision(digest: str, champion: object = None, answer: str = "promote", kind: str = "evaluate") -> Manifest:
    details = {"decision": answer, "reasons": ["✓ accuracy 0.61", "✓ no champion"], "champion": champion}
    return Manifest(kind=kind, request_digest="r", inputs={"candidate": Input(path="/x", digest=digest)}, details=details)


def held(home) -> dict[str, int]:
    return aliases.holders(connect(home), MODEL)


def test_alias_moves_only_from_the_expected_holder(home):
    registered(home, 2)
    move = aliases.move_alias(home, MODEL, "candidate", 1, None, "first", "me")
    assert (move.from_version, move.to_version) == (None, 1)
    with pytest.raises(GateError, match="demo-topic@candidate is held by version 1 and not, as expected, by nobody; somebody"):
        aliases.move_alias(home, MODEL, "candidate", 2, None, "second", "you")
    assert held(home) == {"candidate": 1}
    aliases.move_alias(home, MODEL, "candidate", 2, 1, "second", "you")
    assert held(home) == {"candidate": 2}


def test_alias_cannot_go_to_a_version_that_is_not_there(home):
    registered(home, 1)
    with pytest.raises(GateError, match="demo-topic has no version 9; name one that is registered"):
        aliases.move_alias(home, MODEL, "candidate", 9, None, "typo", "me")
    with pytest.raises(ConfigError, match=r"registry\.model_name='\.\./x' is no name for a model"):
        aliases.move_alias(home, "../x", "candidate", 1, None, "typo", "me")


def test_first_promotion_then_second_sets_previous(home):
    first, second = registered(home, 2)
    aliases.promote(home, MODEL, 1, decision(first.digest), by="ann")
    assert held(home) == {"champion": 1}
    move = aliases.promote(home, MODEL, 2, decision(second.digest, champion={"version": 1, "name": MODEL}), by="bob")
    assert held(home) == {"champion": 2, "previous": 1}
    assert (move.alias, move.from_version, move.to_version, move.by) == ("champion", 1, 2, "bob")
    assert move.reason == "✓ accuracy 0.61; ✓ no champion"
    assert [(m.alias, m.from_version, m.to_version) for m in aliases.history(home, MODEL)] == [
        ("champion", None, 1), ("champion", 1, 2), ("previous", None, 1)
    ]  # fmt: skip
    assert aliases.history(home, "other") == []


def test_promoting_the_champion_again_changes_nothing(home):
    first = registered(home, 1)[0]
    move = aliases.promote(home, MODEL, 1, decision(first.digest))
    assert aliases.promote(home, MODEL, 1, decision(first.digest)) == move
    assert len(aliases.history(home, MODEL)) == 1


def test_history_is_shown_in_mlflow(home):
    first, second = registered(home, 2)
    aliases.promote(home, MODEL, 1, decision(first.digest))
    aliases.promote(home, MODEL, 2, decision(second.digest, champion=1), reason="better", by="bob")
    newest, oldest = connect(home).get_registered_model(MODEL).tags["history.champion"].splitlines()
    assert newest.endswith("champion: version 1 -> version 2 by bob: better")
    assert "champion: nobody -> version 1" in oldest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "reject"}, "demo-topic version 1 has decision='reject' and only 'promote' can be promoted .✓ accuracy"),
        ({"kind": "promote"}, "only 'promote' can be promoted"),
        ({"digest": "0" * 64}, "the decision is about candidate 000000000000 and demo-topic version 1 has digest"),
        ({"champion": 7}, "was compared with version 7 and demo-topic@champion is held by nobody now; evaluate it again"),
    ],
)
def test_promotion_is_refused_without_a_matching_decision(home, change, message):
    version = registered(home, 1)[0]
    with pytest.raises(GateError, match=message):
        aliases.promote(home, MODEL, 1, decision(**{"digest": version.digest} | change))
    assert held(home) == {}


def test_decision_that_names_no_champion_is_refused(home):
    version = registered(home, 1)[0]
    silent = decision(version.digest).model_copy(update={"details": {"decision": "promote"}})
    with pytest.raises(GateError, match="does not say which champion of demo-topic it was compared with"):
        aliases.promote(home, MODEL, 1, silent)


def test_champion_that_changed_since_the_evaluation_blocks_promotion(home):
    first, second = registered(home, 2)
    aliases.promote(home, MODEL, 1, decision(first.digest))
    with pytest.raises(GateError, match="was compared with nobody and demo-topic@champion is held by version 1 now"):
        aliases.promote(home, MODEL, 2, decision(second.digest, champion=None))
    assert held(home) == {"champion": 1}


def line_of_champions(home, count: int) -> None:
    for number, version in enumerate(registered(home, count), 1):
        aliases.promote(home, MODEL, number, decision(version.digest, champion=number - 1 or None))


def test_rollback_goes_one_champion_further_back_each_time(home):
    line_of_champions(home, 3)
    move = aliases.rollback(home, MODEL, reason="worse in use", by="ann")
    assert (move.from_version, move.to_version, move.reason, move.by) == (3, 2, "worse in use", "ann")
    assert held(home) == {"champion": 2, "previous": 1}
    aliases.rollback(home, MODEL)
    assert held(home) == {"champion": 1}, "there is no champion before it, so `previous` names nobody"
    before = aliases.history(home, MODEL)
    with pytest.raises(GateError, match="demo-topic had no champion before version 1; there is nothing to roll back to"):
        aliases.rollback(home, MODEL)
    assert aliases.history(home, MODEL) == before


def test_rollback_before_any_promotion_is_refused(home):
    with pytest.raises(GateError, match="demo-topic had no champion so far; there is nothing to roll back to, promote a ver"):
        aliases.rollback(home, MODEL)


def test_rollback_names_its_version_and_never_goes_to_one_that_is_gone(home):
    line_of_champions(home, 4)
    with pytest.raises(GateError, match="demo-topic version 9 is no champion before version 4; there are: 1, 2, 3"):
        aliases.rollback(home, MODEL, to=9)
    connect(home).delete_model_version(MODEL, "2")
    with pytest.raises(GateError, match="is still there: version 2 was deleted in MLflow; there are: 1, 3"):
        aliases.rollback(home, MODEL, to=2)
    aliases.rollback(home, MODEL)
    assert held(home) == {"champion": 3, "previous": 1}
    aliases.rollback(home, MODEL, to=1)
    assert held(home) == {"champion": 1}


def test_a_champion_after_a_rollback_has_the_one_before_it_behind_it(home):
    line_of_champions(home, 2)
    aliases.rollback(home, MODEL)
    second = registry.versions(home, MODEL)[1]
    aliases.promote(home, MODEL, 2, decision(second.digest, champion=1))
    assert held(home) == {"champion": 2, "previous": 1}
    assert aliases.rollback(home, MODEL).to_version == 1


def test_two_candidates_registered_before_one_is_promoted_are_both_promotable_by_a_fresh_evaluation(home):
    first, second = registered(home, 2)
    earlier = decision(second.digest, champion=None)
    aliases.promote(home, MODEL, 1, decision(first.digest, champion=None))
    with pytest.raises(
        GateError, match="was compared with nobody and demo-topic@champion is held by version 1 now; evaluate it"
    ):
        aliases.promote(home, MODEL, 2, earlier)
    aliases.promote(home, MODEL, 2, decision(second.digest, champion=1))
    aliases.promote(home, MODEL, 1, decision(first.digest, champion=2))
    assert held(home) == {"champion": 1, "previous": 2}


def test_a_promotion_names_its_blessing_and_a_forced_one_its_reason(home):
    first = registered(home, 2)[0]
    blessed = decision(first.digest)
    assert aliases.promote(home, MODEL, 1, blessed).blessing == blessed.digest
    move = aliases.force_promotion(home, MODEL, 2, reason="the gate is broken", by="ann")
    assert (move.forced, move.blessing, move.from_version, move.to_version, move.reason) == (
        True,
        None,
        1,
        2,
        "the gate is broken",
    )
    assert held(home) == {"champion": 2, "previous": 1}
    assert [m for m in aliases.history(home, MODEL) if m.alias == "champion"][-1] == move
    assert "by ann, forced: the gate is broken" in connect(home).get_model_version(MODEL, "2").description
    assert aliases.force_promotion(home, MODEL, 2, reason="again", by="bob") == move
    with pytest.raises(GateError, match="demo-topic has no version 9; name one that is registered"):
        aliases.force_promotion(home, MODEL, 9, reason="typo", by="ann")


def killing_client(home, calls_before_death: int) -> None:
    """From now on this process dies at the so-and-so-many-th alias that it sets."""
    client = connect(home)
    real, count = client.set_registered_model_alias, 0

    def counted(*arguments):
        nonlocal count
        if count == calls_before_death:
            die()
        count += 1
        return real(*arguments)

    client.set_registered_model_alias = counted


@pytest.mark.parametrize("moves_done", [0, 1])
def test_promotion_killed_between_its_moves_is_finished_by_whoever_comes_next(home, moves_done):
    first, second = registered(home, 2)
    aliases.promote(home, MODEL, 1, decision(first.digest))

    def promote_and_die() -> None:
        killing_client(home, moves_done)
        aliases.promote(home, MODEL, 2, decision(second.digest, champion=1))

    assert run_in_child(promote_and_die) == -9
    assert held(home) == {"champion": 2 if moves_done else 1}
    move = aliases.promote(home, MODEL, 2, decision(second.digest, champion=1))
    assert (move.from_version, move.to_version) == (1, 2)
    assert held(home) == {"champion": 2, "previous": 1}
    assert [m.to_version for m in aliases.history(home, MODEL) if m.alias == "champion"] == [1, 2]


@pytest.mark.parametrize("kind", ["done", "intent"])
def test_killed_around_the_history_leaves_one_record_of_the_move(home, monkeypatch, kind):
    first = registered(home, 1)[0]
    real = aliases.write_history

    def write_and_die(home, state, identity, moves):
        if state == kind == "done":
            die()
        real(home, state, identity, moves)
        if state == kind:
            die()

    with monkeypatch.context() as patch:
        patch.setattr(aliases, "write_history", write_and_die)
        assert run_in_child(partial(aliases.promote, home, MODEL, 1, decision(first.digest))) == -9
    aliases.promote(home, MODEL, 1, decision(first.digest))
    assert held(home) == {"champion": 1}
    assert len(aliases.history(home, MODEL)) == 1


def test_open_intent_gives_way_to_somebody_who_moved_the_alias_in_mlflow(home, monkeypatch):
    versions = registered(home, 3)

    def promote_and_die() -> None:
        killing_client(home, 0)
        aliases.promote(home, MODEL, 1, decision(versions[0].digest))

    assert run_in_child(promote_and_die) == -9
    connect(home).set_registered_model_alias(MODEL, "champion", "3")
    with pytest.raises(GateError, match="was compared with nobody and demo-topic@champion is held by version 3 now"):
        aliases.promote(home, MODEL, 1, decision(versions[0].digest))
    assert held(home) == {"champion": 3}
    assert aliases.history(home, MODEL) == []


def test_of_many_processes_that_expect_the_same_holder_one_wins(home):
    registered(home, 4)
    children = []
    for version in (1, 2, 3, 4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                aliases.move_alias(home, MODEL, "candidate", version, None, "race", "me")
                code = 0
            except GateError:
                code = 3
            finally:
                os._exit(code)
        children.append(child)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert codes == [0, 3, 3, 3]
    assert [m.to_version for m in aliases.history(home, MODEL)] == [held(home)["candidate"]]


def test_registering_never_takes_an_alias_back_from_a_later_version(home):
    registered(home, 2)
    client = connect(home)
    aliases.advance(client, home, MODEL, "candidate", 2, "newer", "test")
    aliases.advance(client, home, MODEL, "candidate", 1, "late", "test")
    assert registry.version_by_alias(home, MODEL, "candidate").version == 2
