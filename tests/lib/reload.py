"""reload.py SERVICE PID HOST_PEM POINT... - SIGHUP and SIGTERM under connections that are kept open; says TAP

Clients ask again and again, each over one connection, from before the first SIGHUP until tokend says that it closes. The
environment names the listeners (PUBLIC HOSTS ADMIN) and the CA.
"""
import http.client, json, os, signal, socket, ssl, sys, threading, time

SERVICE, PID, HOST_PEM, *POINTS = sys.argv[1:]  # each point is a function
PID = int(PID)
LOG = f"{SERVICE}/tokend.log"
DROPIN = f"{SERVICE}/etc/tokend.conf.d/reloaded.conf"
BEFORE_S, ENDED_S = 20, 6  # to be seen in the log; the bound of a drain and a little


def context(pem=None):
    made = ssl.create_default_context(cafile=os.environ["CA"])
    if pem:
        made.load_cert_chain(pem)
    return made


class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.environ["ADMIN"])


def connected(listener, pem=None):
    if listener == "ADMIN":
        made = Unix("localhost", timeout=40)
    else:
        host, port = os.environ[listener].split(":")
        made = http.client.HTTPSConnection(host, int(port), timeout=40, context=context(pem))
    made.connect()
    made.auto_open = False  # a second connection is none that was kept
    return made


class Client(threading.Thread):
    """Asks until it is told that the connection ends."""

    def __init__(self, listener, path, pem=None):
        super().__init__(daemon=True)
        self.connection, self.path = connected(listener, pem), path
        self.asked, self.failed, self.closed, self.last = 0, None, False, None
        self.start()

    def run(self):
        while not self.closed and not self.failed:
            try:
                self.connection.request("GET", self.path)
                answer = self.connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as why:
                self.failed = f"{self.path}, request {self.asked + 1}: {why!r}"
                return
            self.last = (answer.status, body)
            if answer.status != 200:
                self.failed = f"{self.path}: {answer.status} {body[:200]}"
            self.asked += 1
            self.closed = answer.headers.get("Connection") == "close"
            time.sleep(0.07)


def settings(text):
    os.makedirs(os.path.dirname(DROPIN), exist_ok=True)
    with open(DROPIN, "w") as file:
        file.write(text)


def told(words, seen):
    """The line of the log, behind what was seen, that has the words."""
    for _ in range(BEFORE_S * 50):
        lines = [line for line in open(LOG).read()[seen:].splitlines() if "event=reload" in line]
        if lines:
            assert len(lines) == 1 and words in lines[0], lines
            return lines[0]
        time.sleep(0.02)
    raise AssertionError(f"nothing about {words}")


def reloaded(text, words):
    seen = os.path.getsize(LOG)
    settings(text)
    os.kill(PID, signal.SIGHUP)
    return told(words, seen)


def enrol():
    return json.loads(asks_once("ADMIN", "/v1/admin/status")[1])["enrol"]


def asks_once(listener, path):
    one = connected(listener)
    one.request("GET", path, headers={"Connection": "close"})
    answer = one.getresponse()
    return answer.status, answer.read()


def fine(clients):
    assert not [c.failed for c in clients if c.failed], [c.failed for c in clients if c.failed]


def goes_on(clients, closed=False):
    before = [c.asked for c in clients]
    for _ in range(200):
        if all(c.asked > n + 2 for c, n in zip(clients, before)):
            break
        time.sleep(0.05)
    fine(clients)
    assert [c for c in clients if c.closed] == [], "connections were closed"
    assert all(c.asked > n + 2 for c, n in zip(clients, before)), "nothing is asked any more"


def what_can_be_taken_is_taken_at_once():
    assert enrol() == "open"
    line = reloaded("[service]\nenrol = placed\n", "result=taken")
    assert " taken=service.enrol" in line and "restart=" not in line, line
    assert enrol() == "placed"


def a_mistake_refuses_the_whole():
    line = reloaded("[service]\nenrol = open\nno_such = 1\n", "result=refused")
    assert f"{DROPIN}:3: unknown setting" in line, line
    line = reloaded("[service]\nenrol = open\n[listen]\nguests = 127.0.0.1\n", "result=refused")
    assert "[listen] guests" in line, line
    line = reloaded("[service]\nenrol = open\ntrust_domain = another.test\n", "result=refused")
    assert "key_dir of this trust domain" in line, line
    assert enrol() == "placed"


