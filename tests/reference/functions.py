#!/usr/bin/env python3
"""Records what a real Flink makes of the expressions in functions/*.sql: types, values and errors, as functions/expected/*.tsv.

usage: functions.py CLUSTER_SH [FAMILY…]      (CLUSTER_SH starts a cluster: `CLUSTER_SH up zk fluss flink gateway`)

Run it again after a file of functions/ has changed, or for a new file: a family is a file. The test `functions` of
crates/sql evaluates the same expressions and compares.

A case file has an expression per line. `--` starts a comment; two comments have a meaning for the line behind them:
  -- differs: REASON    Gridhouse answers otherwise on purpose; the comment behind it says how: `-- gives: TYPE | VALUE`,
                        with `error` for the type where it refuses
  -- type only          the value is drawn or depends on the clock: only the type is recorded and compared

A recorded line is: expression, type, value (the text that CAST AS STRING gives), with the session in UTC; and, only where it
differs with the session in Asia/Shanghai, the value there. \\N is NULL; \\t, \\n, \\r and \\\\ are escaped. Where Flink refuses,
the type is `error at bind` (parsing, validation, planning) or `error at run`, and the value is the start of its message.
"""
import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent / "functions"
ZONES = ["UTC", "Asia/Shanghai"]
TOGETHER = 40  # expressions in one query: a query costs about a second, a hundred columns exceed Java's method size
MESSAGE_CHARS = 160


class Refused(Exception):
    """Flink's own message for a statement that fails."""


class Gateway:
    def __init__(self, port, zone):
        self.base = f"http://127.0.0.1:{port}"
        properties = {"execution.runtime-mode": "batch", "table.local-time-zone": zone, "parallelism.default": "1"}
        self.session = self.call("POST", "/v3/sessions", {"properties": properties})["sessionHandle"]

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(root_cause("\n".join(json.load(error)["errors"]))) from None

    def run(self, statement):
        """Columns and rows of a statement."""
        operation = self.call("POST", f"/v3/sessions/{self.session}/statements", {"statement": statement})["operationHandle"]
        path = f"/v3/sessions/{self.session}/operations/{operation}/result/0?rowFormat=JSON"
        columns, rows = None, []
        while path:
            page = self.call("GET", path)
            if page["resultType"] == "NOT_READY":
                time.sleep(0.02)
            if "results" in page:
                columns = page["results"].get("columns") or columns
                rows += [row["fields"] for row in page["results"].get("data", [])]
            path = page.get("nextResultUri")
        self.call("DELETE", f"/v3/sessions/{self.session}/operations/{operation}/close")
        return columns, rows

    def close(self):
        self.call("DELETE", f"/v3/sessions/{self.session}")


def root_cause(text):
    causes = re.findall(r"^Caused by: (.*)$", text, re.M) or text.splitlines()
    message = causes[-1]
    return re.sub(r"^[\w.$]+(Exception|Error): ", "", message).strip()[:MESSAGE_CHARS]


def type_name(t):
    """A gateway's logical type as SQL."""
    kind, inner = t["type"], lambda key: type_name(t[key])
    length, precision = t.get("length"), t.get("precision")
    name = {
        "CHAR": f"CHAR({length})", "VARCHAR": "STRING" if length == 2147483647 else f"VARCHAR({length})",
        "BINARY": f"BINARY({length})", "VARBINARY": "BYTES" if length == 2147483647 else f"VARBINARY({length})",
        "INTEGER": "INT", "DECIMAL": f"DECIMAL({precision}, {t.get('scale')})",
        "TIME_WITHOUT_TIME_ZONE": f"TIME({precision})", "TIMESTAMP_WITHOUT_TIME_ZONE": f"TIMESTAMP({precision})",
        "TIMESTAMP_WITH_LOCAL_TIME_ZONE": f"TIMESTAMP_LTZ({precision})",
        "INTERVAL_YEAR_MONTH": "INTERVAL YEAR TO MONTH", "INTERVAL_DAY_TIME": "INTERVAL DAY TO SECOND(3)",
    }.get(kind)
    if kind == "ARRAY":
        name = f"ARRAY<{inner('elementType')}>"
    elif kind == "MAP":
        name = f"MAP<{inner('keyType')}, {inner('valueType')}>"
    elif kind == "ROW":
        name = "ROW<" + ", ".join(f"`{f['name']}` {type_name(f['fieldType'])}" for f in t["fields"]) + ">"
    return (name or kind) + ("" if t["nullable"] else " NOT NULL")


