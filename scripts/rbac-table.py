#!/usr/bin/env python3
"""Which rights does the operator have, and why? Prints the table of deploy/README.md.

Reads rendered manifests (stdin) whose rules carry "# why:" and "# value:" lines; a rule without a reason fails.
"""
import re
import sys

import yaml


def rules(text):
    """Every rule with its reason and the value that takes it away, by role."""
    for document in re.split(r"^---$", text, flags=re.M):
        kind = re.search(r"^kind: (\w+)$", document, re.M)
        if not kind or kind[1] not in ("Role", "ClusterRole") or "aggregate-to-" in document:
            continue
        name = re.search(r"^  name: (\S+)$", document, re.M)[1]
        where = "everywhere" if kind[1] == "ClusterRole" else "own namespace" if name.endswith("-own") else "each served namespace"
        if not re.search(r"^rules:$", document, re.M):
            continue
        lines = document[document.index("\nrules:\n") + 8:].splitlines()
        why = value = None
        block = []

        def done():
            if not block:
                return None
            rule = yaml.safe_load("\n".join(block))[0]
            if not why:
                sys.exit(f"{kind[1]} {name}: no '# why:' above the rule for {rule['resources']}")
            return where, rule, why, value

        for line in lines:
            comment = re.match(r"^\s+# (why|value): (.*)$", line)
            if comment or line.lstrip().startswith("- apiGroups"):
                if block:
                    yield done()
                    block, why, value = [], None, None
                if comment and comment[1] == "why":
                    why = comment[2]
                elif comment:
                    value = comment[2]
                else:
                    block = [line]
            elif block and line.strip():
                block.append(line)
        if block:
            yield done()


def main():
    seen = {}
    for where, rule, why, value in rules(sys.stdin.read()):
        names = rule.get("resourceNames", [])
        if len(names) > 3:
            names = [f"{names[0]} … {names[-1]}"]
        key = (", ".join(g or "core" for g in rule["apiGroups"]), ", ".join(rule["resources"]),
               ", ".join(names), ", ".join(rule["verbs"]), why, value)
        seen.setdefault(key, [])
        if where not in seen[key]:
            seen[key].append(where)
    print("| API group | resource | named | verbs | where | why | value |")
    print("|---|---|---|---|---|---|---|")
    for (group, resources, names, verbs, why, value), where in seen.items():
        places = "each served namespace" if "everywhere" in where and "each served namespace" in where else " and ".join(where)
        cells = [group, f"`{resources}`", f"`{names}`" if names else "", verbs, places, why, f"`{value}`" if value else ""]
        print("| " + " | ".join(cells) + " |")


main()
