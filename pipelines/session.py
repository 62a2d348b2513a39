"""The only place that builds a SparkSession, and the settings that suit small data on one machine."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from features.errors import LeadScoringError
from pipelines.settings import ROOT, Settings

LOGGING = (ROOT / "conf" / "log4j2.properties").as_uri()
SUPPORTED_JAVA = (17, 21)
JARS = ROOT / ".jars" / "spark"
KAFKA_PACKAGE = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"
CHECKPOINT_FILES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"


class JavaMissing(LeadScoringError):
    """No Java was found, or one that Spark does not run on."""


@contextmanager
def spark_session(
    settings: Settings, name: str = "lead-scoring", *, kafka: bool = False, **extra: str
) -> Iterator[SparkSession]:
    """Build a session (or join the running one) and stop it at the end if it was built here.

    `kafka` brings Spark's Kafka connector; `extra` are Spark settings with `__` for the dots. JavaMissing where no
    suitable Java is found.
    """
    running = SparkSession.getActiveSession()
    if running is not None:
        yield running
        return
    spark = build_session(settings, name, kafka=kafka, **extra)
    try:
        yield spark
    finally:
        spark.stop()


def build_session(settings: Settings, name: str = "lead-scoring", *, kafka: bool = False, **extra: str) -> SparkSession:
    """Start a SparkSession; under spark-submit its own settings (the connector too) win over the local defaults."""
    submitted = "SPARK_ENV_LOADED" in os.environ or "PYSPARK_GATEWAY_PORT" in os.environ
    if not submitted:
        check_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName(name)
    options = {} if submitted else _local_defaults(settings) | (kafka_connector() if kafka else {})
    for key, value in {**options, **{k.replace("__", "."): v for k, v in extra.items()}}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def _local_defaults(settings: Settings) -> dict[str, str]:
    """Settings for one machine and data that fits it; a cluster brings its own by spark-submit."""
    cores = os.cpu_count() or 1
    return {
        "spark.master": settings.master or "local[*]",
        "spark.driver.memory": settings.driver_memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": str(max(2, cores)),
        "spark.default.parallelism": str(max(2, cores)),
        "spark.sql.session.timeZone": "UTC",
        # Finding the caller of every Column operation makes planning 5 to 10 times as long.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        # The default manager starts about 30 processes a micro-batch on a local disk.
        "spark.sql.streaming.checkpointFileManagerClass": CHECKPOINT_FILES,
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={LOGGING} -XX:+UseParallelGC",
    }


def kafka_connector() -> dict[str, str]:
    """The setting that brings Spark's Kafka connector: the jars of `make jars`, else Spark's download (13 s, once)."""
    jars = sorted(str(path) for path in JARS.glob("*.jar"))
    return {"spark.jars": ",".join(jars)} if jars else {"spark.jars.packages": KAFKA_PACKAGE}


def check_java() -> int:
    """The major version of the Java that Spark will run on; JavaMissing says how to install one."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    remedy = (
        "Install Java 17: `apt-get install openjdk-17-jre-headless` (Debian, Ubuntu), `brew install openjdk@17` "
        "(macOS) or `conda install openjdk=17`, and set JAVA_HOME where several are installed."
    )
    if not java or not shutil.which(java):
        where = f"JAVA_HOME={home} holds no bin/java" if home else "no java on the PATH"
        raise JavaMissing(f"Spark needs Java 17 and there is {where}. {remedy}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    if not match or int(match[1]) not in SUPPORTED_JAVA:
        found = f"Java {match[1]}" if match else f"{java}, which does not say its version,"
        raise JavaMissing(f"Spark needs Java 17 (or 21) and found {found}. {remedy}")
    return int(match[1])
