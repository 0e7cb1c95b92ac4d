"""openapi.py SOURCE SERVICE POINT... - docs/openapi.yaml held against the running service of service.sh; says TAP

The environment names the listeners (PUBLIC GUESTS HOSTS METRICS ADMIN) and the CA. Each answer that comes here is held
against what the file says of that operation: status, content type, headers, body; a problem's word stands behind its status.
"""
import base64, http.client, json, os, re, socket, ssl, sys, threading, time

import jsonschema, yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

SOURCE, SERVICE, *POINTS = sys.argv[1:]  # each point is a function
DOC = yaml.safe_load(open(f"{SOURCE}/docs/openapi.yaml"))
METHODS = ["get", "put", "post", "delete", "patch", "head"]
RESOLVER = jsonschema.RefResolver.from_schema(DOC)
COMPONENTS = DOC["components"]
UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
# What needs a guest, a copied disk or a lost database is answered well elsewhere; here its refusals are seen.
# Members of answers that need one, too.
RARE = {"behind", "accepted_until", "receipt", "ver", "row_ver", "show", "next", "newest_record", "receipts_taken", "receipts_refused",
        "certificates_taken", "hosts_unknown", "silent_hosts"}
REFUSED_ONLY = {"prove", "showCertificates", "acceptVm", "finishRecovery"}


def looked_up(node):
    """What a $ref stands for; words beside it (a description) win."""
    if "$ref" not in node:
        return node
    return {**RESOLVER.resolve(node["$ref"])[1], **{k: v for k, v in node.items() if k != "$ref"}}


class Operation:
    def __init__(self, path, method, node):
        self.path, self.method, self.node = path, method, node
        self.id, self.listener = node["operationId"], node["tags"][0]
        self.responses = {status: looked_up(r) for status, r in node["responses"].items()}
        self.body = next(iter(looked_up(node["requestBody"])["content"].values())) if "requestBody" in node else None


OPERATIONS = {node["operationId"]: Operation(path, method, node)
              for path, item in DOC["paths"].items() for method, node in item.items() if method in METHODS}


def misfits(schema, value):
    validator = jsonschema.Draft202012Validator(schema, resolver=RESOLVER)
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message}"[:400] for e in validator.iter_errors(value)]


def members(value, at=""):
    """The paths of the members of a message: /vms/*/uuid"""
    for key, below in value.items() if isinstance(value, dict) else [("*", v) for v in value] if isinstance(value, list) else ():
        yield f"{at}/{key}"
        yield from members(below, f"{at}/{key}")


def members_of(schema, at=""):
    """The same of a schema."""
    schema = looked_up(schema)
    for part in schema.get("oneOf", []) + schema.get("allOf", []):
        yield from members_of(part, at)
    for key, below in {**schema.get("properties", {}), **({"*": schema["items"]} if "items" in schema else {})}.items():
        yield f"{at}/{key}"
        yield from members_of(below, f"{at}/{key}")


# ---- TAP ----

bad, count, faults = 0, 0, []


def point(text, check):
    """One point: `check` adds to `faults`; what it raises is one too."""
    global bad, count
    faults.clear()
    try:
        check()
    except Exception as e:
        faults.append(f"{type(e).__name__}: {e}")
    count += 1
    bad += bool(faults)
    print(f"{'not ok' if faults else 'ok'} {count} - {text}", flush=True)
    for fault in faults[:12]:
        print("#", fault)


def want(good, fault):
    if not good:
        faults.append(fault)


# ---- the file itself ----

def nodes(node, at="#"):
    """Each mapping of the file, and where it stands."""
    if isinstance(node, dict):
        yield at, node
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from nodes(value, f"{at}/{key}")


