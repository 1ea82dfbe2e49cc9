"""What exists is found, and followed: servers by HAProxy's runtime socket, models and adapters by
/v1/models, addresses by lists and DNS."""
import json
import os
import socket
import struct
import threading

import pytest

from haproxy import FILES, free_port
from stack import ADAPTER, LLAMA, LLAMAS, PHI, SERVERS, Sims, Stack, ask, until


def flags(stack, name):
    return stack.agent.endpoints()[name]["flags"]


def goes_to(stack, model, n=12):
    answers = [stack.chat(model, max_tokens=1) for _ in range(n)]
    assert {a.status for a in answers} == {200}, answers
    return {a.headers["x-sim-name"] for a in answers}


# ---- HAProxy's servers ---------------------------------------------------------------------------
@pytest.mark.parametrize("state", ["maint", "drain"])
def test_administrative_states(stack, state):
    stack.h.runtime(f"set server llama/llama2 state {state}")
    until(lambda: flags(stack, "llama2") == [state], what=f"{state} is seen")
    assert goes_to(stack, LLAMA) == {"llama1", "llama3"}
    stack.h.runtime("set server llama/llama2 state ready")
    until(lambda: not flags(stack, "llama2"))
    assert goes_to(stack, LLAMA, 30) == set(LLAMAS)


def test_weight_zero_is_drain(stack):
    stack.h.runtime("set weight llama/llama1 0")
    until(lambda: "drain" in flags(stack, "llama1"))
    assert goes_to(stack, LLAMA) == {"llama2", "llama3"}
    stack.h.runtime("set weight llama/llama1 100%")
    until(lambda: not flags(stack, "llama1"))


def test_health_as_haproxy_sees_it(stack):
    stack.h.runtime("disable health phi4/phi1")  # else its next check is right, and it is up again
    stack.h.runtime("set server phi4/phi1 health down")
    until(lambda: "down" in flags(stack, "phi1"))
    assert goes_to(stack, PHI) == {"phi2", "phi3"}
    stack.h.runtime("set server phi4/phi1 health up")
    until(lambda: not flags(stack, "phi1"))
    stack.h.runtime("enable health phi4/phi1")


def test_drained_server_finishes_what_it_has(stack):
    streams = [stack.open_stream(PHI, 100000)[0] for _ in range(3)]
    try:
        stack.h.runtime("set server phi4/phi3 state drain")
        until(lambda: "drain" in flags(stack, "phi3"))
        assert stack.agent.endpoints()["phi3"]["open"] == 1
        assert stack.sims.stats("phi3")["in_flight"] == 1
    finally:
        for s in streams:
            s.close()


def test_server_that_moves(make_stack):
    """set server ... addr: the name stays, the address is another machine's."""
    s = make_stack()
    other = s.sims.addresses["phi1"].rsplit(":", 1)[1]
    s.h.runtime(f"set server llama/llama3 addr 127.0.0.1 port {other}")
    until(lambda: s.agent.endpoints()["llama3"]["address"] == f"127.0.0.1:{other}")
    # It has another model now: a request for its old one must not go there.
    until(lambda: PHI in s.agent.endpoints()["llama3"].get("models", []), what="asked again")
    assert goes_to(s, LLAMA) == {"llama1", "llama2"}