def what_waits_for_a_restart_is_named():
    text = "[service]\nenrol = open\nrotate_days = 31\n[listen]\npublic = 127.0.0.1:1\n"
    line = reloaded(text, "result=taken")
    assert " taken=service.enrol " in line and " restart=service.rotate_days,listen.public:" in line, line
    assert enrol() == "open"
    line = reloaded(text, "result=taken")
    assert "restart=service.rotate_days,listen.public" in line and " taken=" not in line, line
    line = reloaded("", "result=unchanged")


def no_connection_has_ended():
    goes_on(CLIENTS)
    assert PULL.is_alive() and PULL.asked == 0, PULL.last


def a_request_that_was_half_there_is_answered():
    half = connected("PUBLIC")
    half.sock.sendall(f"GET /readyz HTTP/1.1\r\nHost: {os.environ['PUBLIC']}\r\n".encode())
    KEPT["half"] = half
    KEPT["fresh"] = connected("PUBLIC")
    time.sleep(0.2)  # both are let in
    KEPT["began"] = time.monotonic()
    for child in open(f"/proc/{PID}/task/{PID}/children").read().split():  # as systemd does
        os.kill(int(child), signal.SIGTERM)
    os.kill(PID, signal.SIGTERM)
    time.sleep(0.3)
    half.sock.sendall(b"\r\n")
    answer = b""
    while more := half.sock.recv(4096):
        answer += more
    KEPT["answer"] = answer
    head, body = answer.split(b"\r\n\r\n")
    assert b"Connection: close" in head and len(body) == int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]), answer


def it_is_ready_no_more():
    assert KEPT["answer"].startswith(b"HTTP/1.1 503 ") and b"unavailable" in KEPT["answer"], KEPT["answer"]


def who_had_just_come_is_answered():
    KEPT["fresh"].request("GET", "/healthz")
    answer = KEPT["fresh"].getresponse()
    assert answer.status == 200 and answer.headers["Connection"] == "close" and answer.read() == b'{"status":"ok"}'


def who_waits_for_news_is_told_that_there_are_none():
    PULL.join(1)
    assert PULL.last and PULL.last[0] == 200 and json.loads(PULL.last[1]) == {"pull": 0, "uuids": []}, (PULL.failed, PULL.last)
    assert PULL.closed


def each_connection_ends_behind_a_whole_answer():
    for client in CLIENTS:
        client.join(2)
    fine(CLIENTS)
    assert all(c.closed for c in CLIENTS), [c.path for c in CLIENTS if not c.closed]


def has_ended():
    """It has, also while nobody has asked for its status yet."""
    try:
        return open(f"/proc/{PID}/stat").read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def nobody_new_is_let_in():
    try:
        connected("PUBLIC")
    except ConnectionRefusedError:
        return
    raise AssertionError("somebody was let in")


def it_ends_within_its_bound():
    while time.monotonic() - KEPT["began"] < ENDED_S:
        if has_ended():
            return
        time.sleep(0.02)
    raise AssertionError("it goes on")


def a_second_signal_ends_it_at_once():
    slow = connected("PUBLIC")
    slow.sock.sendall(b"GET /readyz HTTP/1.1\r\n")
    time.sleep(0.2)
    KEPT["began"] = time.monotonic()
    os.kill(PID, signal.SIGTERM)
    time.sleep(0.3)
    assert not has_ended(), "it did not wait for the first"
    os.kill(PID, signal.SIGTERM)
    it_ends_within_its_bound()
    assert time.monotonic() - KEPT["began"] < 2, time.monotonic() - KEPT["began"]


KEPT = {}
if "no_connection_has_ended" in POINTS:
    CLIENTS = [Client("PUBLIC", "/healthz"), Client("PUBLIC", "/.well-known/jwks.json"), Client("ADMIN", "/v1/admin/status"),
               Client("ADMIN", "/v1/admin/hosts"), Client("HOSTS", "/v1/host/bundle", HOST_PEM)]
    PULL = Client("HOSTS", "/v1/host/pull?after=0", HOST_PEM)
for point in POINTS:
    try:
        globals()[point]()
        print(f"ok - {point}", flush=True)
    except Exception as why:  # the next point is tried all the same
        print(f"not ok - {point}\n# {type(why).__name__}: {str(why)[:600]}", flush=True)