def the_file_has_the_form_of_openapi_3_1():
    want(re.fullmatch(r"3\.1\.\d", DOC["openapi"]), "openapi: 3.1")
    want(set(DOC) == {"openapi", "info", "tags", "paths", "components"}, f"members {sorted(DOC)}")
    want({"title", "version", "license"} <= set(DOC["info"]), "info")
    ids = [n["operationId"] for item in DOC["paths"].values() for m, n in item.items() if m in METHODS]
    want(len(ids) == len(set(ids)), "operationId twice")
    used = {node["$ref"] for _, node in nodes(DOC) if "$ref" in node}
    for ref in used:
        RESOLVER.resolve(ref)
    for kind, parts in COMPONENTS.items():
        for name in parts if kind != "securitySchemes" else ():
            want(f"#/components/{kind}/{name}" in used, f"{kind}/{name} is used nowhere")
    for path, item in DOC["paths"].items():
        want(set(item) <= {"servers", "parameters", *METHODS} and len(item["servers"]) == 1, f"{path}: {sorted(item)}")
        named = {looked_up(p)["name"] for p in item.get("parameters", [])}
        want(named == set(re.findall(r"{(\w+)}", path)), f"{path}: its parameters are {named}")
    for op in OPERATIONS.values():
        want({"tags", "operationId", "summary", "security", "responses"} <= set(op.node), f"{op.id}: lacks a member")
        want(set(op.node) <= {"tags", "operationId", "summary", "security", "responses", "parameters", "requestBody"}, f"{op.id}: has more")
        want(op.node["tags"] in [[t["name"]] for t in DOC["tags"]], f"{op.id}: {op.node['tags']}")
        want("default" in op.responses, f"{op.id}: no default")
        want((op.method in ("post", "patch")) == (op.body is not None), f"{op.id}: a body")
        for status, r in op.responses.items():
            want(r["description"], f"{op.id} {status}: no description")
            later = status in ("429", "503")
            want(not later or r["headers"]["Retry-After"]["required"], f"{op.id} {status}: no Retry-After")
    for name, schema in COMPONENTS["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)


def no_object_of_it_is_open():
    parts = {n["$ref"] for _, node in nodes(COMPONENTS["schemas"]) for n in node.get("allOf", [])}
    for at, node in nodes(COMPONENTS["schemas"], "#/components/schemas"):
        if node.get("type") == "object" and at not in parts:
            want("additionalProperties" in node or node.get("unevaluatedProperties") is False, f"{at} is open")
            want(set(node.get("required", [])) <= set(node.get("properties", {})), f"{at}: required, and not there")


def its_problems_are_words_of_the_service_with_their_status():
    text = open(f"{SOURCE}/lib/wire/problem.c").read()
    table = {m[1]: m[2] for m in re.finditer(r'^    \{ "([a-z0-9-]+)", (\d{3}), "', text, re.M)}
    want(len(table) == len(re.findall(r'^    \{ "', text, re.M)) > 100, f"{len(table)} words were read of the table")
    for op in OPERATIONS.values():
        for status, r in op.responses.items():
            pairs = re.findall(r"`([a-z-]+)` (\d{3})", r["description"]) if status == "default" else \
                [(word, status) for word in re.findall(r"`([a-z-]+)`", r["description"]) if status[0] in "45" and word in table]
            want(status[0] not in "45d" or pairs, f"{op.id} {status}: no word")
            for word, of in pairs:
                want(table.get(word) == of, f"{op.id}: {word} is {table.get(word)}, not {of}")


def it_has_each_route_and_no_other():
    text = open(f"{SOURCE}/tokenservice/api/route.c").read().split("TABLE[] = {")[1].split("};")[0]
    rows = re.findall(r'\{ "([A-Z]+)", "([^"]+)", ON_([A-Z]+), WHO_[A-Z]+,\s+api_\w+ \},', text)
    want(len(rows) == text.count('"/') > 40, f"{len(rows)} rows were read of {text.count(chr(34) + '/')}")
    table = {(m.lower(), p, l.lower()) for m, p, l in rows}
    ours = {(o.method, re.sub(r"{\w+}", "*", o.path), o.listener) for o in OPERATIONS.values()}
    for row in table ^ ours:
        faults.append(f"{'not in the file' if row in table else 'no route'}: {row}")


def messages_of_the_codecs_fit_it():
    samples = {"prove/full": "Prove", "prove/least": "Prove", "answer/token": "Answer", "answer/resolve": "Answer", "answer/extend": "Answer",
               "answer/activate": "Answer", "lease_msg/report": "Report", "lease_msg/answer": "Results", "lease_msg/bad-answer": "Results"}
    for sample, name in samples.items():
        text = open(f"{SOURCE}/tests/data/fuzz/{sample}").read()
        found = misfits(COMPONENTS["schemas"][name], json.loads(text[text.index("{"):]))
        want(bool(found) == ("bad" in sample), f"{sample}: {found}")


# ---- the service ----

class UnixConnection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.environ["ADMIN"])


