"""The API for other programs: refused without its token, read-only, and the rows of the store."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from dashboard.api.gate import ApiGate
from dashboard.launch import serve
from pipeline.clock import wall_clock
from pipeline.config import load
from pipeline.errors import ConfigError
from pipeline.records import EventsLost

TOKEN = "a token of sixteen or more"
TOKEN = TOKEN.replace(" ", "-")
AUTH = {"Authorization": f"Bearer {TOKEN}"}
TIMES = {"from": "2026-11-18T11:00Z", "to": "2026-11-18T12:00:00Z"}


@pytest.fixture
def open_api(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the gate before an application that answers everything."""
    monkeypatch.setenv("API_TOKEN", TOKEN)
    monkeypatch.setattr("dashboard.api.app.wall_clock", lambda: 1_795_003_200_000)

    def make(**settings: Any) -> TestClient:
        wanted = load(store={"url": url}, dashboard={"api_token": "env:API_TOKEN"} | settings)
        pages = Starlette()
        pages.add_route("/{path:path}", lambda _: PlainTextResponse("the pages"))
        return TestClient(ApiGate(pages, wanted), raise_server_exceptions=False)

    return make


@pytest.fixture
def api(open_api: Any, furnished: Any) -> TestClient:
    return open_api()


PATHS = (
    *("cameras", "losses", "tracks", "tracks/trk:door:e1:1", "tracks/trk:door:e1:1/observations"),
    *("observations?camera=door", "shares", "shares/timeline", "export/observations.csv"),
    *("export/tracks.parquet", "events", "openapi.json", "no-such-thing"),
)


@pytest.mark.parametrize("path", PATHS)
def test_without_its_token_nothing_is_told(api: TestClient, path: str) -> None:
    wrong = ({}, {"Authorization": "Bearer x"}, {"Authorization": TOKEN}, {"Cookie": TOKEN})
    for headers in wrong:
        reply = api.get(f"/api/v1/{path}", headers=headers)
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert reply.json().keys() == {"what", "where", "remedy"}
    assert api.get("/tracks").text == "the pages"


def test_no_api_without_a_setting(open_api: Any, furnished: Any) -> None:
    reply = open_api(api_token="").get("/api/v1/cameras", headers=AUTH)
    assert reply.status_code == 404
    assert "dashboard.api_token" in reply.text


def test_a_token_is_a_long_secret(open_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "short")
    with pytest.raises(ConfigError, match="not a token for the API"):
        open_api()
    with pytest.raises(ConfigError, match="a token is a secret"):
        open_api(api_token="written-in-the-open")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_it_changes_nothing(api: TestClient, method: str) -> None:
    for path in ("cameras", "tracks/trk:door:e1:1", "observations"):
        assert api.request(method, f"/api/v1/{path}", headers=AUTH).status_code == 405


def get(api: TestClient, path: str, **parameters: Any) -> Any:
    reply = api.get(f"/api/v1/{path}", params=parameters, headers=AUTH)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_cameras(api: TestClient) -> None:
    found = {one["camera"]: one for one in get(api, "cameras")}
    assert found.keys() == {"door", "film", "hall", "lab", "yard"}
    assert (found["lab"]["state"], found["lab"]["reason"]) == ("offline", "<b>no frame</b>")


def test_tracks(api: TestClient) -> None:
    found = get(api, "tracks", **TIMES)
    assert found["total"] == 4
    assert found["tracks"][0]["id"] == "trk:door:e1:1"
    only = get(
        api, "tracks", **TIMES, label="fear", camera="hall", sort="confidence", quality="good"
    )
    assert [one["id"] for one in only["tracks"]] == ["trk:hall:e1:9"]
    one = get(api, "tracks/trk:door:e1:1")
    assert one["counts"] == {"neutral": 1, "happiness": 3, "unknown": 1}
    rows = get(api, "tracks/trk:door:e1:1/observations")
    assert [row["frame"] for row in rows["observations"]] == [0, 1, 2, 3, 4]
    assert rows["next"] is None
    for missing in ("trk:door:e1:99", "x", quote("'; DROP TABLE tracks", safe="")):
        assert api.get(f"/api/v1/tracks/{missing}", headers=AUTH).status_code == 404


def test_observations_in_pages(api: TestClient) -> None:
    found, after = [], ""
    while after is not None:
        page = get(api, "observations", camera="door", **TIMES, limit=3, after=after)
        found += page["observations"]
        after = page["next"]
    assert len({row["id"] for row in found}) == len(found) == 10
    assert [r["captured_ms"] for r in found] == sorted(r["captured_ms"] for r in found)
    assert found[0]["smoothed_label"] == "neutral"


