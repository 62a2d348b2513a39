"""The only place that builds a SparkSession, with the settings for small data on one machine and for a cluster."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from features.errors import LeadScoringError
from features.storage import Storage
from pipelines.class_archive import archive_options
from pipelines.local_files import set_permissions_in_java
from pipelines.package import PACKAGE, write_package
from pipelines.settings import CODE, ROOT, Settings

LOGGING = (ROOT / "conf" / "log4j2.properties").as_uri()
SUPPORTED_JAVA = (17, 21)
JARS = ROOT / ".jars" / "spark"
KAFKA_PACKAGE = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"
# To save memory Java would shrink what new objects live in until a hundredth of the time goes into collections: of an
# event's 145 kB that is two or three stops of 4 ms a second.
NO_SHRINKING = "-XX:-UseAdaptiveSizePolicyFootprintGoal"
# Java interprets methods of more than 8,000 bytes for ever; those that Spark makes of a wide plan are longer.
COMPILE_ALL = "-XX:-DontCompileHugeMethods"
JAVA_OPTIONS = f"-Dlog4j2.configurationFile={LOGGING} -XX:+UseParallelGC {NO_SHRINKING} {COMPILE_ALL}"
CHECKPOINT_FILES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"


class JavaMissing(LeadScoringError):
    """No Java was found, or one that Spark does not run on."""


@contextmanager
def spark_session(
    settings: Settings,
    name: str = "lead-scoring",
    *,
    kafka: bool = False,
    beside: Callable[[Settings], object] = lambda _: None,
    **extra: str,
) -> Iterator[SparkSession]:
    """Build a session (or join the running one) and stop it at the end if it was built here.

    `kafka` brings Spark's Kafka connector; `beside` is called in a thread while Java starts, and what it raises
    is raised; `extra` are Spark settings with `__` for the dots. JavaMissing where no suitable Java is found.
    """
    running = SparkSession.getActiveSession()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(beside, settings)
        spark = running or build_session(settings, name, kafka=kafka, **extra)
    try:
        waiting.result()
        yield spark
    finally:
        if running is None:
            spark.stop()


def build_session(settings: Settings, name: str = "lead-scoring", *, kafka: bool = False, **extra: str) -> SparkSession:
    """Start a SparkSession; what spark-submit was given (the connector too) wins over the defaults below."""
    submitted = "SPARK_ENV_LOADED" in os.environ or "PYSPARK_GATEWAY_PORT" in os.environ
    given = _submitted_settings() if submitted else {"spark.master": settings.master or "local[*]"}
    one_machine = given.get("spark.master", "local").startswith("local")
    java = "" if submitted else check_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if one_machine:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    defaults = _for_small_data(settings, java) if one_machine else _for_a_cluster(settings)
    options = {k: v for k, v in (EVERYWHERE | defaults).items() if not submitted or k not in given}
    builder = SparkSession.builder.appName(name)
    if not submitted:
        options |= given | (kafka_connector() if kafka else {})
    for key, value in {**options, **{k.replace("__", "."): v for k, v in extra.items()}}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    spark.conf.set("spark.sql.session.timeZone", "UTC")  # whatever else was submitted: days are counted by it
    if one_machine:
        set_permissions_in_java(spark)
    _reach_executors(spark)
    return spark


EVERYWHERE = {
    "spark.ui.showConsoleProgress": "false",
    # Finding the caller of every Column operation makes planning 5 to 10 times as long.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # Java's side of the same travels with every expression to every task.
    "spark.sql.dataFrameQueryContext.enabled": "false",
    # Its default is asked of the environment for every value that Spark hands to a function of its own.
    "spark.sql.types.framework.enabled": "false",
    # Java's second compiler gives up on the methods of a whole stage that are much longer (out of nodes), and they are
    # interpreted then, at a twentieth of the speed; beyond the limit Spark makes many short methods in their place.
    "spark.sql.codegen.hugeMethodLimit": "8000",
    # Without it Spark serializes every projection, a whole forest among them, only to see whether it can.
    "spark.sql.execution.usePartitionEvaluator": "true",
}


def _for_small_data(settings: Settings, java: str) -> dict[str, str]:
    """Settings for one machine and data that fits it; `java` is what Java says of its version."""
    cores = os.cpu_count() or 1
    return {
        "spark.driver.memory": settings.driver_memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": str(max(2, cores)),
        "spark.default.parallelism": str(max(2, cores)),
        # The default manager starts about 30 processes a micro-batch on a local disk.
        "spark.sql.streaming.checkpointFileManagerClass": CHECKPOINT_FILES,
        "spark.driver.extraJavaOptions": f"{JAVA_OPTIONS}{archive_options(java) if java else ''}",
    }


def kafka_connector() -> dict[str, str]:
    """The setting that brings Spark's Kafka connector: the jars of `make jars`, else Spark's download (13 s, once)."""
    jars = sorted(str(path) for path in JARS.glob("*.jar"))
    return {"spark.jars": ",".join(jars)} if jars else {"spark.jars.packages": KAFKA_PACKAGE}


def _for_a_cluster(settings: Settings) -> dict[str, str]:
    """Settings for data that one machine does not hold; what is not named here is Spark's own default.

    Addresses, the checkpoint's file manager and the sizes of executors are the cluster's to choose.
    """
    return {
        "spark.driver.memory": settings.driver_memory,
        # Adaptive execution cuts these down to partitions of 64 MB, and leaves small data in one.
        "spark.sql.shuffle.partitions": "400",
        "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
        "spark.executor.defaultJavaOptions": COMPILE_ALL,
    }


def _submitted_settings() -> dict[str, str]:
    """What spark-submit was given: its options, --conf, --properties-file and the cluster's own defaults."""
    SparkContext._ensure_initialized()
    return dict(SparkConf().getAll())


def _reach_executors(spark: SparkSession) -> None:
    """Give executors on other machines what they lack: our modules, and a place to read a downloaded model from."""
    if re.match(r"local($|\[)", spark.sparkContext.master or ""):
        return
    if CODE.is_dir():  # else it came by --py-files, and executors have it
        package = Path(spark.sparkContext._temp_dir, PACKAGE)
        write_package(package)
        spark.sparkContext.addPyFile(str(package))
    from mlflow.environment_variables import MLFLOW_DFS_TMP  # brings MLflow: a second that one machine does without

    # MLflow downloads a model to the temporary folder, and copies it on only where the default file system is remote.
    shared = MLFLOW_DFS_TMP.get_raw() or ""
    if shared.startswith(("/", "file:")) and Storage(spark).is_local_default():
        folder = Path(urlsplit(shared).path)
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(folder)


def check_java() -> str:
    """What the Java that Spark will run on says of its version; JavaMissing says how to install one."""
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
    return said
