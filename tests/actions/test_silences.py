"""Silences: which there are, one of ours for a span, and the end of ours; on the fake, and on a real Alertmanager."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import world
import yaml
from daemon import eventually
from fakes.alertmanager import Alertmanager
from fakes.fake import Fault
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from remediator.actions.alertmanager import AlertmanagerAlerts, AlertsParameters
from remediator.actions.alertmanager.matchers import Matcher, parts_of
from remediator.actions.alertmanager.silences import (
    AlertmanagerExpireSilence,
    AlertmanagerSilence,
    AlertmanagerSilences,
    ExpireParameters,
    SilenceParameters,
    SilencesParameters,
)
from remediator.actions.bounds import encoded_size
from remediator.actions.fetch import Answer, Call, fetch
from remediator.actions.protocol import MAX_RESULT_BYTES, Context, Effect, Outcome, Result

SPEC = Path(__file__).resolve().parents[2] / ".." / "shared" / "specs" / "alertmanager_v2.yaml"
MATCH = '{alertname="HighErrorRate", app=~"web|shop"}'


@pytest.fixture
async def fake() -> AsyncIterator[Alertmanager]:
    """Serve the fake."""
    async with Alertmanager() as served:
        assert isinstance(served, Alertmanager)
        served.silences.clear()
        yield served


@pytest.fixture
def by(context) -> Callable[..., Any]:
    """Use the three actions against a URL, in the name of a run."""

    class Using:
        def __init__(self, url: str, run: str = "01jd") -> None:
            made: Context = context({"alertmanager": {"url": url}})
            self.context = Context(made.deadline, made.settings, made.secret, run=run, resources=made.resources)

        async def silence(self, match: object = MATCH, span: str = "30m", comment: str = "being mended") -> Outcome:
            params = SilenceParameters.model_validate({"match": match, "for": span, "comment": comment})
            return await AlertmanagerSilence().run(params, self.context)

        async def silences(self, **given: object) -> Outcome:
            return await AlertmanagerSilences().run(SilencesParameters.model_validate(given), self.context)

        async def expire(self, **given: object) -> Outcome:
            return await AlertmanagerExpireSilence().run(ExpireParameters.model_validate(given), self.context)

    return Using


def posts(fake: Alertmanager) -> list[Any]:
    """Give the bodies that were posted."""
    return [seen.json for seen in fake.seen if seen.method == "POST"]


# --- to silence ---


async def test_a_silence_says_what_for_how_long_why_and_whose_it_is(fake, by) -> None:
    """And its span is the one that was asked for."""
    outcome = await by(fake.url).silence(comment="being\nmended")
    assert (outcome.kind, outcome.result["made"], outcome.result["id"]) == (Result.OK, True, *fake.silences)
    (posted,) = posts(fake)
    assert posted["matchers"] == [
        {"name": "alertname", "value": "HighErrorRate", "isRegex": False, "isEqual": True},
        {"name": "app", "value": "web|shop", "isRegex": True, "isEqual": True},
    ]
    assert posted["createdBy"] == "remediator"
    assert posted["comment"] == "being\\nmended [remediator run 01jd for 1800 s]"
    begins, ends = (datetime.fromisoformat(posted[key]) for key in ("startsAt", "endsAt"))
    assert ends - begins == timedelta(minutes=30)
    assert abs(datetime.now(UTC) - begins) < timedelta(seconds=30)
    assert outcome.result["ends_at"] == posted["endsAt"]


async def test_the_same_silence_of_the_same_run_is_made_once(fake, by) -> None:
    """However its matchers are written: so it may be retried, and done again after a crash."""
    first = await by(fake.url).silence()
    again = await by(fake.url).silence(match=['app=~"web|shop"', 'alertname = "HighErrorRate"'], comment="again")
    assert (again.kind, again.result["made"], again.result["id"]) == (Result.OK, False, first.result["id"])
    assert len(posts(fake)) == 1
    assert AlertmanagerSilence().idempotent(SilenceParameters(match='a="b"', for_=60.0, comment="x"))


@pytest.mark.parametrize("other", [{"match": '{alertname="HighErrorRate"}'}, {"span": "1h"}])
async def test_another_silence_is_another(fake, by, other: dict[str, str]) -> None:
    """Other matchers, or another span."""
    await by(fake.url).silence()
    assert (await by(fake.url).silence(**other)).result["made"] is True


async def test_what_another_run_or_person_silenced_or_what_has_ended_does_not_count(fake, by) -> None:
    """Each run answers for its own."""
    fake.add_silence("anna", "x [remediator run 01jd for 1800 s]", alertname="A")
    fake.add_silence("remediator", "x [remediator run 02jd for 1800 s]", alertname="A")
    ended = fake.add_silence("remediator", "x [remediator run 01jd for 1800 s]", alertname="A")
    fake.silences[ended]["ended"] = True
    assert (await by(fake.url).silence(match='alertname="A"')).result["made"] is True


async def test_p2_a_silence_is_posted_once_whatever_becomes_of_it(fake, by) -> None:
    """A connection that is cut leaves it open whether it stands."""
    fake.faults.extend([None, Fault("cut-after")])
    outcome = await by(fake.url).silence()
    assert (outcome.kind, len(posts(fake)), len(fake.silences)) == (Result.ERROR, 1, 1)
    assert (await by(fake.url).silence()).result["made"] is False


async def test_p5_where_it_is_not_known_what_stands_nothing_is_posted(fake, by) -> None:
    """An error is no empty list."""
    fake.faults.append(Fault("garbage"))
    outcome = await by(fake.url).silence()
    assert (outcome.kind, posts(fake)) == (Result.ERROR, [])


@pytest.mark.parametrize(
    "match",
    [
        "{}", [], 'app=""', 'app!="web"', 'app=~".+"', 'app=~".*"', 'app=~"web|.*"', 'app=~"web|"', 'app=~""', 'app!~"x"',
        ['app=~".+"', 'alertname!=""'],
    ],
)  # fmt: skip
def test_p5_what_names_nothing_silences_nothing(match: object) -> None:
    """A label that is missing, or a pattern that takes everything, would silence far too much."""
    with pytest.raises(ValidationError, match="no matcher in it"):
        SilenceParameters.model_validate({"match": match, "for": "1h", "comment": "x"})


@pytest.mark.parametrize(
    "match", ["app=web", 'app="web', 'app="a\\xb"', '"app"="web"', 'app=="web"', "app='web'", 'a b="c"']
)
def test_what_two_parsers_may_read_differently_is_refused(match: str) -> None:
    """Alertmanager has two; which one will read it is not ours to guess."""
    with pytest.raises(ValidationError, match="is not a plain matcher"):
        SilenceParameters.model_validate({"match": match, "for": "1h", "comment": "x"})


@pytest.mark.parametrize("span", ["59s", "0", "25h", "1d1s"])
def test_a_span_has_its_bounds(span: str) -> None:
    """A silence that is forgotten ends by itself, within a day."""
    with pytest.raises(ValidationError):
        SilenceParameters.model_validate({"match": MATCH, "for": span, "comment": "x"})


@given(
    st.lists(
        st.tuples(st.sampled_from(["app", "pod"]), st.text(alphabet=st.characters(exclude_categories=["Cs"]))),
        min_size=1,
    )
)
def test_matchers_are_read_as_they_were_written(parts: list[tuple[str, str]]) -> None:
    """Whatever the values hold."""
    matchers = {Matcher(name, value, isRegex=False) for name, value in parts}
    assert set(parts_of(", ".join(map(str, matchers)))) == matchers


# --- to end ---


async def test_ours_are_ended_by_their_matchers_whatever_the_run(fake, by) -> None:
    """And nobody else's, and none with other matchers."""
    ours = [(await by(fake.url, run).silence()).result["id"] for run in ("01jd", "02jd")]
    kept = [(await by(fake.url).silence(match='{alertname="HighErrorRate"}')).result["id"]]
    kept.append(fake.add_silence("anna", "mine", alertname="HighErrorRate"))
    outcome = await by(fake.url, "03jd").expire(match=MATCH)
    assert (outcome.kind, outcome.result) == (Result.OK, {"expired": ours, "count": 2})
    assert [number for number, each in fake.silences.items() if not each.get("ended")] == kept
    assert (await by(fake.url).expire(match=MATCH)).result == {"expired": [], "count": 0}


