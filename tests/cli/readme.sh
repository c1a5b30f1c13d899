#!/usr/bin/env bash
# The crew and the program of the README run as printed.
set -euo pipefail
project=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - "$project/README.md" "$work" <<'PY'
import re, sys
text = open(sys.argv[1]).read()
crew = re.search(r"```yaml\n(.*?)```", text, re.S).group(1)
program = re.search(r"```python\n(.*?)```", text, re.S).group(1)
open(sys.argv[2] + "/hello.yaml", "w").write(crew)
open(sys.argv[2] + "/guard.py", "w").write(program)
lines = [line for line in crew.splitlines() if "then:" not in line]
crew = "\n".join(lines).replace("kind: rule", "kind: process\n    command: [python3, guard.py]")
open(sys.argv[2] + "/process.yaml", "w").write(crew + "\n")
PY
cd "$work"
"$STELE" check hello.yaml >/dev/null 2>&1
"$STELE" run hello.yaml --quiet >/dev/null
"$STELE" show --region alarms --json | grep -q '"text":"fire!"' || { echo "the rule raised no alarm"; exit 1; }
"$STELE" run process.yaml --quiet >/dev/null 2>&1
"$STELE" show --region alarms --json | grep -q '"text":"FIRE!"' || { echo "the program raised no alarm"; exit 1; }
"$STELE" replay --verify >/dev/null