tls = ssl.create_default_context(cafile=os.environ["CA"])
as_host = None  # the same with a host's certificate
lines, answered = {}, set()
seen = {"asked": set(), "answered": set()}  # (operation, path of a member) that was taken, that came


def connection(listener):
    if listener == "admin":
        return UnixConnection("localhost", timeout=40)
    if listener == "metrics":
        return http.client.HTTPConnection(os.environ["METRICS"], timeout=40)
    return http.client.HTTPSConnection(os.environ[listener.upper()], timeout=40, context=listener == "hosts" and as_host or tls)


def send(listener, method, path, body=None, headers={}, alone=False):
    """(status, headers, body). Many requests on one connection, but `alone` ones; waits where it is asked to."""
    for _ in range(30):
        kept = None if alone else lines.pop(listener, None)
        c = kept or connection(listener)
        try:
            c.request(method.upper(), path, body, headers)
            answer = c.getresponse()
        except ConnectionError:  # one that was idle for long
            if not kept:
                raise
            continue
        text = answer.read().decode()
        if not alone and not answer.will_close:
            lines[listener] = c
        if answer.status != 503 or "about:blank" not in text:
            return answer.status, dict(answer.headers), text
        time.sleep(int(answer.headers["Retry-After"]))
    raise TimeoutError(path)


def word_of(text):
    return json.loads(text).get("type", "").removeprefix("urn:virtid:problem:") if text.startswith("{") else ""


def hold(op, status, headers, text):
    """The answer against what the file says."""
    named = str(status) in op.responses
    said = op.responses[str(status) if named else "default"]
    at, kind = f"{op.id} {status}", headers.get("Content-Type")
    want(named or status >= 400, f"{at}: not in the file")
    for name, header in said.get("headers", {}).items():
        want(name in headers or not header.get("required"), f"{at}: no {name}")
        if name in headers:
            faults.extend(f"{at} {name}: {m}" for m in misfits(header["schema"], headers[name]))
    want(status not in (429, 503) or "Retry-After" in headers, f"{at}: no Retry-After")
    if "content" not in said:
        want(text == "", f"{at}: a body")
        return
    want(kind in said["content"], f"{at}: it is {kind}")
    schema = said["content"].get(kind, {}).get("schema", {})
    faults.extend(f"{at} {m}" for m in misfits(schema, json.loads(text) if "json" in kind else text))
    if status >= 400:
        word = word_of(text)
        wanted = f"`{word}`" if named else f"`{word}` {status}"
        want(wanted in said["description"], f"{at}: the word {word} is not in the file")
    elif status < 300:
        answered.add(op.id)
        seen["answered"] |= {(op.id, m) for m in members(json.loads(text) if "json" in kind else {})}


def ask(name, /, body=None, query="", headers={}, want_status=None, alone=False, **args):
    """One operation; its answer, read."""
    op = OPERATIONS[name]
    path = re.sub(r"{(\w+)}", lambda m: args[m[1]], op.path) + query
    if op.body and body is not None and not isinstance(body, str) and want_status != 400:
        faults.extend(f"{name}, asked: {m}" for m in misfits(op.body["schema"], body))
    sent = body if body is None or isinstance(body, str) else json.dumps(body)
    status, got, text = send(op.listener, op.method, path, sent, headers, alone)
    hold(op, status, got, text)
    want(want_status in (None, status), f"{name} {body}: {status} {text}")
    if status != 400:
        seen["asked"] |= {(name, m) for m in members(body)}
    return json.loads(text) if "json" in got.get("Content-Type", "") and text else got


def no_listener_has_another_method_or_path():
    """Whatever method and path: what the file does not name is 405 on a path of the listener, else 404; HEAD goes with GET."""
    where = {}
    for op in OPERATIONS.values():
        where.setdefault((op.listener, re.sub(r"{\w+}", "nobody", op.path)), set()).add(op.method)
    asked = 0
    for (listener, path), methods in where.items():
        for method in set(METHODS) - methods:
            status, _, text = send(listener, method, path, "{}")
            asked += 1
            taken = method == "head" and "get" in methods
            want((status != 405) == taken, f"{method} {path} at {listener}: {status} {text}")
        for other in {"public", "guests", "hosts", "admin"} - {listener}:
            status, _, text = send(other, min(methods), path, "{}")
            asked += 1
            want(status == 404 and word_of(text) == "not-found", f"{path} at {other}: {status} {text}")
    for path in "/healthz", "/v1/admin/status", "/":
        want(send("metrics", "get", path)[0] == 404, f"{path} at metrics")
    print(f"# {asked} requests")


