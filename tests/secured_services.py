"""The services of the tests with TLS and passwords: a Kafka broker and PostgreSQL."""

import shutil
from pathlib import Path

from tests.service_process import HOST, ServiceMissing, run_once
from tests.services import KafkaBroker, PostgresServer, find_java


class SecuredBroker(KafkaBroker):
    """A Kafka node that speaks TLS alone, and asks for a certificate, a user and a password (SCRAM-SHA-512)."""

    user = "scorer"

    def __init__(self, folder: Path, password: str) -> None:
        super().__init__(folder)
        self._password = password
        self._keystore, self.certificate = folder / "broker.p12", folder / "broker.pem"
        self._client_keystore, self._known = folder / "client.p12", folder / "known.pem"

    @property
    def client(self) -> dict[str, str]:
        """What a client of librdkafka needs to reach it."""
        login = {"sasl.username": self.user, "sasl.password": self._password, "sasl.mechanism": "SCRAM-SHA-512"}
        own = {"ssl.keystore.location": str(self._client_keystore), "ssl.keystore.password": self._password}
        secured = {"security.protocol": "SASL_SSL", "ssl.ca.location": str(self.certificate)}
        return super().client | secured | own | login

    @property
    def environment(self) -> dict[str, str]:
        """What the stream needs in its environment to reach it; the password among it."""
        secured = {"LEADS_KAFKA_PROTOCOL": "SASL_SSL", "LEADS_KAFKA_TRUSTSTORE": str(self.certificate)}
        own = {"LEADS_KAFKA_KEYSTORE": str(self._client_keystore), "KAFKA_KEYSTORE_PASSWORD": self._password}
        return super().environment | secured | own | {"KAFKA_USERNAME": self.user, "KAFKA_PASSWORD": self._password}

    def prepare(self) -> None:
        """Make keys and certificates too, its own and its client's; as a client of itself, it knows both."""
        if not self._known.exists():
            self._make_key(self._keystore, self.certificate)
            clients = self._client_keystore.with_suffix(".pem")
            self._make_key(self._client_keystore, clients)
            self._known.write_text(self.certificate.read_text() + clients.read_text())
        super().prepare()

    def _make_key(self, keystore: Path, certificate: Path) -> None:
        tool = [str(Path(find_java()).with_name("keytool")), "-keystore", str(keystore)]
        tool += ["-storetype", "PKCS12", "-storepass", self._password, "-alias", keystore.stem]
        made = ["-genkeypair", "-keyalg", "RSA", "-dname", f"CN={HOST}", "-ext", f"san=ip:{HOST}", "-validity", "9"]
        run_once([*tool, *made])
        run_once([*tool, "-exportcert", "-rfc", "-file", str(certificate)])

    def settings(self) -> str:
        """As the plain broker's, with one listener that is secured."""
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        return super().settings().replace("PLAINTEXT:PLAINTEXT", "SASL_SSL:SASL_SSL").replace(
            "PLAINTEXT://", "SASL_SSL://"
        ) + (
            "inter.broker.listener.name=SASL_SSL\n"
            "sasl.enabled.mechanisms=SCRAM-SHA-512\n"
            "sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512\n"
            f"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}"
            f' username="{self.user}" password="{self._password}";\n'
            f"ssl.keystore.location={self._keystore}\n"
            "ssl.keystore.type=PKCS12\n"
            f"ssl.keystore.password={self._password}\n"
            f"ssl.truststore.location={self._known}\n"
            "ssl.truststore.type=PEM\n"
            "listener.name.sasl_ssl.ssl.client.auth=required\n"
        )

    def format_words(self) -> list[str]:
        """The user with its password."""
        return ["--add-scram", f"SCRAM-SHA-512=[name={self.user},password={self._password}]"]


class SecuredPostgres(PostgresServer):
    """PostgreSQL that also speaks TLS; `certificate` is its own, which clients may verify it by."""

    @property
    def certificate(self) -> Path:
        """The file of the certificate."""
        return self.home / "server.pem"

    def prepare(self) -> None:
        """Make its key and certificate too."""
        if not self.certificate.exists():
            make_certificate(self.home / "server.key", self.certificate)
        super().prepare()

    def command(self) -> list[str]:
        """As the plain server's, with TLS."""
        files = ["-c", f"ssl_cert_file={self.certificate}", "-c", f"ssl_key_file={self.home}/server.key"]
        return [*super().command(), "-c", "ssl=on", *files]


def make_certificate(key: Path, certificate: Path) -> None:
    """Make a key and a certificate of this machine's own address."""
    if shutil.which("openssl") is None:
        raise ServiceMissing("no server with TLS: there is no openssl; install it (Debian: apt-get install openssl)")
    made = ["-keyout", str(key), "-out", str(certificate), "-days", "9", "-subj", f"/CN={HOST}"]
    run_once(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-addext", f"subjectAltName=IP:{HOST}", *made]
    )
