#!/usr/bin/env python3
"""Compiles the Cairo classes in starknet/ and writes artifacts/starknet; with --check, compares instead of writing.

Compilers come from the Python registry, as the packages that Starknet published them in, and are kept in a cache:
Sierra by `starknet-compile` of cairo-lang 0.12.3 (Cairo 2.1.0, the newest there whose corelib is whole), CASM by
`starknet-sierra-compile` of cairo-lang 0.14.0.1. Class hashes are computed by starknet-py 0.30.0, which must be
importable: run this with the Python of an environment that has it.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE / "starknet"
ARTIFACTS = HERE / "artifacts" / "starknet"
CACHE = pathlib.Path(os.environ.get("KEEL_CACHE", pathlib.Path.home() / ".cache" / "keel")) / "cairo"
# By crate of cairo_project.toml, which is also where in artifacts/starknet they are written: the classes of every Keel chain, which
# are part of its genesis; those of the contracts on the Starknet that a chain settles on, which are not; and what only tests need.
CLASSES = {
    "keel": ("", ["account", "collateral_token", "exchange"]),
    "settlement": ("settlement/", ["appchain", "attestation_registry", "bridge", "test_token"]),
    "odd_tokens": ("test/", ["odd_token"]),
}
SIERRA_VERSION, CASM_VERSION = "0.12.3", "0.14.0.1"
COMPILERS = "starkware/starknet/compiler/v1/sierra-compiler-major-1"


def compiler(version: str) -> pathlib.Path:
    """Folder of the compilers of one cairo-lang release, fetched once."""
    folder = CACHE / f"cairo-lang-{version}" / COMPILERS
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        fetch = [sys.executable, "-m", "pip", "-q", "download", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*fetch, "-d", CACHE, f"cairo-lang=={version}"], check=True)
        with zipfile.ZipFile(CACHE / f"cairo-lang-{version}.zip") as archive:
            members = [name for name in archive.namelist() if f"/{COMPILERS}/" in name]
            archive.extractall(CACHE, members)
        for binary in (folder / "bin").iterdir():
            binary.chmod(0o755)
    return folder / "bin"


def compact(path: pathlib.Path) -> str:
    return json.dumps(json.loads(path.read_text()), separators=(",", ":")) + "\n"


def compile_class(crate: str, name: str, work: pathlib.Path) -> tuple[str, str]:
    """Sierra class and CASM class of `name`, as compact JSON."""
    sierra, casm = work / f"{name}.sierra.json", work / f"{name}.casm.json"
    to_sierra = [compiler(SIERRA_VERSION) / "starknet-compile", SOURCES, "-c", f"{crate}::{name}::{name}", sierra]
    to_casm = [compiler(CASM_VERSION) / "starknet-sierra-compile", sierra, casm]
    for command in (to_sierra, to_casm):
        subprocess.run(command, check=True)
        if not pathlib.Path(command[-1]).exists():
            sys.exit(f"{command[0].name} wrote nothing for {name}")
    return compact(sierra), compact(casm)


def hashes(name: str, sierra: str, casm: str) -> dict[str, str]:
    """Class hash and compiled class hashes of one class."""
    from starknet_py.common import create_casm_class, create_sierra_compiled_contract
    from starknet_py.hash.casm_class_hash import compute_casm_class_hash
    from starknet_py.hash.hash_method import HashMethod
    from starknet_py.hash.sierra_class_hash import compute_sierra_class_hash

    compiled = create_casm_class(casm)
    return {
        "name": name,
        "class_hash": hex(compute_sierra_class_hash(create_sierra_compiled_contract(sierra))),
        "compiled_class_hash_blake": hex(compute_casm_class_hash(compiled, HashMethod.BLAKE2S)),
        "compiled_class_hash_poseidon": hex(compute_casm_class_hash(compiled, HashMethod.POSEIDON)),
    }


def build() -> dict[str, str]:
    """Text of every artifact, by file name."""
    files = {}
    for version in (SIERRA_VERSION, CASM_VERSION):
        compiler(version)
    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        compiled = {
            name: pool.submit(compile_class, crate, name, pathlib.Path(work))
            for crate, (_, names) in CLASSES.items()
            for name in names
        }
        for folder, names in CLASSES.values():
            listed = []
            for name in names:
                sierra, casm = compiled[name].result()
                files[f"{folder}{name}.contract_class.json"] = sierra
                files[f"{folder}{name}.casm.json"] = casm
                # To the byte that the class hash covers: separators as here, no line end.
                files[f"{folder}{name}.abi.json"] = json.dumps(json.loads(sierra)["abi"])
                listed.append(hashes(name, sierra, casm))
            files[f"{folder}classes.json"] = json.dumps(listed, indent=2) + "\n"
    return files


def matches(name: str, text: str) -> bool:
    path = ARTIFACTS / name
    return path.exists() and path.read_text() == text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed artifacts, write nothing")
    check = parser.parse_args().check
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit("the published compilers run on Linux x86_64 only")
    files = build()
    if not check:
        for name, text in files.items():
            (ARTIFACTS / name).parent.mkdir(parents=True, exist_ok=True)
            (ARTIFACTS / name).write_text(text)
            if name.endswith("classes.json"):
                print(text, end="")
        return 0
    different = [name for name, text in files.items() if not matches(name, text)]
    for name in different:
        print(f"artifacts/starknet/{name} does not match the sources: run build-starknet.py", file=sys.stderr)
    print(f"{len(files) - len(different)} of {len(files)} artifacts match the sources")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