def test_servers_are_added_and_deleted(make_stack, tmp_path):
    s = make_stack()
    extra = Sims({"llama4": [f"model={LLAMA}", f"adapter={ADAPTER}"]}, str(tmp_path), ("--speed", "4"))
    try:
        prefix = "experimental-mode on; " if s.version < "2.5" else ""
        said = s.h.runtime(f"{prefix}add server llama/llama4 {extra.addresses['llama4']}")
        assert "registered" in said.lower(), said
        s.h.runtime(f"{prefix}enable server llama/llama4")
        until(lambda: "llama4" in s.agent.endpoints() and not flags(s, "llama4"), what="found")
        until(lambda: "llama4" in goes_to(s, LLAMA, 16), what="it is used")
        s.h.runtime("set server llama/llama4 state maint")
        until(lambda: "maint" in flags(s, "llama4"))
        until(lambda: "deleted" in s.h.runtime(f"{prefix}del server llama/llama4").lower(), 20)
        until(lambda: "llama4" not in s.agent.endpoints(), what="forgotten")
        # All of them, though a scrape may just have seen one at work.
        seen = set()
        until(lambda: seen.update(goes_to(s, LLAMA)) or seen == set(LLAMAS), what="all are used")
        until(lambda: s.agent.tickets() == 0)
    finally:
        extra.stop()


def test_backup_serves_when_nobody_else_can(make_stack, tmp_path):
    s = make_stack()
    extra = Sims({"spare": [f"model={LLAMA}"]}, str(tmp_path), ("--speed", "4"))
    ask_why = json.dumps({"model": LLAMA})
    try:
        s.h.runtime(f"add server llama/spare {extra.addresses['spare']} backup")
        s.h.runtime("enable server llama/spare")
        until(lambda: flags(s, "spare") == ["backup"], what="it stands aside, and says why")
        assert "spare" not in goes_to(s, LLAMA)
        said = s.agent.explain(ask_why).stdout.decode()
        assert "backup, waiting 0" in said and "routed to backend llama, server llama" in said, said
        for n in LLAMAS:
            s.h.runtime(f"set server llama/{n} state maint")
        until(lambda: flags(s, "spare") == [], what="its turn")
        assert goes_to(s, LLAMA) == {"spare"}
        assert "routed to backend llama, server spare\n" in s.agent.explain(ask_why).stdout.decode()
        for n in LLAMAS:
            s.h.runtime(f"set server llama/{n} state ready")
        until(lambda: flags(s, "spare") == ["backup"])
        assert "spare" not in goes_to(s, LLAMA)
    finally:
        extra.stop()


def test_pool_without_a_backend_is_known_later(make_stack):
    """A pool whose backend HAProxy does not have: the others work, and it is told of."""
    s = make_stack(start=False, conf={"pools": {"llama": {}, "phi4": {}, "later": {}}})
    s.agent.start(ready=False)
    s.h.start()
    s.h.wait_agent("UP")
    until(lambda: s.chat(LLAMA).status == 200)
    pools = {p["name"]: p for p in s.agent.state()["pools"]}
    assert len(pools["llama"]["endpoints"]) == 3 and not pools["later"]["endpoints"]


def test_a_socket_that_may_too_little(make_stack, version):
    """Level operator: all is read, but from some version on the map is not to be written."""
    with open(os.path.join(FILES, "haproxy.cfg"), encoding="utf-8") as f:
        text = f.read()
    assert text.count("mode 660 level admin") == 1
    s = make_stack(start=False, files={"haproxy.cfg": text.replace("level admin", "level operator")})
    s.agent.start(ready=False)
    (told,) = until(lambda: s.agent.events("haproxy_socket_failed"))
    assert "stats socket" in told["remedy"]
    s.h.start()
    s.wait_ready()
    assert goes_to(s, PHI)
    told = until(lambda: s.agent.events("map_failed") + s.agent.events("map_pushed"))[0]
    if told["event"] == "map_failed":
        assert "level admin" in told["remedy"]
    assert told["event"] == "map_failed" or version < "3.4"


