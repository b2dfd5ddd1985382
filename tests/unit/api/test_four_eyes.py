"""Four eyes at the desk and by the API, with a pack that asks for them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest

from gateway.app.app import Gateway
from gateway.identity.sessions import Sessions
from gateway.identity.users import Role
from tests.support.api_gateway import Answer, Client, app_of, open_api_gateway, request, serving
from tests.support.storage.ledgers import NOW

TEMPLATES = Path(__file__).parents[3] / "templates"
PACK = """
name: house
version: "1"
effective_from: 2026-01-01
status: "draft, to be reviewed by counsel"
jurisdictions: []
overlay: true
rules:
  zone: {resolution: all_candidates, mark: &mark {authority: our_choice, seen: not_applicable, source: test}}
  four_eyes:
    - {value: [lift_hold], kinds: [deceased], mark: *mark}
    - {value: [approve_review], mark: *mark}
"""


@dataclass(frozen=True)
class FourEyesDesk:
    """Two supervisors at a lender's desk, and the lender's API key."""

    gateway: Gateway
    lender: Client
    cookies: dict[str, str]

    async def act(self, person: str, path: str, **fields: str) -> Answer:
        signer, token = self.gateway.ledger.signer, self.cookies[person]
        session = signer.open_session_token(token)
        form = {"form_token": signer.form_token(session or ""), "reason": f"because, says {person}", **fields}
        headers = {"Cookie": f"gateway_session={token}", "Content-Type": "application/x-www-form-urlencoded"}
        nobody = self.lender.holding("")
        return await nobody.post(path, data=urlencode(form), headers=headers, allow_redirects=False)

    async def page(self, person: str, path: str) -> str:
        headers = {"Cookie": f"gateway_session={self.cookies[person]}"}
        return (await self.lender.holding("").get(path, headers=headers)).raw.decode()


@pytest.fixture
async def desk(tmp_path: Path, redis_url: str) -> AsyncIterator[FourEyesDesk]:
    folder = Path(shutil.copytree(TEMPLATES, tmp_path / "templates"))
    (folder / "policies" / "house.yaml").write_text(PACK, "utf-8")
    async with open_api_gateway(tmp_path, redis_url, templates_dir=folder) as gateway:
        ledger, cookies = gateway.ledger, {}
        for name in ("Sam", "Sue"):
            user = await ledger.users.add(
                "acme", name, f"{name}@acme.example", Role.SUPERVISOR, "long enough words", NOW
            )
            cookies[name] = await Sessions(ledger.database, ledger.signer).open(user, NOW)
        _, key = await ledger.keys.create("acme", "test", ("send", "read", "manage"), NOW)
        async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
            lender = Client(session, url, key)
            await lender.post("/v1/notifications", request())
            yield FourEyesDesk(gateway, lender, cookies)


async def test_a_hold_is_lifted_by_two(desk: FourEyesDesk) -> None:
    """The first proposes, is refused with 409 and sees no button; the second lifts. A key can't."""
    await desk.lender.call("PUT", "/v1/borrowers/B-1/holds/deceased", {"reason": "a letter"})
    refused = await desk.lender.call("DELETE", "/v1/borrowers/B-1/holds/deceased")
    assert (refused.status, refused.problem) == (409, "second_person_needed")
    path, record = "/desk/borrowers/B-1/lift-hold", "/desk/borrowers/B-1"
    first = await desk.act("Sam", path, kind="deceased")
    assert (first.status, first.headers["Location"]) == (303, f"{record}?done=proposed")
    assert (await desk.act("Sam", path, kind="deceased")).status == 409
    own, other = await desk.page("Sam", record), await desk.page("Sue", record)
    assert ("somebody else has to" in own, "lift-1-reason" in own) == (True, False)
    assert ("Proposed by Sam (because, says Sam)" in other, "lift-1-reason" in other) == (True, True)
    [proposal] = (await desk.lender.get("/v1/borrowers/B-1")).json["proposals"]
    assert (proposal["act"], proposal["target"]) == ("lift_hold", "deceased")
    second = await desk.act("Sue", path, kind="deceased")
    assert second.headers["Location"] == f"{record}?done=lift-hold"
    shown = (await desk.lender.get("/v1/borrowers/B-1")).json
    assert (shown["holds"], shown["proposals"]) == ([], [])
    timeline = await desk.page("Sue", record)
    assert "Proposed, for a second person to decide: lifting the hold deceased (because, says Sam)" in timeline
    assert "Hold lifted: deceased (because, says Sue)" in timeline


async def test_a_review_is_approved_by_two_and_refused_by_one(desk: FourEyesDesk) -> None:
    """Refusing contact needs nobody else."""
    for number in (2, 3):
        await desk.lender.call("PUT", f"/v1/borrowers/B-{number}/holds/vulnerable", {"reason": "told us"})
        await desk.lender.post("/v1/notifications", request(number))
    items = {each["borrower_id"]: each["id"] for each in (await desk.lender.get("/v1/reviews")).json["reviews"]}
    approve = f"/desk/reviews/{items['B-2']}/approve"
    by_key = await desk.lender.post(f"/v1/reviews/{items['B-2']}/approve", {"reason": "all is well"})
    assert (by_key.status, by_key.problem) == (409, "second_person_needed")
    assert (await desk.act("Sam", approve)).headers["Location"] == "/desk/reviews?done=proposed"
    assert "Proposed by Sam" in await desk.page("Sue", "/desk/reviews")
    assert (await desk.act("Sam", approve)).status == 409
    assert (await desk.act("Sue", approve)).headers["Location"] == "/desk/reviews?done=approve"
    refuse = f"/desk/reviews/{items['B-3']}/refuse"
    assert (await desk.act("Sam", refuse)).headers["Location"] == "/desk/reviews?done=refuse"
