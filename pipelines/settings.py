"""Where things are: read once from the environment (prefix LEADS_), with defaults for a fresh clone."""

import atexit
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from features.contract import Contract
from features.contract_file import load_contract, load_yaml
from features.storage import join

if TYPE_CHECKING:
    from evaluation.grades import GradeRule


def _unpacked(package: Path) -> Path:
    """A folder with the configuration that lies in the zip of --py-files, gone when the process ends."""
    folder = tempfile.mkdtemp(prefix="lead-scoring-conf-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(package) as packed:
        packed.extractall(folder, [name for name in packed.namelist() if name.startswith("conf/")])
    return Path(folder)


CODE = Path(__file__).resolve().parent.parent  # a folder, or the zip that a cluster was given
ROOT = CODE if CODE.is_dir() else _unpacked(CODE)
HOME = CODE if CODE.is_dir() else Path.cwd()


class Settings(BaseSettings):
    """Places and names that every entry point shares; each can be set as LEADS_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="LEADS_", frozen=True)

    data: str = Field(str(HOME / "data"), description="folder or URI of raw, prepared and stream data")
    contract_file: Path = Field(ROOT / "conf" / "leads.yaml", description="the lead contract")
    gate_file: Path = Field(ROOT / "conf" / "gate.yaml", description="the promotion gate's conditions")
    grades_file: Path = Field(ROOT / "conf" / "grades.yaml", description="how scores are cut into grades")
    model_name: str = Field("lead-scoring", min_length=1, description="name in the model registry")
    experiment: str = Field(
        "lead-scoring", min_length=1, description="MLflow experiment of runs outside of `mlflow run`"
    )
    master: str = Field("", description="Spark master; empty: spark-submit's, else local[*]")
    driver_memory: str = Field("2g", description="heap of Spark's driver, but under spark-submit")

    @property
    def raw(self) -> str:
        """Where a CSV is looked for when none is named."""
        return join(self.data, "raw")

    @property
    def prepared(self) -> str:
        """Folder with train, test and manifest.json."""
        return join(self.data, "prepared")

    @property
    def stream(self) -> str:
        """Folder of the parquet files that the file stream reads."""
        return join(self.data, "stream")

    @property
    def dead_letters(self) -> str:
        """Folder of the events that a stream refused or could not hand on."""
        return join(self.data, "dead-letters")

    @property
    def quarantine(self) -> str:
        """Folder of the rows that the contract refused."""
        return join(self.data, "quarantine")

    def contract(self) -> Contract:
        """The lead contract, read and checked."""
        return load_contract(self.contract_file)

    def grade_rule(self) -> "GradeRule":
        """How scores are cut into grades, read and checked."""
        from evaluation.grades import GradeRule  # brings Spark ML: a second that commands without Spark do without

        return load_yaml(self.grades_file, GradeRule)