def who_needs_a_certificate_is_told():
    """The operations of hosts that need one, and no others, are 401 without."""
    for op in OPERATIONS.values():
        if op.listener == "hosts":
            got = ask(op.id, op.body["example"] if op.body else None)
            want((got.get("status") == 401) == (op.node["security"] == [{"host": []}]), f"{op.id}: {got}")
        else:
            want(op.node["security"] == [], f"{op.id}: security")


def each_of_its_operations_is_there():
    for op in OPERATIONS.values():
        status, _, text = send(op.listener, op.method, re.sub(r"{\w+}", "nobody", op.path), '{"nobody":1}' if op.body else None)
        unknown = status == 404 and ("no such endpoint" in text or op.listener in ("public", "guests"))
        want(status != 405 and not unknown, f"{op.id}: {status} {text}")


def bodies_are_as_strict_as_it_says():
    """Each example is understood; not with a member more, one of another type, or without one that is required."""
    for op in OPERATIONS.values():
        if not op.body:
            continue
        # Settings are read when the VM is known.
        args = {name: "shop-vm" if op.id == "setVm" else "nobody" for name in re.findall(r"{(\w+)}", op.path)}
        example, schema = op.body["example"], looked_up(op.body["schema"])
        schema = next(s for s in schema.get("oneOf", [schema]) if not misfits(s, example))

        def refused(body, what):
            want(misfits(schema, body) != [], f"{op.id}: the file allows {what}")
            got = ask(op.id, body, want_status=400, **args)
            want(got.get("type") == "urn:virtid:problem:bad-request", f"{op.id} {what}: {got}")

        def taken(body, what):
            got = ask(op.id, body, **args)
            want(got.get("status") != 400, f"{op.id} {what}: {got}")

        ask(op.id, "", want_status=400, **args)
        ask(op.id, json.dumps(example)[:-1], want_status=400, **args)
        refused([], "a list")
        refused({**example, "nobody": 1}, "an unknown member")
        for member in schema.get("properties", {}):
            refused({**example, member: 7.5}, f"a number as {member}")
        for member in example:
            less = {k: v for k, v in example.items() if k != member}
            if misfits(schema, less):
                refused(less, f"no {member}")
            else:
                taken(less, f"without {member}")
        taken(example, "as in the file")


# ---- a host of our own ----

def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def point_of(key):
    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def signed(label, name, token, keys):
    fields = [label.encode(), name.encode(), *([token] if token else []), *map(point_of, keys)]
    message = b"".join(len(f).to_bytes(2, "big") + f for f in fields)
    sigs = [utils.decode_dss_signature(k.sign(message, ec.ECDSA(hashes.SHA256()))) for k in keys]
    sigs = [b64(r.to_bytes(32, "big") + s.to_bytes(32, "big")) for r, s in sigs]
    return {"tls": b64(point_of(keys[0])), "proof": b64(point_of(keys[1])), "sig_tls": sigs[0], "sig_proof": sigs[1]}


