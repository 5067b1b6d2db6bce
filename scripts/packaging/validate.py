#!/usr/bin/env python3
"""Is a bill of materials valid? Checks it against CycloneDX's own schema, and that its graph is whole.

    validate.py sbom.cdx.json

Needs `cyclonedx-python-lib[json-validation]` from PyPI; tests/packages/run installs it.
"""

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = Path(sys.argv[1]).read_text()
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
if error:
    sys.exit(f"error: {sys.argv[1]} is not CycloneDX 1.5: {error}")
document = json.loads(text)
refs = [component["bom-ref"] for component in document["components"]] + [document["metadata"]["component"]["bom-ref"]]
if len(refs) != len(set(refs)):
    sys.exit("error: a component is listed twice")
reached, next_ones = set(), [document["metadata"]["component"]["bom-ref"]]
edges = {row["ref"]: row["dependsOn"] for row in document["dependencies"]}
while next_ones:
    ref = next_ones.pop()
    if ref not in reached:
        reached.add(ref)
        next_ones += edges.get(ref, [])
if unknown := reached - set(refs):
    sys.exit(f"error: depended on and not listed: {sorted(unknown)}")
if lonely := set(refs) - reached:
    sys.exit(f"error: listed, and nothing depends on it: {sorted(lonely)}")
bare = [c["name"] for c in document["components"] if "licenses" not in c]
if bare:
    sys.exit(f"error: without a licence: {bare}")
print(f"{len(document['components'])} components, all with a licence, all reached from the binary")
