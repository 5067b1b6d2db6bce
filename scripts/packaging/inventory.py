#!/usr/bin/env python3
"""What is in the binary: a bill of materials (CycloneDX 1.5, JSON), and the licence texts of everything that is linked.

    inventory.py --binary FILE --sbom FILE --licences FILE

Listed is what cargo links for the released target: normal dependencies with the features of the release, without build tools, macros
and tests, and the C and C++ that some of them bring. Nothing is fetched but what cargo has not fetched yet, and nothing in the result
depends on the machine or the moment: the same commit gives the same two files.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = "x86_64-unknown-linux-gnu"
LICENCE_FILES = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense|patents)", re.IGNORECASE)
# Rust's own library is linked too, and is in no lock file.
RUST_LICENCE = "MIT OR Apache-2.0"
# Of GCC's C++ library and helper functions, which are in the binary: the exception permits that under any licence.
GCC_LICENCE = "GPL-3.0-or-later WITH GCC-exception-3.1"


def fail(sentence):
    sys.exit(f"error: {sentence}")


def output(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def linked():
    """Name and version of every crate in the binary."""
    tree = output("cargo", "tree", "--locked", "-p", "rivet-engine", "--edges", "normal,no-proc-macro", "--target", TARGET,
                  "--prefix", "none", "--format", "{p}")
    found = set()
    for line in tree.splitlines():
        name, version = line.split()[:2]
        found.add((name, version.removeprefix("v")))
    return found


def expression(licence):
    """An SPDX expression; some crates still write a slash for OR."""
    return re.sub(r"\s*/\s*", " OR ", licence)


def defined(path, *names):
    """A version that a C header defines, in one number or several."""
    text = path.read_text(errors="replace")
    parts = []
    for name in names:
        match = re.search(rf'^#define\s+{name}\s+"?([0-9.]+)"?', text, re.MULTILINE)
        if not match:
            fail(f"{path} does not define {name}: its crate has changed, and {__file__} with it must")
        parts.append(match.group(1))
    return ".".join(parts)


def bundled(folders):
    """The C and C++ that crates bring: name, version, licence, the crate, and where its licence texts lie in the crate."""
    rocksdb, lz4, sqlite, mimalloc = (folders[name] for name in ("librocksdb-sys", "lz4-sys", "libsqlite3-sys", "libmimalloc-sys"))
    # 30204 is 3.2.4. The crate compiles v3 unless it is asked for v2.
    number = int(defined(mimalloc / "c_src/mimalloc/v3/include/mimalloc.h", "MI_MALLOC_VERSION"))
    return [
        ("rocksdb", defined(rocksdb / "rocksdb/include/rocksdb/version.h", "ROCKSDB_MAJOR", "ROCKSDB_MINOR", "ROCKSDB_PATCH"),
         "Apache-2.0", "librocksdb-sys", rocksdb / "rocksdb"),
        ("lz4", defined(lz4 / "liblz4/lib/lz4.h", "LZ4_VERSION_MAJOR", "LZ4_VERSION_MINOR", "LZ4_VERSION_RELEASE"),
         "BSD-2-Clause", "lz4-sys", lz4 / "liblz4/lib"),
        ("sqlite", defined(sqlite / "sqlite3/sqlite3.h", "SQLITE_VERSION"), "blessing", "libsqlite3-sys", None),
        ("mimalloc", f"{number // 10000}.{number // 100 % 100}.{number % 100}", "MIT", "libmimalloc-sys", mimalloc / "c_src/mimalloc/v3"),
    ]


def licence_texts(folder):
    for path in sorted(folder.iterdir()):
        if path.is_file() and LICENCE_FILES.match(path.name):
            yield path.name, path.read_text(errors="replace").strip().replace("\r\n", "\n")


def siblings_texts(package, packages):
    """Those of a package of the same version, repository and licence, for one that was published without them."""
    same = ("version", "license", "repository")
    for other in packages:
        if package["repository"] and all(other[field] == package[field] for field in same):
            if found := list(licence_texts(Path(other["manifest_path"]).parent)):
                return found
    return []


def toolchain():
    rust = re.search(r"rustc (\S+)", output(os.environ.get("RUSTC", "rustc"), "--version")).group(1)
    gcc = output(os.environ.get("CXX", "g++"), "-dumpfullversion").strip()
    return rust, gcc


def cargo_purl(name, version):
    return f"pkg:cargo/{name}@{version}".replace("+", "%2B")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--binary", "--sbom", "--licences"):
        arguments.add_argument(name, type=Path, required=True)
    arguments = arguments.parse_args()

    metadata = json.loads(output("cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET))
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
    wanted = linked()
    packages = {(p["name"], p["version"]): p for p in metadata["packages"] if (p["name"], p["version"]) in wanted}
    if missing := wanted - packages.keys():
        fail(f"cargo tree lists what cargo metadata does not: {sorted(missing)}")
    by_id = {p["id"]: key for key, p in packages.items()}
    edges = {by_id[node["id"]]: sorted(cargo_purl(*by_id[d["pkg"]]) for d in node["deps"] if d["pkg"] in by_id)
             for node in metadata["resolve"]["nodes"] if node["id"] in by_id}

    components, texts, silent = [], {}, []
    for key in sorted(packages):
        package = packages[key]
        name, version = key
        if name == "rivet-engine":
            continue
        folder = Path(package["manifest_path"]).parent
        component = {"type": "library", "bom-ref": cargo_purl(*key), "name": name, "version": version,
                     "purl": cargo_purl(*key), "scope": "required"}
        if package["license"]:
            component["licenses"] = [{"expression": expression(package["license"])}]
        if checksums[key]:
            component["hashes"] = [{"alg": "SHA-256", "content": checksums[key]}]
            component["externalReferences"] = [{"type": "distribution", "url": f"https://crates.io/crates/{name}/{version}"}]
        if package["repository"]:
            component.setdefault("externalReferences", []).append({"type": "vcs", "url": package["repository"]})
        components.append(component)
        if not checksums[key]:
            continue  # A part of this project.
        found = list(licence_texts(folder)) or siblings_texts(package, packages.values())
        for _, text in found:
            texts.setdefault(text, []).append(f"{name} {version}")
        if not found:
            silent.append((name, version, expression(package["license"]), ", ".join(package["authors"]) or "its authors",
                           package["repository"] or f"https://crates.io/crates/{name}"))

    folders = {name: Path(packages[name, version]["manifest_path"]).parent for name, version in packages}
    native = bundled(folders)
    for name, version, licence, crate, folder in native:
        ref = f"pkg:generic/{name}@{version}"
        components.append({"type": "library", "bom-ref": ref, "name": name, "version": version, "purl": ref, "scope": "required",
                           "licenses": [{"expression": licence}],
                           "properties": [{"name": "rivet-engine:brought-by", "value": crate}]})
        key = next(k for k in packages if k[0] == crate)
        edges[key] = sorted(edges[key] + [ref])
        for file, text in licence_texts(folder) if folder else []:
            # RocksDB's other licence, under which it is not used.
            if (name, file) != ("rocksdb", "COPYING"):
                texts.setdefault(text, []).append(f"{name} {version}")
    rust, gcc = toolchain()
    runtime = [("rust-std", rust, RUST_LICENCE), ("libstdc++", gcc, GCC_LICENCE)]
    for name, version, licence in runtime:
        ref = f"pkg:generic/{name.replace('+', '%2B')}@{version}"
        components.append({"type": "library", "bom-ref": ref, "name": name, "version": version, "purl": ref, "scope": "required",
                           "licenses": [{"expression": licence}]})

    root = next(key for key in packages if key[0] == "rivet-engine")
    root_ref = cargo_purl(*root)
    edges[root] = sorted(edges[root] + [c["bom-ref"] for c in components[-len(runtime):]])
    digest = hashlib.sha256(arguments.binary.read_bytes()).hexdigest()
    commit, moment = output("git", "log", "-1", "--format=%H %cI").split()
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{root_ref}#{digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": moment,
            "tools": {"components": [{"type": "application", "name": "scripts/packaging/inventory.py", "version": root[1]}]},
            "component": {"type": "application", "bom-ref": root_ref, "name": "rivet-engine", "version": root[1], "purl": root_ref,
                          "licenses": [{"expression": packages[root]["license"]}],
                          "hashes": [{"alg": "SHA-256", "content": digest}],
                          "properties": [{"name": "rivet-engine:commit", "value": commit},
                                         {"name": "rivet-engine:target", "value": TARGET},
                                         {"name": "rivet-engine:rustc", "value": rust}]},
        },
        "components": components,
        "dependencies": [{"ref": cargo_purl(*key), "dependsOn": edges[key]} for key in sorted(edges)],
    }
    arguments.sbom.write_text(json.dumps(document, indent=2) + "\n")
    arguments.licences.write_text(book(texts, silent))


def book(texts, silent):
    """All licence texts, each once, with those it is of."""
    rule = "=" * 100
    out = ["Licences of what is linked into rivet-engine. rivet-engine itself is under Apache-2.0: see LICENSE.",
           "Each text as its package carries it, above it the packages that carry the same one. Which licence each package is under,",
           "and which it offers as a choice, is in sbom.cdx.json.", "",
           "RocksDB is used under Apache-2.0, the one of its two licences that combines with ours. "
           "SQLite is in the public domain (sqlite.org/copyright.html).",
           "The libraries of GCC that are in the binary are under GPL-3.0-or-later with the GCC Runtime Library Exception 3.1, which",
           "permits to hand out the combination under terms of one's choice. Rust's library is under MIT or Apache-2.0.", ""]
    if silent:
        out += ["These packages carry no licence text. They are used under Apache-2.0 (text: LICENSE), which all of them offer:", ""]
        out += [f"  {name} {version}: {licence}; by {authors}; {url}" for name, version, licence, authors, url in silent]
        out.append("")
        for name, version, licence, *_ in silent:
            if "Apache-2.0" not in licence:
                fail(f"{name} {version} is under {licence} and carries no text of it: add the text to {__file__}")
    for text, packages in sorted(texts.items(), key=lambda item: (-len(item[1]), item[1])):
        out += [rule, *wrapped(sorted(set(packages))), rule, "", text, ""]
    return "\n".join(out) + "\n"


def wrapped(names):
    line, lines = "", []
    for name in names:
        if len(line) + len(name) > 98:
            lines.append(line)
            line = ""
        line += name if not line else f", {name}"
    return [*lines, line]


if __name__ == "__main__":
    main()