def use_certificate(key, cert):
    global as_host
    with open(f"{SERVICE}/host.pem", "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
        pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        f.write(key.private_bytes(*pem).decode() + cert)
    as_host = ssl.create_default_context(cafile=os.environ["CA"])
    as_host.load_cert_chain(f"{SERVICE}/host.pem")
    lines.pop("hosts", None)


def a_host_joins_by_it():
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    code = ask("inviteHost", {"name": "host1"}, want_status=201)["code"]
    token = base64.urlsafe_b64decode(code.split(",")[3] + "=")
    request = {"name": "host1", "token": b64(token), "simulated": False, **signed("virtid-join-1", "host1", token, keys)}
    pending = ask("join", request, want_status=202)
    ask("approveHost", {"fingerprint": "0" * 32}, name="host1", want_status=409)
    ask("approveHost", {"fingerprint": pending["fingerprint"]}, name="host1", want_status=200)
    ask("inviteHost", {"name": "host1"}, want_status=409)
    ask("getBundle", want_status=401)
    joined = ask("join", request, want_status=200)
    use_certificate(keys[0], joined["tls_cert"])
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    renewed = ask("renewHost", signed("virtid-renew-1", "host1", None, keys), want_status=200)
    use_certificate(keys[0], renewed["tls_cert"])


seq = 0


def report(uuid, view, e, ends=(), **more):
    global seq
    seq += 1
    vm = {"uuid": uuid, "ends": list(ends), "view": view, "k": False, "e": e, "kk": 0, "ver": 0, "row_ver": 0}
    vm["saw"] = {"what": "genid", "seq": 1}
    body = {"host": "host1", "boot": "0a5e8b2c-1111-4222-8333-944455566677", "seq": seq, "hook": "ok", "pull": 0, "vms": [vm], **more}
    return ask("report", body, want_status=200)["vms"][0]


def hosts_are_answered_as_it_says():
    epoch = report(UUID, "off", 0, op="acquire")["e"]
    ours = {"uuid": UUID, "epoch": epoch}
    report(UUID, "run", epoch)
    ask("report", {**OPERATIONS["report"].body["example"], "host": "host2"}, want_status=403)
    want(ask("claimAccount", {**ours, "name": "web1"}, want_status=200) == {"state": "pending"}, "the account")
    ask("acceptVm", {"dry_run": True}, vm=UUID, want_status=409)
    ask("acceptVm", {"cur": "", "new": "00" * 32, "x": ""}, vm=UUID, want_status=409)
    ask("claimAccount", {**ours, "epoch": 1, "name": "web1"}, want_status=409)
    ask("certifyEndorsementKey", {**ours, "ek": OPERATIONS["certifyEndorsementKey"].body["example"]["ek"]}, want_status=200)
    ask("getVmOfHost", query=f"?uuid={UUID}&epoch={epoch}", want_status=200)
    ask("getVmOfHost", query=f"?uuid={UUID[:-1]}9", want_status=404)
    ask("getVmOfHost", query="?uuid=nobody", want_status=400)
    want(ask("getBundle", want_status=200)["serial"] >= 1, "the serial")
    ask("showReceipts", {"receipts": ["AAAA"]}, want_status=200)
    ask("showCertificates", {"proof_cert": "MAAA"}, want_status=403)
    ask("pull", query="?after=x", want_status=400)
    # The host is asked before its VM is placed there again; this one hears that, and says nothing.
    asking = threading.Thread(target=ask, args=("pull",), kwargs={"query": "?after=0", "want_status": 200, "alone": True})
    report(UUID, "off", 0, [{"view": "go", "e": epoch, "seq": 1}])
    asking.start()
    ask("placeVm", {"host": "host1"}, vm=UUID, want_status=503)
    asking.join()
    ask("placeVm", {"host": "host1", "force": True}, vm=UUID, want_status=200)


def what_is_asked_for_is_answered_as_it_says():
    for name in "getDiscovery", "getKeySet", "getBoundDiscovery", "getBoundKeySet":
        status, headers, _ = send("public", "get", OPERATIONS[name].path)
        ask(name, want_status=200)
        ask(name, headers={"If-None-Match": headers["ETag"]}, want_status=304)
    ask("getHealth", want_status=200)
    ask("getReadiness", want_status=200)
    ask("getHealth", headers={"Host": "elsewhere.test"}, want_status=421)
    for name in "getStatus", "listHosts", "listAudiences", "listPools", "listKeys", "getRecovery", "getTop", "getAuditHead", "getMetrics":
        ask(name, want_status=200)
    for vm in ask("listVms", want_status=200)["vms"]:
        ask("getVm", vm=vm["uuid"], want_status=200)
    ask("getVm", vm="nobody", want_status=404)
    ask("listVms", query=f"?after={UUID}", want_status=200)
    ask("listVms", query="?after=nobody", want_status=400)
    for query in "", "?limit=3&after=0", f"?uuid={UUID}&what=account&who=host1":
        ask("getAudit", query=query, want_status=200)
    for query in "?limit=0", "?after=-1", "?uuid=nobody":
        ask("getAudit", query=query, want_status=400)


def operators_are_answered_as_it_says():
    vm = {"vm": "shop-vm"}
    uuid = ask("getVm", **vm)["uuid"]
    want(report(uuid, "off", 0, op="acquire").get("holder") == "simhost", "who holds it")
    ask("placeVm", {"host": "host1", "new_vtpm": True, "force": True}, **vm, want_status=200)
    want(ask("getVm", **vm, want_status=200)["new_vtpm_host"] == "host1", "the host of its new vTPM")
    report(uuid, "off", 0, op="acquire")
    ask("getTop", want_status=200)
    ask("lockVm", {"reason": "ticket 7"}, **vm, want_status=200)
    want(ask("lockVm", {}, **vm, want_status=200)["changed"] is False, "locked twice")
    want(ask("getVm", **vm, want_status=200)["locked_reason"] == "ticket 7", "the reason")
    ask("acceptVm", {"dry_run": True}, **vm, want_status=403)
    ask("unlockVm", {}, **vm, want_status=200)
    ask("acceptVm", {"dry_run": True}, **vm, want_status=409)
    ask("setVm", {"owner": "shop team", "labels": {"tier": "web"}, "audiences": ["shop"], "restore": "auto"}, **vm, want_status=200)
    ask("declareAudience", {"name": "till", "bound": True, "claims": ["name", "labels"]}, want_status=200)
    ask("listAudiences", want_status=200)
    ask("removeAudience", {"name": "till"}, want_status=200)
    ask("removeAudience", {"name": "till"}, want_status=404)
    ask("setPool", {"name": "rack1", "hosts": ["host1"]}, want_status=200)
    ask("setPool", {"name": "rack2", "hosts": ["host1"]}, want_status=409)
    ask("setPool", {"name": "rack2", "hosts": ["nobody"]}, want_status=404)
    ask("listPools", want_status=200)
    ask("fenceHost", {"to": "host1"}, name="host1", want_status=409)
    ask("fenceHost", {"dry_run": True}, name="host1", want_status=200)
    ask("fenceHost", {}, name="host1", want_status=200)
    want("fenced" in next(h for h in ask("listHosts")["hosts"] if h["name"] == "host1"), "fenced")
    ask("removePool", {"name": "rack1"}, want_status=200)
    ask("rotateKeys", {"bound": True}, want_status=409)
    keys = ask("listKeys", want_status=200)
    ask("revokeKeys", {"kid": keys["bound_kid"]}, want_status=200)
    ask("revokeKeys", {"kid": keys["bound_kid"]}, want_status=404)
    ask("revokeKeys", {"all": True}, want_status=200)
    ask("rotateKeys", {}, want_status=409)
    ask("rotateCa", {"kid": "nobodys"}, want_status=409)
    ask("rotateCa", {"kid": "nobodys", "force": True}, want_status=404)
    ask("rotateCa", {}, want_status=200)
    want(ask("getCas", want_status=200)["behind"], "hosts that do not have it")
    ask("getCa", want_status=200)
    ask("finishRecovery", {}, want_status=409)
    ask("retireVm", {}, vm=UUID, want_status=200)
    ask("lockVm", {}, vm=UUID, want_status=403)
    ask("getVm", vm=UUID, want_status=200)
    ask("removeHost", name="host1", want_status=200)
    ask("removeHost", name="nobody", want_status=404)
    ask("getBundle", want_status=403)


def guests_are_answered_as_it_says():
    nonce = ask("getChallenge", {}, want_status=200)["nonce"]
    ask("prove", {**OPERATIONS["prove"].body["example"], "nonce": nonce}, want_status=403)
    point, sig = [OPERATIONS["join"].body["example"][name] for name in ("tls", "sig_tls")]
    full = json.loads(open(f"{SOURCE}/tests/data/fuzz/prove/full").read())
    ask("prove", {**full, "nonce": nonce, "cnf": point, "new": point, "new_sig": sig}, want_status=403)
    ask("prove", full, want_status=409)


def each_operation_was_answered_well():
    want(answered | REFUSED_ONLY == set(OPERATIONS) and not answered & REFUSED_ONLY, f"never: {set(OPERATIONS) - answered - REFUSED_ONLY}")


def each_member_was_taken():
    for op in OPERATIONS.values():
        for path in members_of(op.body["schema"]) if op.body else ():
            want((op.id, path) in seen["asked"], f"{op.id} {path}")


def each_member_of_an_answer_came_but_those_of_rare_days():
    """By its name: a wrong one of a member that need not be there would never be seen."""
    came = {path.split("/")[-1] for _, path in seen["answered"]}
    for op in OPERATIONS.values():
        for status, r in op.responses.items():
            for of in r.get("content", {}).values() if status[0] == "2" and op.id not in REFUSED_ONLY else ():
                for path in members_of(of["schema"]):
                    want(path.split("/")[-1] in came | RARE, f"{op.id} {path}")


for text in POINTS:
    point(text, globals()[text])
print(f"1..{count}")
sys.exit(bad > 0)