def select(expressions):
    return "SELECT " + ", ".join(f"{e}, CAST({e} AS STRING)" for e in expressions)


def escaped(value):
    if value is None:
        return "\\N"
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def alone(gateway, expression, refused):
    """What an expression gives that cannot be selected: an error, or a value that has no JSON form."""
    if "Could not map response to JSON" not in str(refused):
        return ("error at run", escaped(str(refused)))
    _, rows = gateway.run(f"SELECT TYPEOF({expression}), CAST({expression} AS STRING)")
    return (rows[0][0], escaped(rows[0][1]))


def evaluate(gateway, expressions):
    """{expression: (type, value)} of expressions that Flink plans; halves what fails until the culprit is alone."""
    if not expressions:
        return {}
    try:
        columns, rows = gateway.run(select(expressions))
    except Refused as refused:
        if len(expressions) == 1:
            return {expressions[0]: alone(gateway, expressions[0], refused)}
        half = len(expressions) // 2
        return evaluate(gateway, expressions[:half]) | evaluate(gateway, expressions[half:])
    values = rows[0]
    return {
        e: (type_name(columns[2 * i]["logicalType"]), escaped(values[2 * i + 1]))
        for i, e in enumerate(expressions)
    }


def planned(gateway, expression):
    """None where Flink plans the expression, else its refusal."""
    try:
        gateway.run("EXPLAIN " + select([expression]))
    except Refused as refused:
        return ("error at bind", escaped(str(refused)))
    return None


def cases(path):
    """The expressions of a case file, each with whether only its type counts."""
    found, type_only = {}, False
    for line in path.read_text().splitlines():
        line = line.strip()
        if line.startswith("--"):
            type_only = type_only or line == "-- type only"
        elif line:
            if line in found:
                sys.exit(f"{path.name}: twice: {line}")
            found[line] = type_only
            type_only = False
    return found


def record(gateways, path):
    wanted = cases(path)
    answers = []
    for gateway in gateways:
        known = {e: refusal for e in wanted if (refusal := planned(gateway, e))}
        open_ones = [e for e in wanted if e not in known]
        for start in range(0, len(open_ones), TOGETHER):
            known |= evaluate(gateway, open_ones[start:start + TOGETHER])
        answers.append(known)
    lines = []
    for expression, type_only in wanted.items():
        kinds = [known[expression][0] for known in answers]
        values = [known[expression][1] for known in answers]
        if type_only and not kinds[0].startswith("error"):
            lines.append([expression, kinds[0], "…"])
        elif kinds[0] != kinds[1]:
            sys.exit(f"{path.name}: {expression}: the type depends on the zone: {kinds}")
        elif values[0] == values[1] or kinds[0].startswith("error"):
            lines.append([expression, kinds[0], values[0]])
        else:
            lines.append([expression, kinds[0], *values])
    out = HERE / "expected" / f"{path.stem}.tsv"
    out.write_text("".join("\t".join(line) + "\n" for line in lines))
    errors = sum(line[1].startswith("error") for line in lines)
    print(f"{path.stem}: {len(lines)} recorded, {errors} of them errors", flush=True)


def main():
    cluster, families = sys.argv[1], sys.argv[2:]
    settings = dict(line.split("=", 1) for line in subprocess.check_output([cluster, "env"], text=True).splitlines())
    gateways = [Gateway(settings["GATEWAY_PORT"], zone) for zone in ZONES]
    paths = sorted(HERE.glob("*.sql"))
    unknown = set(families) - {path.stem for path in paths}
    if unknown:
        sys.exit(f"no such family: {', '.join(sorted(unknown))}")
    for path in paths:
        if not families or path.stem in families:
            record(gateways, path)
    for gateway in gateways:
        gateway.close()


main()
