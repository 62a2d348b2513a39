"""Small classes for Spark's extension points that only a Java class can fill, compiled when they are first asked for.

By Janino, which Spark brings for the code that it makes of queries; it takes some 40 ms. PySpark reaches methods and
interfaces of Java, but cannot make a subclass.
"""

import threading
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from pyspark.sql import SparkSession

# Once per Java process: Py4J takes classes of one name for one class, and Java keeps what it has loaded.
_COMPILERS: "WeakKeyDictionary[Any, dict[str, Any]]" = WeakKeyDictionary()
_SENT: "WeakKeyDictionary[Any, set[str]]" = WeakKeyDictionary()
_LOCK = threading.Lock()
ISOLATED = "spark.sql.artifact.isolation.enabled"


def class_loader(spark: SparkSession, source: str) -> Any:
    """Java's ClassLoader of the classes in `source`, whose parent is Spark's own, in the driver alone."""
    with _LOCK:
        return _compiled(spark, source).getClassLoader()


def send_to_tasks(spark: SparkSession, source: str) -> None:
    """Let the tasks of a SparkContext read objects of the classes in `source`, wherever they run; once is enough.

    RuntimeError where sessions keep their classes apart: tasks would not get them.
    """
    if spark.conf.get(ISOLATED, "false") == "true":
        raise RuntimeError(f"{ISOLATED}: tasks would not get the classes")
    context = spark.sparkContext
    with _LOCK:
        sent = _SENT.setdefault(context, set())
        if source in sent:
            return
        jar = Path(context._temp_dir, f"classes-{sha256(source.encode()).hexdigest()[:16]}.jar")
        classes: Any = _compiled(spark, source).getBytecodes()
        with zipfile.ZipFile(jar, "w") as archive:
            for name in classes:
                archive.writestr(f"{name.replace('.', '/')}.class", bytes(classes[name]))
        java: Any = context._jsc
        java.addJar(str(jar))
        sent.add(source)


def new_instance(spark: SparkSession, name: str, source: str) -> Any:
    """An instance of the class `name` in `source`, made without arguments."""
    gateway: Any = spark.sparkContext._gateway
    made = class_loader(spark, source).loadClass(name)
    none = gateway.new_array(gateway.jvm.Class, 0), gateway.new_array(gateway.jvm.Object, 0)
    return made.getDeclaredConstructor(none[0]).newInstance(none[1])


def _compiled(spark: SparkSession, source: str) -> Any:
    """The compiler of `source`, which holds its classes; `_LOCK` is held."""
    gateway: Any = spark.sparkContext._gateway
    compilers = _COMPILERS.setdefault(gateway, {})
    if source not in compilers:
        compiler = gateway.jvm.org.codehaus.janino.SimpleCompiler()
        compiler.cook(source)
        compilers[source] = compiler
    return compilers[source]
