"""Write conda.yaml from requirements.lock: the same packages and versions, and the Python and Java to run them on."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*==[^\s\\;]+)(?: ; ([^\\]+?))? \\$", re.MULTILINE)
HEAD = """\
# Written by `make lock` from requirements.lock: edit requirements.in instead.
name: lead-scoring
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - openjdk=17
  - pip
  - pip:
"""


def main() -> None:
    """Rewrite conda.yaml beside the lock."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = [f"{pin} ; {marker}" if marker else pin for pin, marker in PIN.findall(lock)]
    lines = [f'      - "{pin}"\n' if ";" in pin else f"      - {pin}\n" for pin in pins]
    (ROOT / "conda.yaml").write_text(HEAD + "".join(lines), encoding="utf-8")
    print(f"conda.yaml: {len(pins)} packages, as in requirements.lock")


if __name__ == "__main__":
    main()