async def test_one_of_ours_is_ended_by_its_id(fake, by) -> None:
    """Once ended it stays so, and to end it again is no error."""
    number = (await by(fake.url).silence()).result["id"]
    assert (await by(fake.url).expire(id=number)).result == {"expired": [number], "count": 1}
    assert (await by(fake.url).expire(id=number)).result == {"expired": [], "count": 0}
    assert [seen.method for seen in fake.seen].count("DELETE") == 1


async def test_p5_somebody_elses_is_never_ended(fake, by) -> None:
    """Not even when it is named."""
    number = fake.add_silence("anna\x1b", "mine", alertname="A")
    outcome = await by(fake.url).expire(id=number)
    assert (outcome.kind, "ended" in fake.silences[number]) == (Result.REFUSED, False)
    assert f"{number} was made by anna\\x1b" in outcome.error


async def test_an_id_that_nothing_has_is_refused(fake, by) -> None:
    """It may be a mistake."""
    outcome = await by(fake.url).expire(id="00000000-0000-0000-0000-000000000000")
    assert outcome.kind is Result.REFUSED
    assert "with 404" in outcome.error


async def test_where_the_second_can_not_be_ended_it_is_said_which_was(fake, by) -> None:
    """The operator need not look."""
    first, second = [(await by(fake.url, run).silence()).result["id"] for run in ("01jd", "02jd")]
    fake.faults.extend([None, None, Fault("status", 403)])
    outcome = await by(fake.url).expire(match=MATCH)
    assert (outcome.kind, outcome.result) == (Result.ERROR, {"expired": [first], "count": 1})
    assert outcome.error.startswith(f"ended {first}, but not {second}: Alertmanager answered DELETE")


