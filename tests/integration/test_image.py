"""What the image's entry point makes of Spark's driver: Java with the connectors, and a signal that reaches Python."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from pipelines.settings import ROOT

APPLICATION = """
import os, signal, sys, time
from pathlib import Path

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
java = Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\\0")
print(java[java.index("-cp") + 1], flush=True)
while not asked:
    time.sleep(0.05)
time.sleep(0.5)
print("ended in good order", flush=True)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 2])
def test_a_driver_has_the_connectors_and_ends_in_good_order_when_it_is_asked_to(tmp_path, code):
    application = tmp_path / "application.py"
    application.write_text(APPLICATION)
    env = os.environ | {
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_DRIVER_BIND_ADDRESS": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }
    words = [ROOT / "deploy" / "entrypoint.sh", "driver", "--master", "local[1]", application, str(code)]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        assert f"{ROOT}/.jars/spark/*" in driver.stdout.readline().strip().split(":")
        driver.send_signal(signal.SIGTERM)
        assert driver.stdout.read() == "ended in good order\n"
    assert driver.returncode == code