def test_shares(api: TestClient) -> None:
    assert get(api, "shares", **TIMES)["door"]["counts"]["happiness"] == 3
    assert get(api, "shares", **TIMES, camera="hall").keys() == {"hall"}
    timeline = get(api, "shares/timeline", **TIMES, camera="hall", points=60)
    assert timeline["bucket_ms"] == 60_000
    assert sum(point["shares"]["observations"] for point in timeline["points"]) == 5
    assert len(get(api, "shares/timeline", **TIMES)["points"]) == 3


def test_losses(api: TestClient, furnished: Any, now: int) -> None:
    loss = {"camera": "hall", "run": "e1", "since_ms": now - 90_000, "until_ms": now - 30_000}
    furnished.lose(
        EventsLost(id=EventsLost.make_id("hall", "e1", 1), events=9, reason="full", **loss)
    )
    assert get(api, "losses") == [loss | {"events": 9, "reason": "full"}]
    assert get(api, "losses", camera="door") == []


def test_exports(api: TestClient) -> None:
    reply = api.get("/api/v1/export/observations.csv", params=TIMES, headers=AUTH)
    assert reply.headers["Content-Type"].startswith("text/csv")
    assert len(list(csv.DictReader(io.StringIO(reply.text)))) == 15
    parquet = pytest.importorskip("pyarrow.parquet")
    reply = api.get("/api/v1/export/tracks.parquet", params=TIMES, headers=AUTH)
    rows = parquet.read_table(io.BytesIO(reply.content)).to_pylist()
    assert {row["id"] for row in rows} == {
        one["id"] for one in get(api, "tracks", **TIMES)["tracks"]
    }


@pytest.mark.parametrize(
    ("path", "parameters", "status"),
    [
        ("tracks", {"from": "soon"}, 400),
        ("tracks", {"from": TIMES["to"], "to": TIMES["from"]}, 400),
        ("tracks", {"from": "0001-01-01", "to": "9999-12-31"}, 400),
        ("tracks", {"limit": "100000"}, 422),
        ("tracks", {"label": "boredom"}, 422),
        ("tracks", {"sort": "id; --"}, 422),
        ("observations", {}, 422),
        ("export/users.csv", {}, 422),
        ("nothing", {}, 404),
    ],
)
def test_wrong_requests(api: TestClient, path: str, parameters: Any, status: int) -> None:
    reply = api.get(f"/api/v1/{path}", params=parameters, headers=AUTH)
    assert reply.status_code == status
    assert "Traceback" not in reply.text


def test_a_database_that_is_away_and_back(open_api: Any, furnished: Any, tmp_path: Any) -> None:
    api = open_api()
    assert get(api, "cameras")
    file = tmp_path / "undercam.db"
    away = file.rename(file.with_suffix(".away"))
    reply = api.get("/api/v1/cameras", headers=AUTH)
    assert (reply.status_code, reply.json()["what"]) == (503, "no such database")
    away.rename(file)
    assert get(api, "cameras")


def test_the_description_is_complete(api: TestClient) -> None:
    found = get(api, "openapi.json")
    assert found["openapi"].startswith("3.")
    assert {path for path in found["paths"]} >= {
        *("/v1/cameras", "/v1/tracks", "/v1/observations", "/v1/shares", "/v1/events"),
        "/v1/export/{name}",
    }
    for operations in found["paths"].values():
        assert operations.keys() == {"get"}
        assert operations["get"]["description"]


@pytest.fixture(scope="module")
def served(live_house: Any) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("API_TOKEN", TOKEN)
        settings = load(dashboard={"port": 0, "api_token": "env:API_TOKEN", "base_path": "/house"})
        with serve(settings, live_house.url) as dashboard:
            yield dashboard.url


def test_beside_the_pages_and_below_their_path(served: str) -> None:
    with urlopen(Request(f"{served}/api/v1/cameras", headers=AUTH), timeout=60) as reply:
        assert any(one["camera"] == "door" for one in json.load(reply))
    with pytest.raises(HTTPError, match="401") as refused:
        urlopen(f"{served}/api/v1/cameras", timeout=60)
    refused.value.close()


def test_live_events(served: str, live_house: Any) -> None:
    """A new observation arrives once, with its id, on a stream that was open before."""
    request = Request(f"{served}/api/v1/events?camera=hall", headers=AUTH)
    with urlopen(request, timeout=60) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.readline() == b": connected\n"
        now = wall_clock()
        write = threading.Timer(0.1, live_house.face, ("hall", ["fear"] * 3, now, 77))
        live_house.face("door", ["fear"], now, 78)
        write.start()
        found = []
        while len(found) < 3:
            line = stream.readline().decode()
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
        write.join()
    assert [(row["track"], row["frame"]) for row in found] == [(77, 0), (77, 1), (77, 2)]