@pytest.mark.parametrize(
    "given", [{}, {"id": "x"}, {"id": "0" * 36}, {"match": '{app=~".*"}'}, {"match": MATCH, "id": "0" * 36}]
)
def test_what_to_end_is_said_in_one_way(given: dict[str, str]) -> None:
    """By the id, or by the matchers."""
    with pytest.raises(ValidationError):
        ExpireParameters.model_validate(given)


# --- to look ---


async def test_silences_are_given_in_our_words(fake, by) -> None:
    """With whose they are."""
    number = (await by(fake.url).silence()).result["id"]
    fake.add_silence("anna", "disks [remediator run 01jd for 1800 s]", app="shop")
    ours, hers = (await by(fake.url).silences()).result["silences"]
    assert (ours["id"], ours["state"], ours["ours"], ours["run"]) == (number, "active", True, "01jd")
    assert ours["matchers"] == ['alertname="HighErrorRate"', 'app=~"web|shop"']
    assert (hers["created_by"], hers["ours"], hers["run"]) == ("anna", False, None)
    assert {"starts_at", "ends_at", "comment"} <= set(ours)


async def test_they_are_chosen_by_matchers_state_and_maker(fake, by) -> None:
    """By default those that stand or will."""
    gone = fake.add_silence("anna", "x", app="shop")
    fake.silences[gone]["ended"] = True
    fake.add_silence("anna", "x", app="web")
    await by(fake.url).silence(match='app="web"')
    counts = [
        (await by(fake.url).silences(**given)).result["count"]
        for given in ({}, {"states": ["expired"]}, {"match": 'app="web"'}, {"ours": True}, {"match": 'app="x"'})
    ]
    assert counts == [2, 1, 2, 1, 0]


async def test_p5_a_list_is_given_short_or_not_at_all_but_never_cut(fake, by) -> None:
    """All are there by their matchers; where even that is too much nobody knows."""
    for number in range(200):
        fake.add_silence("anna", "long words " * 50, app=str(number))
    outcome = await by(fake.url).silences()
    assert (outcome.kind, outcome.result["count"], len(outcome.result["silences"])) == (Result.OK, 200, 200)
    assert set(outcome.result["silences"][0]) == {"id", "state", "matchers", "ours"}
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES
    for number in range(1000):
        fake.add_silence("anna", "x", app=str(number))
    outcome = await by(fake.url).silences()
    assert (outcome.kind, outcome.result) == (Result.ERROR, None)
    assert "never cut" in outcome.error


@pytest.mark.parametrize("lacks", ["id", "status", "matchers", "createdBy", "comment"])
async def test_p5_a_silence_that_lacks_something_is_an_error(fake, by, lacks: str) -> None:
    """A missing field is read as no value of its own."""
    fake.silences["x"] = {**fake.silences[fake.add_silence("anna", "x", app="web")]}
    shown = fake._shown
    fake._shown = lambda silence: {key: value for key, value in shown(silence).items() if key != lacks}
    assert (await by(fake.url).silences()).kind is Result.ERROR


