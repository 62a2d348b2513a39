"""A standalone Spark cluster on 127.0.0.1, from the jars of the installed pyspark: a master and its workers."""

import os
from pathlib import Path
from typing import Any

import pyspark

from tests.service_process import HOST, Service
from tests.services import find_java, java_options

SPARK_HOME = Path(pyspark.__file__).parent
DAEMON = "org.apache.spark.deploy"
# Spark 4 needs this module of Java; its own launcher adds it.
JAVA = ["-Xmx256m", "--add-modules=jdk.incubator.vector", "-Dspark.master.rest.enabled=false"]


def spark_home(folder: Path) -> Path:
    """Links to the real one in a folder that may be written to: a local cluster keeps its executors' files there."""
    folder.mkdir(exist_ok=True)
    for name in ("bin", "jars", "python"):
        if not (folder / name).exists():
            (folder / name).symlink_to(SPARK_HOME / name)
    return folder


class SparkDaemon(Service):
    """What master and worker share."""

    def prepare(self) -> None:
        """Nothing: both keep their state in memory."""

    def java(self, role: str) -> list[str]:
        """The start of the command line, up to the main class."""
        return [find_java(), *JAVA, "-cp", str(SPARK_HOME / "jars" / "*"), f"{DAEMON}.{role}.{role.title()}"]

    def options(self) -> dict[str, Any]:
        """Everything listens on this machine alone, the status pages too."""
        others = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_", "LEADS_", "MLFLOW_"))}
        # Spark's own start scripts tell the Scala version; a worker needs it for the executors' class path.
        here = {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": HOST, "SPARK_SCALA_VERSION": "2.13"}
        return {"cwd": self.folder, "env": others | here | java_options()}


class SparkMaster(SparkDaemon):
    """The master; `uri` is what --master takes."""

    @property
    def uri(self) -> str:
        """The master's address."""
        return f"spark://{HOST}:{self.port}"

    def command(self) -> list[str]:
        """A status page on any free port."""
        return [*self.java("master"), "--host", HOST, "--port", str(self.port), "--webui-port", "0"]

    def is_ready(self) -> bool:
        """Whether it takes workers."""
        return "New state: ALIVE" in self.said()


class SparkWorker(SparkDaemon):
    """A worker with one core and 1 GiB for executors."""

    def __init__(self, folder: Path, master: str) -> None:
        super().__init__(folder)
        self._master = master

    def command(self) -> list[str]:
        """Executors keep their files in the worker's folder."""
        size = ["--cores", "1", "--memory", "1g", "--work-dir", str(self.folder)]
        address = ["--host", HOST, "--port", str(self.port), "--webui-port", "0"]
        return [*self.java("worker"), *address, *size, self._master]

    def is_ready(self) -> bool:
        """Whether the master has taken it in."""
        return "Successfully registered with master" in self.said()

    def executors(self) -> int:
        """How many executors it has started."""
        return self.said().count("Asked to launch executor")
