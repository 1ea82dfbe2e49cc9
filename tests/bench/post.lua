-- wrk: POST the body of BODY again and again; PAUSE, in milliseconds, between a connection's answers.
-- The end is one JSON line.
local f = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.body = f:read("*a")
wrk.headers["Content-Type"] = "application/json"
f:close()

local pause = tonumber(os.getenv("PAUSE") or "0")
if pause > 0 then
	function delay()
		return math.floor(pause * (0.5 + math.random()))
	end
end

function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format(
		'{"requests":%d,"seconds":%.4f,"p50_us":%d,"p99_us":%d,"status":%d,"broken":%d}\n',
		summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
		e.status, e.connect + e.read + e.write + e.timeout))
end
