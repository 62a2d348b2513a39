"""The real services of the tests, started on free ports of 127.0.0.1: MLflow's server, a Kafka broker, PostgreSQL."""

import base64
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.service_process import HOST, Service, ServiceMissing, free_ports, run_once

JARS = Path(__file__).resolve().parent.parent / ".jars"
CLUSTER_ID = base64.urlsafe_b64encode(b"lead-scoring-tst").rstrip(b"=").decode()
# A killed broker may not come back before the session of the one that it was has ended: 9 s by default.
BROKER = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000
num.io.threads=2
num.network.threads=2
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class MlflowServer(Service):
    """MLflow's tracking server and registry on SQLite; clients send artifacts through it."""

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        """Nothing: the server makes its database itself."""

    def command(self) -> list[str]:
        """One worker, everything in the service's folder."""
        address = [f"--host={HOST}", f"--port={self.port}", "--workers=1"]
        runs, files = f"sqlite:///{self.folder}/mlflow.db", f"{self.folder}/artifacts"
        stores = [f"--backend-store-uri={runs}", f"--artifacts-destination={files}"]
        return [sys.executable, "-m", "mlflow", "server", *address, *stores]

    def options(self) -> dict[str, Any]:
        """None of the MLflow settings of the tests themselves; no usage reports, no job workers."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        off = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        return {"cwd": self.folder, "env": {**others, **off}}

    def is_ready(self) -> bool:
        """Whether /health answers."""
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return True
        except OSError:
            return False


class KafkaBroker(Service):
    """One Kafka node, broker and controller, from the jars in .jars/kafka; no topic appears by itself."""

    def __init__(self, folder: Path, java: Sequence[str] = ("-Xmx512m",)) -> None:
        super().__init__(folder)
        self.need_jars()
        self.port, self._controller = free_ports(2)
        self._settings = folder / "server.properties"
        self._java = [find_java(), *java, "-cp", str(JARS / "kafka" / "*")]

    @staticmethod
    def need_jars() -> None:
        """ServiceMissing where the broker's jars are not there."""
        if not list(JARS.glob("kafka/kafka_*.jar")):
            raise ServiceMissing("no Kafka broker: .jars/kafka holds no jars; run: make jars")

    @property
    def bootstrap(self) -> str:
        """The value of bootstrap.servers."""
        return f"{HOST}:{self.port}"

    @property
    def client(self) -> dict[str, str]:
        """What a client of librdkafka needs to reach it."""
        return {"bootstrap.servers": self.bootstrap}

    @property
    def environment(self) -> dict[str, str]:
        """What the stream needs in its environment to reach it."""
        return {"LEADS_KAFKA": self.bootstrap}

    def prepare(self) -> None:
        """Write the broker's settings and format its data folder."""
        if self._settings.exists():
            return
        self._settings.write_text(self.settings())
        words = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._settings)]
        run_once([*self._java, *words, *self.format_words()], **self.options())

    def settings(self) -> str:
        """The broker's settings, as properties."""
        data = self.folder / "data"
        return BROKER.format(host=HOST, port=self.port, controller=self._controller, data=data)

    def format_words(self) -> list[str]:
        """What the data folder is formatted with, beside its cluster's id."""
        return []

    def command(self) -> list[str]:
        """The broker by its main class."""
        return [*self._java, "kafka.Kafka", str(self._settings)]

    def options(self) -> dict[str, Any]:
        """What the broker writes beside its data lands in its folder."""
        return {"cwd": self.folder, "env": os.environ | java_options()}

    def is_ready(self) -> bool:
        """Whether the broker has said that it takes requests: its port is open before it does."""
        return "Kafka Server started" in self.said()

    def create_topic(self, name: str, partitions: int = 1, **settings: str) -> None:
        """Make a topic and wait until it is there; `settings` are the topic's own, with `__` for the dots."""
        # Imported here: tests that need no broker run without the client.
        from confluent_kafka.admin import AdminClient, NewTopic

        config = {key.replace("__", "."): value for key, value in settings.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
        admin = AdminClient(self.client)  # a name of its own: its futures die with it
        admin.create_topics([topic])[name].result(self.start_seconds)


class PostgresServer(Service):
    """PostgreSQL with its superuser and database `postgres`.

    With a password clients must bring it (SCRAM), as PGPASSWORD in their environment; without one
    every local user is let in. Its data lies in a temp folder that is removed at the end of the block.
    """

    stop_signal = signal.SIGINT  # at SIGTERM it would wait for its clients to leave

    def __init__(self, folder: Path, password: str = "") -> None:
        super().__init__(folder)
        self._programs = find_postgres()
        self._password = password
        self._user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        # Not in `folder`: the user postgres must be able to reach it, and a socket's path must be short.
        self._home = tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True)
        self.home = Path(self._home.name)

    @property
    def dsn(self) -> str:
        """Address for clients, without the password."""
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"

    @property
    def environment(self) -> dict[str, str]:
        """What clients need in their environment beside the dsn."""
        return {"PGPASSWORD": self._password} if self._password else {}

    def prepare(self) -> None:
        """Make the database cluster."""
        if (self.home / "data").exists():
            return
        secret, auth = self.home / "password", ["--auth=trust"]
        if self._password:
            secret.write_text(self._password)
            auth = ["--auth=scram-sha-256", f"--pwfile={secret}"]
        if self._user:
            for path in (self.home, *self.home.iterdir()):
                shutil.chown(path, "postgres", "postgres")
        make = [f"{self._programs}/initdb", f"--pgdata={self.home}/data", "--username=postgres", "--no-sync"]
        run_once([*make, "--encoding=UTF8", "--locale=C", *auth], **self.options())
        secret.unlink(missing_ok=True)

    def command(self) -> list[str]:
        """Without fsync: a killed process loses nothing that it had written, only a power cut would."""
        where = ["-D", f"{self.home}/data", "-k", str(self.home), "-p", str(self.port)]
        return [f"{self._programs}/postgres", *where, "-c", f"listen_addresses={HOST}", "-c", "fsync=off"]

    def options(self) -> dict[str, Any]:
        """PostgreSQL refuses to run as root."""
        return {"cwd": self.home, **self._user}

    def is_ready(self) -> bool:
        """Whether the server lets clients in; asked at its socket, because another one may have its port."""
        ask = [f"{self._programs}/pg_isready", "-q", "-h", str(self.home), "-p", str(self.port)]
        return subprocess.run(ask, check=False).returncode == 0

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._home.cleanup()


def find_java() -> str:
    """Java's command: of JAVA_HOME first, then on the PATH."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java")
    if java is None:
        raise ServiceMissing("no Kafka broker: there is no Java; .ci/check-java says how to install it")
    return java


def java_options() -> dict[str, str]:
    """The options that `make test` gives Spark's Java, for servers of tests: they live no longer."""
    return {"JDK_JAVA_OPTIONS": os.environ.get("SPARK_SUBMIT_OPTS", "")}


def find_postgres() -> Path:
    """Folder of PostgreSQL's programs: Debian's newest, else the one on the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    if found is None:
        raise ServiceMissing("no PostgreSQL: there is no initdb; install it (apt-get or brew install postgresql)")
    if os.geteuid() == 0 and "postgres" not in (user.pw_name for user in pwd.getpwall()):
        raise ServiceMissing("no PostgreSQL: root may not run it and there is no user postgres; run as another user")
    return Path(found).parent
