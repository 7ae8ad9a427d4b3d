"""The Lambda functions' zips as they are deployed: what each weighs. `bench.cold_start` runs the API's."""

from __future__ import annotations

import argparse

from bench.report import publish
from cdk import assets
from deployment.knobs import DeploymentError, load

GOAL_ZIP_MB = 60


def zips() -> tuple[list[tuple[str, str, str]], dict[str, object]]:
    """A row for each zip, as it is deployed; nothing where the packages cannot be fetched."""
    chosen, rows, values = load({}), [], {}
    for name, contents in assets.CONTENTS.items():
        try:
            path = assets.build(name, chosen.function_platform, chosen.function_python)
        except DeploymentError as error:
            return [("zips", "not built", str(error).splitlines()[0])], {}
        size, unpacked = path.stat().st_size / 1e6, assets.unpacked_bytes(path) / 1e6
        goal = f"< {assets.MOST_UNPACKED_BYTES / 1e6:.0f} unpacked" if contents.model else f"< {GOAL_ZIP_MB} zipped"
        rows.append((f"zip of {name}, MB (unpacked)", f"{size:.1f} ({unpacked:.0f})", goal))
        values[name] = {"zip_mb": size, "unpacked_mb": unpacked}
    return rows, values


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows, values = zips()
    publish("functions", "The Lambda functions", rows, {"zips": values})


if __name__ == "__main__":
    main()
