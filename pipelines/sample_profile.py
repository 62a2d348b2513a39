"""sample_profile: rebuild the sample generator's profile (conf/sample_profile.json) from a lead CSV."""

import csv as csv_format
from pathlib import Path
from typing import Annotated

import typer

from features.sample import SampleError, SampleProfile, build_profile, save_profile
from pipelines.commands import run_command
from pipelines.settings import ROOT

PROFILE = ROOT / "conf" / "sample_profile.json"


def read_profile(path: Path) -> SampleProfile:
    """Count a CSV (UTF-8, commas, header first) into a profile; SampleError where it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return build_profile(csv_format.DictReader(lines, restval=""))
    except (OSError, UnicodeDecodeError, csv_format.Error) as error:
        raise SampleError(f"{path} cannot be read as a CSV of leads: {error}. Name one by --csv PATH.") from None


def sample_profile(
    csv: Annotated[Path, typer.Option(help="the real leads, with the header of 'Lead Scoring.csv'")],
    output: Annotated[Path, typer.Option(help="where the profile goes")] = PROFILE,
) -> None:
    """Write aggregate counts of a lead CSV; sample leads are drawn from them where there is no CSV."""
    profile = read_profile(csv)
    save_profile(output, profile)
    print(f"{profile.leads:,} leads counted into {output} ({output.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    run_command(sample_profile)
