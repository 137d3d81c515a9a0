"""A real Kafka broker of our own, with a port for everyone, one with a login, and two with TLS."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pipeline.certificate import make_authority, sign

NEEDS_KAFKA = [
    pytest.mark.needs("kafka"),
    # Its client leaves sockets that could not connect to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ALICE, BOB = ("alice", "s3cret-w0rd"), ("bob", "hunter2")
"""Who may do everything, by SCRAM or PLAIN; and who may log in, by PLAIN, and do nothing."""
_JAAS = "org.apache.kafka.common.security"


class Broker:
    """Started in `folder`, whose records a restart finds again; `more` are properties of it."""

    def __init__(self, program: Path, folder: Path, *more: str) -> None:
        self._program = program
        self._more = more
        self._folder = folder
        self._port = _free_ports(5)
        self._authority = make_authority(folder)
        self._keys = {
            "tls": sign(self._authority, folder / "tls", "IP:127.0.0.1"),
            "elsewhere": sign(self._authority, folder / "elsewhere", "DNS:kafka.example"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"kafka://127.0.0.1:{self._port}"

    @property
    def controller_url(self) -> str:
        """Where brokers speak among themselves."""
        return f"kafka://127.0.0.1:{self._port + 1}"

    @property
    def login_url(self) -> str:
        return f"kafka://127.0.0.1:{self._port + 2}"

    @property
    def tls_url(self) -> str:
        return f"kafka://127.0.0.1:{self._port + 3}"

    @property
    def elsewhere_url(self) -> str:
        """Where the certificate names another host."""
        return f"kafka://127.0.0.1:{self._port + 4}"

    @property
    def authority(self) -> str:
        """The file of who signed the certificates."""
        return str(self._authority)

    def start(self) -> None:
        """Returns when clients are answered."""
        self._launch()
        if not self._answers():
            self._launch()  # one cluster's id in 64 begins with a dash, which its tool refuses
            assert self._answers(), self._said()

    def _launch(self) -> None:
        command = [str(self._program), str(self._folder / "broker"), str(self._port)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._properties()],
                env=os.environ | {"SCRAM": ":".join(ALICE)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, how: int = signal.SIGTERM) -> None:
        assert self._process
        os.killpg(self._process.pid, how)
        self._process.wait(30)

    def crash(self) -> None:
        self.stop(signal.SIGKILL)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """A broker that answers nobody and closes nothing."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def _properties(self) -> list[str]:
        port = self._port
        listeners = (
            f"INSIDE://127.0.0.1:{port},CLIENT://127.0.0.1:{port + 2},"
            f"TLS://127.0.0.1:{port + 3},ELSEWHERE://127.0.0.1:{port + 4}"
        )
        login = [
            f"listener.name.{name}.{key}"
            for name in ("client", *self._keys)
            for key in (
                f"scram-sha-256.sasl.jaas.config={_JAAS}.scram.ScramLoginModule required;",
                f"plain.sasl.jaas.config={_JAAS}.plain.PlainLoginModule required"
                f' user_{ALICE[0]}="{ALICE[1]}" user_{BOB[0]}="{BOB[1]}";',
            )
        ]
        return [
            "listener.security.protocol.map="
            "INSIDE:PLAINTEXT,CLIENT:SASL_PLAINTEXT,TLS:SASL_SSL,ELSEWHERE:SASL_SSL,"
            "CONTROLLER:PLAINTEXT",
            f"listeners={listeners},CONTROLLER://127.0.0.1:{port + 1}",
            f"advertised.listeners={listeners}",
            "inter.broker.listener.name=INSIDE",
            "sasl.enabled.mechanisms=SCRAM-SHA-256,PLAIN",
            *login,
            "ssl.keystore.type=PEM",
            *(
                f"listener.name.{name}.ssl.keystore.location={at}"
                for name, at in self._keys.items()
            ),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            f"super.users=User:ANONYMOUS;User:{ALICE[0]}",
            *self._more,
        ]

    def _answers(self) -> bool:
        """Waits until clients are answered, or it has ended."""
        assert self._process
        deadline = time.monotonic() + 60
        while self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self._port + 4), 1):
                    return True
            except OSError:
                assert time.monotonic() < deadline, self._said()
                time.sleep(0.05)
        return False

    def _said(self) -> str:
        return (self._folder / "log").read_text()[-3000:]


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = random.randrange(20_000, 30_000)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
