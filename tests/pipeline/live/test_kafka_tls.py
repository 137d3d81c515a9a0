"""From outbox to row through a broker that wants TLS and a login; what fails is one sentence, in
every place that says it, and what waits goes on when it is mended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from pipeline.bus.outbox import Outbox
from pipeline.cli.app import run
from pipeline.cli.checks.base import run_checks
from pipeline.cli.checks.services import checks_of_services
from pipeline.config import Settings
from pipeline.live.relay_service import RelayService
from pipeline.live.store_consumer import open_consumer
from pipeline.service_settings import BusSettings
from pipeline.store.engine import open_store
from pipeline.store.schema import observations
from tests.pipeline.broker import ALICE, NEEDS_KAFKA, Broker
from tests.pipeline.certificate import make_authority

pytestmark = [*NEEDS_KAFKA, pytest.mark.needs("openssl")]
WRONG = "n0t-the-passw0rd"
EVENTS = 60


@pytest.fixture
def secure(bus: BusSettings, broker: Broker, tmp_path: Path) -> BusSettings:
    """What logs in, with the password in a file."""
    (tmp_path / "password").write_text(ALICE[1])
    changes = {
        "url": broker.tls_url,
        "security": "SASL_SSL",
        "user": ALICE[0],
        "password": f"file:{tmp_path}/password",
        "ca_file": broker.authority,
        "timeout_s": 2.0,
    }
    return bus.model_copy(update=changes)


def settings_of(bus: BusSettings, folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "bus": bus.model_dump(),
            "store": {"url": f"sqlite:///{folder}/rows.db"},
            "outbox": {"folder": f"{folder}/outbox"},
        }
    )


def write_events(folder: Path, make: Any) -> None:
    with Outbox(folder / "outbox", "door", "e1") as outbox:
        outbox.append([make.look(n) for n in range(EVENTS)])


def until(condition: Callable[[], object], said: Callable[[], object]) -> None:
    end_s = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end_s, said()
        time.sleep(0.05)


def store(settings: Settings) -> int:
    """Consume to the end of the topics; the number of rows then."""
    with open_consumer(settings) as consumer:
        consumer.run(lambda: False, until_idle_s=1.0)
    engine = open_store(settings.store.url)
    with engine.connect() as connection:
        count: int = connection.execute(select(func.count()).select_from(observations)).scalar_one()
    engine.dispose()
    return count


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
def test_events_become_rows_over_tls_with_a_login(
    secure: BusSettings, tmp_path: Path, make: Any, mechanism: str
) -> None:
    settings = settings_of(secure.model_copy(update={"sasl_mechanism": mechanism}), tmp_path)
    write_events(tmp_path, make)
    with RelayService(settings) as relay:
        until(lambda: relay.report.sent == EVENTS, lambda: relay.report)
    assert store(settings) == EVENTS
    found = checks_of_services(settings)["bus"].probe()
    assert found == f"{secure.url} answers, topics {secure.topic_prefix}.*"


FAULTS = {
    "password": ("broker refuses the login", "correct bus.user and bus.password, or "),
    "authority": ("broker's certificate is not trusted", "set bus.ca_file to the certificate of "),
    "host": ("broker's certificate names another host", "use the host that it names in bus.url "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_and_events_wait_until_it_is_mended(
    fault: str,
    secure: BusSettings,
    broker: Broker,
    tmp_path: Path,
    make: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = {
        "password": {"password": WRONG},
        "authority": {"ca_file": str(make_authority(tmp_path / "stranger"))},
        "host": {"url": broker.elsewhere_url},
    }[fault]
    settings = settings_of(secure.model_copy(update=changes), tmp_path)
    write_events(tmp_path, make)
    what, remedy = FAULTS[fault]
    sentence = f"{what}: {settings.bus.url}: {remedy}"
    with RelayService(settings) as relay:
        until(lambda: relay.report.fault.startswith(sentence), lambda: relay.report)
        assert (relay.report.sent, relay.report.waiting) == (0, EVENTS)
        said = relay.report.fault
    toml = tmp_path / "undercam.toml"
    lines = [f"{name} = {value!r}" for name, value in settings.bus.model_dump().items()]
    text = "\n".join(lines).replace("True", "true")
    toml.write_text(f"[bus]\n{text}\n[store]\nurl = '{settings.store.url}'\n")
    assert run(["store", "-c", str(toml)]) == 4
    assert capsys.readouterr().err == f"undercam: {said}\n"
    (found,) = run_checks({"bus": checks_of_services(settings)["bus"]}).values()
    assert f"{found.found}: {found.remedy}" == said
    assert not any(secret in said for secret in (WRONG, ALICE[1]))
    mended = settings_of(secure, tmp_path)
    with RelayService(mended) as relay:
        until(lambda: relay.report.sent == EVENTS, lambda: relay.report)
    assert store(mended) == EVENTS


def test_a_mended_file_needs_no_restart(secure: BusSettings, tmp_path: Path, make: Any) -> None:
    """Secrets are rotated, and authorities' certificates renewed, while cameras go on."""
    password, authority = tmp_path / "password", tmp_path / "authority.pem"
    password.write_text(WRONG)
    authority.write_bytes(make_authority(tmp_path / "stranger").read_bytes())
    right = Path(secure.ca_file).read_bytes()
    settings = settings_of(secure.model_copy(update={"ca_file": str(authority)}), tmp_path)
    write_events(tmp_path, make)
    with RelayService(settings) as relay:
        until(lambda: "is not trusted: " in relay.report.fault, lambda: relay.report)
        authority.write_bytes(right)
        until(lambda: "refuses the login: " in relay.report.fault, lambda: relay.report)
        password.write_text(ALICE[1])
        until(lambda: relay.report.sent == EVENTS, lambda: relay.report)
        assert relay.report.fault == ""
