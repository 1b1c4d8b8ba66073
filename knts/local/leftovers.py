"""Takes packages that an interrupted pip left in part out of its sight, so that its next run writes them whole.

pip takes a package for installed once its metadata lies there, and many wheels carry that first. Run by bootstrap.sh
with the virtual environment's Python before anything is installed: nothing but the standard library is at hand.
"""

import shutil
import sysconfig
from importlib.metadata import Distribution
from pathlib import Path


def whole(package: Distribution) -> bool:
    """Whether every file that the package's record lists is there, in its size."""
    files = package.files or []
    sizes = {Path(str(package.locate_file(file))): file.size for file in files if file.size is not None}
    return bool(sizes) and all(path.is_file() and path.stat().st_size == size for path, size in sizes.items())


def forget_parts(site: Path) -> list[str]:
    """Remove the metadata of packages in part from a site-packages folder; their names."""
    parts = [info for info in site.glob("*.dist-info") if not whole(Distribution.at(info))]
    for info in parts:
        shutil.rmtree(info)
    return sorted(info.name.split("-")[0] for info in parts)


if __name__ == "__main__":
    if forgotten := forget_parts(Path(sysconfig.get_path("purelib"))):
        print(f"an earlier installation was interrupted; installing anew: {', '.join(forgotten)}")
