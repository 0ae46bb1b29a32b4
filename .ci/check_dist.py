"""Check built distributions: what is in them, and that the wheel works in an empty environment.

    python .ci/check_dist.py FOLDER [SITE_PACKAGES]

The environment gets the wheel and its dependencies from the registry, first without torch, then
with the extras that the demo needs. With SITE_PACKAGES of another environment, the libraries of
these extras come from there: torch alone takes gigabytes. The environment is removed at the end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "dnabert2_fast"
BUILT = {".so", ".pyd", ".pyc"}
METADATA = ("licenses/LICENSE", "licenses/NOTICE", "licenses/THIRD_PARTY_LICENSES", "sboms/")
NEVER = ("/tests/", "/fuzz/", "/target/", "/.github/", "/examples/", "/__pycache__/")
SEQUENCE, IDS = "ACGTAGCATCGG", "1 5 194 32 288 2"


def shipped() -> list[str]:
    """Files of the package in this checkout, code and data, which both distributions must have."""
    paths = [path.relative_to(ROOT / "python") for path in PACKAGE.rglob("*") if path.is_file()]
    return [path.as_posix() for path in paths if path.suffix not in BUILT]


def require(where: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Stop unless every wanted file is there, and none that should not be."""
    missing = [one for one in wanted if not any(one in name for name in names)]
    extra = [name for name in names if any(part in f"/{name}" for part in NEVER)]
    if missing or extra:
        sys.exit(f"{where.name}: lacks {missing}, should not have {extra}")
    print(f"{where.name}: {where.stat().st_size / 1e6:.1f} MB, {len(names)} files, none missing")


def check_wheel(path: Path) -> None:
    """Look into a wheel."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        sizes = {info.filename: info.file_size for info in wheel.infolist()}
    native = [name for name in names if Path(name).name.startswith("_native.")]
    require(path, names, [*shipped(), *METADATA, "_native.pyi"])
    library = next(name for name in native if not name.endswith(".pyi"))
    whole, compiled = sum(sizes.values()) / 1e6, sizes[library] / 1e6
    print(f"  unpacked {whole:.1f} MB, of it {library} {compiled:.1f} MB")


def check_sdist(path: Path) -> None:
    """Look into a source distribution."""
    with tarfile.open(path) as sdist:
        names = [name.partition("/")[2] for name in sdist.getnames()]
    build = ["Cargo.lock", "Cargo.toml", "pyproject.toml", "rust/dnabert2-core/src/lib.rs"]
    require(path, names, [*(f"python/{name}" for name in shipped()), *build, "LICENSE", "NOTICE"])


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """Run a command; returns what it said."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode != code:
        sys.exit(f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def check_install(wheel: Path, folder: Path, borrowed: Path | None) -> None:
    """Install the wheel alone and tokenize; then with what models need, and run the demo."""
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    pip = (programs / "python", "-m", "pip", "install", "--quiet")
    run(*pip, wheel, cwd=folder)
    command = programs / "dnabert2-fast"
    (folder / "x.fa").write_text(f">x\n{SEQUENCE}\n")
    said = run(command, "tokenize", "x.fa", cwd=folder)
    if f"x\t{IDS}" not in said:
        sys.exit(f"tokenize: {said}")
    said = run(command, "demo", cwd=folder, code=2)
    if 'demo needs torch: pip install "' not in said:
        sys.exit(f"demo without torch: {said}")
    print(f"{wheel.name}: tokenizes in an empty environment", flush=True)
    if borrowed is None:
        run(*pip, f"{wheel}[finetune,plots]", cwd=folder)
    else:
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own = Path(run(programs / "python", "-c", ask, cwd=folder).strip())
        # A folder named in a .pth file comes after the environment's own, whose wheel it is.
        (own / "borrowed.pth").write_text(f"{borrowed}\n")
    where = run(
        programs / "python", "-c", "import dnabert2_fast as d; print(d.__file__)", cwd=folder
    )
    if folder not in Path(where.strip()).parents:
        sys.exit(f"the package is read from {where}")
    print(run(command, "doctor", cwd=folder))
    print(run(command, "demo", cwd=folder))


def main() -> None:
    """Check all that lies in a folder."""
    folder = Path(sys.argv[1]).resolve()
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        sys.exit(f"{folder}: there is no wheel in it")
    for path in wheels:
        check_wheel(path)
    for path in folder.glob("*.tar.gz"):
        check_sdist(path)
    borrowed = Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else None
    empty = Path(tempfile.mkdtemp(prefix="install", dir=folder))
    try:
        check_install(wheels[0], empty, borrowed)
    finally:
        shutil.rmtree(empty)


if __name__ == "__main__":
    main()
