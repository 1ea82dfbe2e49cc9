#!/usr/bin/env python3
"""spoa-sim from outside: its metrics page in the words of each engine. Runs by pytest as well."""
import json
import re
import unittest

from simulator import BASE, Sim, chat, raw


NUMBER = r"[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|NaN|Inf)"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{%s(?:,%s)*\})? (%s)$" % (LABEL, LABEL, NUMBER))


def page(sim, **kw):
    """{name{labels}: value} of a metrics page, every line checked"""
    status, headers, data = sim.get("/metrics", **kw)
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    found, typed = {}, set()
    for line in data.decode().splitlines():
        if line.startswith("# TYPE "):
            assert line.split()[2] not in typed, line
            typed.add(line.split()[2])
        elif not line.startswith("# HELP "):
            m = LINE.match(line)
            assert m, line
            assert re.sub("_(bucket|sum|count)$", "", m.group(1)) in typed or m.group(1) in typed
            assert m.group(1) + (m.group(2) or "") not in found
            found[m.group(1) + (m.group(2) or "")] = float(m.group(3))
    return found


class Metrics(unittest.TestCase):
    def test_vllm(self):
        label = '{engine="0",model_name="%s"}' % BASE
        with Sim("--step-ms", "1000", "--max-num-seqs", "2", "--adapter", "food", "--prefill-rate",
                 "1000000") as sim:
            text = json.dumps(chat("z" * 640, model="food", stream=True, max_tokens=100))
            head = ("POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
                    "Content-Length: %d\r\n\r\n" % len(text))
            streams = [raw(sim, (head + text).encode()) for _ in range(5)]
            sim.until(lambda s: s["running"] == 2 and s["waiting"] == 3)
            found = page(sim)
            self.assertEqual(found["vllm:num_requests_running" + label], 2)
            self.assertEqual(found["vllm:num_requests_waiting" + label], 3)
            self.assertGreater(found["vllm:kv_cache_usage_perc" + label], 0)
            self.assertGreater(found["vllm:prefix_cache_queries_total" + label], 0)
            lora = [k for k in found if k.startswith("vllm:lora_requests_info")]
            self.assertEqual(lora, ['vllm:lora_requests_info{max_lora="4",'
                                    'running_lora_adapters="food",waiting_lora_adapters="food"}'])
            self.assertTrue(any(k.startswith("vllm:cache_config_info{") for k in found))
            for s in streams:
                s.close()
            sim.until(lambda s: s["in_flight"] == 0)
            found = page(sim)
            self.assertEqual(found["vllm:num_requests_running" + label], 0)
            self.assertEqual(found["vllm:kv_cache_usage_perc" + label], 0)
            self.assertEqual(found['vllm:request_success_total{engine="0",finished_reason="abort",'
                                   'model_name="%s"}' % BASE], 5)

    def test_histogram(self):
        with Sim("--speed", "1000") as sim:
            for _ in range(3):
                sim.post("/v1/chat/completions", chat())
            found = page(sim)
            buckets = [v for k, v in found.items()
                       if k.startswith("vllm:time_to_first_token_seconds_bucket")]
            self.assertEqual(buckets, sorted(buckets))
            self.assertEqual(buckets[-1], 3)
            self.assertEqual(found['vllm:time_to_first_token_seconds_count{engine="0",'
                                   'model_name="%s"}' % BASE], 3)

    def test_other_engines(self):
        names = {"sglang": ["sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage"],
                 "trtllm": ["trtllm_num_requests_running", "trtllm_num_requests_waiting",
                            "trtllm_kv_cache_utilization"],
                 "triton": ['nv_trt_llm_request_metrics{request_type="scheduled"',
                            'nv_trt_llm_request_metrics{request_type="waiting"',
                            'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction"'],
                 "llamacpp": ["llamacpp:requests_processing", "llamacpp:requests_deferred",
                              "llamacpp:kv_cache_usage_ratio"]}
        args = [a for e in names for a in ("--server", "name=%s,engine=%s" % (e, e))]
        with Sim(*args, "--server", "name=old,old-metrics") as sim:
            for engine, (running, waiting, kv) in names.items():
                sim.call("POST", "/sim/load?running=7&waiting=3&kv=0.5", "", name=engine)
                found = page(sim, name=engine)
                for name, value in ((running, 7), (waiting, 3), (kv, 0.5)):
                    self.assertEqual([v for k, v in found.items()
                                      if k == name or k.startswith(name + "{") or
                                      (name.endswith('"') and k.startswith(name))], [value], name)
            found = page(sim, name="old")
            self.assertTrue(any(k.startswith("vllm:gpu_cache_usage_perc{") for k in found))
            self.assertFalse(any(k.startswith("vllm:kv_cache") for k in found))

    def test_ranks(self):
        with Sim("--dp-ranks", "3") as sim:
            sim.call("POST", "/sim/load?running=7&waiting=4", "")
            found = page(sim)
            series = [v for k, v in found.items() if k.startswith("vllm:num_requests_running{")]
            self.assertEqual((len(series), sum(series)), (3, 7))

    def test_bent_pages(self):
        label = '{engine="0",model_name="%s"}' % BASE
        with Sim() as sim:
            for mode, test in (("nan", lambda v: v != v), ("negative", lambda v: v < 0),
                               ("huge", lambda v: v > 1e200), ("right", lambda v: v == 0)):
                sim.fault("kind=metrics&mode=" + mode)
                self.assertTrue(test(page(sim)["vllm:num_requests_running" + label]), mode)
            for mode in ("404", "500"):
                sim.fault("kind=metrics&mode=" + mode)
                self.assertEqual(sim.get("/metrics")[0], int(mode))
            sim.fault("kind=metrics&mode=garbage")
            self.assertNotIn(b"vllm:num", sim.get("/metrics")[2])
            sim.fault("kind=metrics&mode=slow")
            with self.assertRaises(TimeoutError):
                sim.get("/metrics", timeout=0.2)
            self.assertEqual(sim.get("/health")[0], 200)
            self.assertEqual(sim.call("POST", "/sim/fault?kind=metrics&mode=x", "")[0], 400)


if __name__ == "__main__":
    unittest.main()