def test_the_plans_say_what_is_silenced_for_how_long() -> None:
    """In one line each."""
    silence = SilenceParameters.model_validate({"match": MATCH, "for": "90m", "comment": "x"})
    said = 'alertname="HighErrorRate", app=~"web|shop"'
    assert AlertmanagerSilence().plan(silence) == f"silence the alerts that match {said} for 1h30m"
    assert AlertmanagerExpireSilence().plan(ExpireParameters(match=MATCH)) == f"end our silences for {said}"
    assert AlertmanagerSilences().plan(SilencesParameters(match='a="b"', ours=True)) == (
        'ask Alertmanager for our active, pending silences for a="b"'
    )
    assert (AlertmanagerSilences.effect, AlertmanagerSilence.effect) == (Effect.READ, Effect.WRITE)


# --- against the real thing, and its contract ---


@pytest.fixture
def real(tmp_path: Path) -> Iterator[world.Alertmanager]:
    """Start Debian's Alertmanager."""
    with ExitStack() as closing:
        yield closing.enter_context(world.Alertmanager(tmp_path, "nobody", ["http://127.0.0.1:9/"]))


@pytest.mark.slow
async def test_a_real_alertmanager_silences_and_ends(real, by, context) -> None:
    """The alert fires, is suppressed, and fires again; what hostile text a matcher holds arrives as it is."""
    hostile = 'a\\"b\\\\c\\nd, e="f"} 🔥'.replace(', e="f"', ', e=\\"f\\"')
    match = f'{{alertname="Down", app="{hostile}"}}'
    (_, app) = parts_of(match)
    real.tell({"labels": {"alertname": "Down", "app": app.value}})

    async def state() -> str:
        outcome = await AlertmanagerAlerts().run(AlertsParameters(match=match), by(real.url).context)
        return ",".join(alert["state"] for alert in outcome.result["alerts"])

    assert await state() in {"unprocessed", "active"}
    made = await by(real.url).silence(match=match, comment="being mended")
    assert (made.kind, made.result["made"]) == (Result.OK, True), made.error
    assert await state() == "suppressed"
    assert (await by(real.url).silence(match=match)).result == {**made.result, "made": False}
    (listed,) = (await by(real.url).silences(match=f'app="{hostile}"', ours=True)).result["silences"]
    assert (listed["id"], listed["state"], listed["run"], listed["ends_at"]) == (
        made.result["id"], "active", "01jd", made.result["ends_at"],
    )  # fmt: skip
    assert (await by(real.url, "02jd").expire(match=match)).result == {"expired": [made.result["id"]], "count": 1}
    assert await state() != "suppressed"
    assert (await by(real.url).expire(match=match)).result["count"] == 0
    assert (await by(real.url).expire(id=made.result["id"])).result["count"] == 0
    assert (await by(real.url).silences()).result["count"] == 0
    assert (await by(real.url).silences(states=["expired"])).result["count"] == 1
    unknown = await by(real.url).expire(id="00000000-0000-0000-0000-000000000000")
    assert unknown.kind is Result.REFUSED
    assert eventually(real.alerts, "the alert is still there")


def contract(name: str) -> dict[str, Any]:
    """Give one of the contract's schemas, as JSON Schema; skips where the document isn't beside the checkout."""
    if not SPEC.is_file():
        pytest.skip(f"{SPEC.name} is not beside the checkout")
    document = yaml.safe_load(SPEC.read_text())
    return {"$ref": f"#/definitions/{name}", "definitions": document["definitions"]}


async def test_what_is_posted_is_what_the_contract_says(fake, by) -> None:
    """Alertmanager's own OpenAPI document."""
    schema = contract("postableSilence")
    await by(fake.url).silence()
    jsonschema.validate(posts(fake)[0], schema, jsonschema.Draft4Validator)


@pytest.mark.parametrize(("path", "name"), [("alerts", "gettableAlerts"), ("silences", "gettableSilences")])
async def test_the_fake_answers_as_the_contract_says(fake, context, path: str, name: str) -> None:
    """Else it would prove nothing."""
    fake.reset()
    schema = contract(name)
    answer = await fetch(Call("GET", f"{fake.url}/api/v2/{path}"), context())
    assert isinstance(answer, Answer)
    listed = json.loads(answer.body)
    assert listed
    jsonschema.validate(listed, schema, jsonschema.Draft4Validator)
