"""`python -m vills.config.verify PROFILE`: is the committed params.yaml that profile, unchanged?"""

import sys
from pathlib import Path

from vills.config.load import PARAMS_FILE, load_profile
from vills.config.write import render_params


def main() -> int:
    """Compare params.yaml of this folder with what `vills configure` would write."""
    profile = sys.argv[1]
    if Path(PARAMS_FILE).read_text() == render_params(load_profile(profile), profile=profile):
        return 0
    print(
        f"{PARAMS_FILE} is not profile {profile} as it stands now. What to do: "
        f"vills configure profile={profile} --force",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