def test_a_pool_that_never_answered(make_stack):
    """Its models are not known yet: nobody can say that one does not exist."""
    phis = [n for n in SERVERS if n.startswith("phi")]
    s = make_stack(start=False, servers={n: [*o, *(["fault=refuse"] if n in phis else [])]
                                         for n, o in SERVERS.items()})
    s.agent.start(ready=False)
    s.h.start()
    s.h.wait_agent("UP")
    until(lambda: s.chat(LLAMA).status == 200)
    for model in (PHI, "nobody's"):
        answer = until(lambda: (lambda a: a if a.status != 404 else None)(s.chat(model)))
        assert answer.status == 503 and int(answer.headers["retry-after"]) > 0, answer
        assert answer.json()["error"]["code"] == "service_unavailable"
    said = s.agent.explain(json.dumps({"model": PHI})).stdout.decode()
    assert "no_endpoint" in said and "model_not_found" not in said, said
    told = [e for e in s.agent.events("pool_without_models") if e["pool"] == "phi4"]
    assert told and told[-1]["silent"] == "1" and "503" in told[-1]["effect"]
    # What is away on purpose keeps nobody waiting.
    for n in phis:
        s.h.runtime(f"set server phi4/{n} state maint")
    until(lambda: s.chat("nobody's").status == 404, what="maintenance is seen")
    for n in phis:
        s.h.runtime(f"set server phi4/{n} state ready")
    until(lambda: s.chat("nobody's").status == 503)
    s.sims.fault("phi1", "none")
    until(lambda: s.chat(PHI).status == 200, what="they have come")
    assert s.chat("nobody's").status == 404


# ---- models --------------------------------------------------------------------------------------
def test_adapters_loaded_and_unloaded_at_run_time(stack):
    assert stack.chat("fresh").status == 404
    for n in LLAMAS:
        stack.sims.adapters(n, add="fresh", root="/adapters/fresh")
    try:
        answer = until(lambda: (lambda a: a if a.status == 200 else None)(stack.chat("fresh")),
                       what="the adapter is found")
        assert answer.headers["x-sim-got-base-model"] == LLAMA
        assert answer.headers["x-sim-body-model"] == "fresh"
        until(lambda: "fresh" in [m["id"] for m in ask(stack.port, path="/v1/models").json()["data"]])
    finally:
        for n in LLAMAS:
            stack.sims.adapters(n, remove="fresh")
    until(lambda: stack.chat("fresh").status == 404, what="it is gone")


def test_adapter_on_one_server_only(stack):
    stack.sims.adapters("llama2", add="only-there")
    try:
        until(lambda: stack.chat("only-there").status == 200)
        assert goes_to(stack, "only-there", 20) == {"llama2"}
        assert goes_to(stack, LLAMA, 30) == set(LLAMAS)
    finally:
        stack.sims.adapters("llama2", remove="only-there")
    until(lambda: stack.chat("only-there").status == 404)


def test_bearer_token(make_stack, tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    servers = {n: [*more, "api-key=s3cret"] for n, more in SERVERS.items()}
    s = make_stack(servers=servers, conf={"scrape": {
        "interval": "200ms", "models_interval": "1s", "api_key_file": str(key)}})
    assert {LLAMA, PHI, ADAPTER} <= set(s.agent.models())
    assert s.chat(LLAMA).status == 401  # the client's own token passes, and it has none
    assert s.chat(LLAMA, headers={"authorization": "Bearer s3cret"}).status == 200
    for text in (s.agent.log(), s.agent.page("/state").body.decode(), s.agent.page("/metrics").body.decode()):
        assert "s3cret" not in text


# ---- where there is no socket --------------------------------------------------------------------
class Dns:
    """A name server of a few lines: A and AAAA of what the test says, and nothing else."""

    def __init__(self):
        self.names = {}  # name → addresses
        self.ttl = 1
        self.asked = 0
        self._s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._s.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._s.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                question, peer = self._s.recvfrom(1500)
            except OSError:
                return
            self.asked += 1
            labels, at = [], 12
            while n := question[at]:
                labels.append(question[at + 1 : at + 1 + n].decode().lower())
                at += n + 1
            kind = struct.unpack(">H", question[at + 1 : at + 3])[0]
            addresses = self.names.get(".".join(labels))
            family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
            answers = [a for a in addresses or () if (":" in a) == (kind == 28)] if family else []
            out = question[:2] + struct.pack(">HHHHH", 0x8180 | (3 if addresses is None else 0), 1,
                                             len(answers), 0, 0) + question[12 : at + 5]
            for a in answers:
                raw = socket.inet_pton(family, a)
                out += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, self.ttl, len(raw)) + raw
            self._s.sendto(out, peer)

    def close(self):
        self._s.close()


