"""Spark's local file system without a process per file: permissions are set inside Java.

Hadoop starts `chmod` for every file and folder that it makes on a local disk, unless its native library is there, which
PySpark does not bring: 4 ms each, 150 times to save a model (docs/decisions/0066-permissions-without-processes.md).
"""

from typing import Any

from pyspark.sql import SparkSession

from features.java_source import class_loader

NAME = "LocalFiles"
SOURCE = f"""
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.attribute.PosixFilePermissions;
import org.apache.hadoop.fs.LocalFileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RawLocalFileSystem;
import org.apache.hadoop.fs.permission.FsPermission;

public class {NAME} extends LocalFileSystem {{
  public {NAME}() {{ super(new Raw()); }}

  public static class Raw extends RawLocalFileSystem {{
    public void setPermission(Path path, FsPermission permission) throws IOException {{
      if (permission.getStickyBit()) {{
        super.setPermission(path, permission);  // Java knows no sticky bit
        return;
      }}
      try {{
        Files.setPosixFilePermissions(
            pathToFile(path).toPath(), PosixFilePermissions.fromString(permission.toString()));
      }} catch (UnsupportedOperationException notPosix) {{
        super.setPermission(path, permission);
      }}
    }}
  }}
}}
"""


def set_permissions_in_java(spark: SparkSession) -> None:
    """Make Spark's Java use such a file system for `file:`; nothing to do where Hadoop's native library is there.

    Hadoop keeps one file system per scheme and user in a cache, from which all of Spark takes it.
    """
    jvm: Any = spark._jvm
    hadoop = jvm.org.apache.hadoop
    if hadoop.io.nativeio.NativeIO.isAvailable():
        return
    settings, local = spark._jsc.hadoopConfiguration(), jvm.java.net.URI("file:///")
    if settings.get("fs.file.impl") is not None:  # chosen by whoever runs this
        return
    used = hadoop.fs.FileSystem.get(local, settings)
    if used.getClass().getName() == NAME:
        return
    own = hadoop.conf.Configuration(settings)
    own.setClassLoader(class_loader(spark, SOURCE))
    own.set("fs.file.impl", NAME)
    used.close()  # leaves the cache
    hadoop.fs.FileSystem.get(local, own)