@pytest.fixture
def without_socket(version, tmp_path, request):
    """HAProxy with the set-dst backend; servers on several loopback addresses, one port."""
    made = []

    def make(pools, servers, **conf):
        s = Stack(version, servers=servers, more=("set-dst.cfg",),
                  conf={"pools": pools, "haproxy": {}, **conf})
        del s.agent.conf["haproxy"]
        s.agent.configure(s.agent.conf)
        made.append(s)
        s.agent.start()
        s.h.start()
        s.h.wait_agent("UP")
        return s

    yield make
    for s in made:
        s.stop()


def test_listed_endpoints(without_socket):
    ports = {n: free_port() for n in ("one", "two")}
    servers = {n: [f"model={LLAMA}", f"listen=127.0.0.1:{p}"] for n, p in ports.items()}
    s = without_socket({"listed": {"backend": "inference-dst",
                                   "endpoints": [f"127.0.0.1:{p}" for p in ports.values()]}}, servers)
    until(lambda: s.chat(LLAMA).status == 200)
    assert goes_to(s, LLAMA, 16) == {"one", "two"}
    streams = [s.open_stream(LLAMA, 100000)[0] for _ in range(8)]
    try:
        assert {n: s.sims.stats(n)["in_flight"] for n in ports} == {"one": 4, "two": 4}
    finally:
        for x in streams:
            x.close()
    until(lambda: s.agent.tickets() == 0, what="tickets come back though no server is named")
    s.sims.fault("one", "refuse")
    until(lambda: "scrape_dead" in s.agent.endpoints()[f"127.0.0.1:{ports['one']}"]["flags"])
    assert goes_to(s, LLAMA) == {"two"}


def test_dns_is_followed(without_socket):
    """A and AAAA, two ports per host; addresses that come and go."""
    dns = Dns()
    port, second = free_port(), free_port()
    servers = {
        "a1": [f"model={LLAMA}", f"listen=127.0.0.1:{port}"],
        "a2": [f"model={LLAMA}", f"listen=127.0.0.2:{port}"],
        "a1b": [f"model={LLAMA}", f"listen=127.0.0.1:{second}"],
        "six": [f"model={LLAMA}", f"listen=[::1]:{port}"],
    }
    dns.names["llama.test"] = ["127.0.0.1"]
    try:
        s = without_socket(
            {"named": {"backend": "inference-dst", "dns": f"llama.test:{port},{second}"}}, servers,
            dns={"servers": [dns.address], "min_ttl": "200ms", "max_ttl": "500ms"})
        until(lambda: s.chat(LLAMA).status == 200)
        # 127.0.0.2:second has no server: what does not answer its scrapes is not picked.
        until(lambda: goes_to(s, LLAMA, 12) == {"a1", "a1b"})
        dns.names["llama.test"] = ["127.0.0.1", "127.0.0.2", "::1"]
        until(lambda: {"127.0.0.2:%d" % port, "[::1]:%d" % port} <= set(s.agent.endpoints()))
        until(lambda: {"a1", "a2", "a1b", "six"} == goes_to(s, LLAMA, 24), 20)
        dns.names["llama.test"] = ["::1"]
        until(lambda: not any(a.startswith("127.") for a in s.agent.endpoints()), what="gone")
        assert goes_to(s, LLAMA) == {"six"}
        # A name server that fails takes nothing away.
        dns.names.clear()
        asked = dns.asked
        until(lambda: dns.asked > asked + 2)
        assert goes_to(s, LLAMA) == {"six"}
    finally:
        dns.close()
