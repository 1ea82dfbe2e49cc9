--[[
Puts the model's name that the agent decided on into the request's body.

An alias that the model servers do not know (pools.NAME.aliases in the agent's configuration, with
rewrite) is of no use in the body they get. For such a request the agent sets, in scope txn,

  inference.target_model   the name to put there
  inference.rewrite_at     offset, from the body's first byte, of the name's first byte
  inference.rewrite_len    length of the name as it stands in the body, without its quotes

and this file replaces those bytes: escaped as JSON asks, or as they are in multipart/form-data.
Nothing else of the body is touched, a length that was announced is corrected, and requests without
these variables pass unseen. The answer keeps whatever name the model server gives itself.

    http-request lua.inference-rewrite if { var(txn.inference.target_model) -m found }
    filter lua.inference-rewrite

The action corrects the header, since HAProxy 2.6 lets no filter touch headers once it has waited
for the body. The filter changes the body as it is forwarded, possibly in several pieces: what stands
before the name is let go; a name that is not here in full, or that has no room in the buffer, waits
for that.
]]

local short = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function json_escape(name)
	return (name:gsub('[\0-\31"\\]', function(c)
		return short[c] or string.format("\\u%04x", c:byte())
	end))
end

core.register_action("inference-rewrite", { "http-req" }, function(txn)
	local at = txn:get_var("txn.inference.rewrite_at")
	local length = txn:get_var("txn.inference.rewrite_len")
	local text = txn:get_var("txn.inference.target_model")
	if not (at and length and text) then
		return
	end
	local headers = txn.http:req_get_headers()
	local kind = headers["content-type"] and headers["content-type"][0]
	if not (kind and kind:lower():match("^%s*multipart/")) then
		text = json_escape(text)
	end
	txn:set_var("txn.inference.rewrite_text", text)
	local announced = headers["content-length"] and tonumber(headers["content-length"][0])
	if announced then
		announced = announced + #text - length
		txn.http:req_set_header("content-length", tostring(announced))
		txn:set_var("txn.inference.rewrite_total", announced)
	end
end)

local Rewrite = { id = "inference-rewrite", flags = filter.FLT_CFG_FL_HTX }
Rewrite.__index = Rewrite

function Rewrite:new()
	return setmetatable({}, Rewrite)
end

function Rewrite:http_headers(txn, message)
	if message:is_resp() then
		return
	end
	self.text = txn:get_var("txn.inference.rewrite_text")
	if not self.text then
		return
	end
	self.at = txn:get_var("txn.inference.rewrite_at")
	self.length = txn:get_var("txn.inference.rewrite_len")
	-- Since 3.2 the message has a length beside the header's.
	local total = txn:get_var("txn.inference.rewrite_total")
	if total and message.set_body_len then
		message:set_body_len(total)
	end
	filter.register_data_filter(self, message.channel)
end

-- Returns how many bytes may go on.
function Rewrite:http_payload(txn, message)
	local here = message:input()
	if not self.text then
		return here
	end
	if here < self.at + self.length then
		local before = math.min(here, self.at)
		self.at = self.at - before
		return before
	end
	-- The longer text first, so that a buffer without room leaves the body as it was.
	if message:insert(self.text, self.at) ~= #self.text then
		if self.at == 0 then
			core.Alert("inference-rewrite: no room in the buffer for the model's name")
			return -1
		end
		local before = self.at
		self.at = 0
		return before
	end
	message:remove(self.at + #self.text, self.length)
	self.text = nil
	return message:input()
end

core.register_filter("inference-rewrite", Rewrite, function(rewrite)
	return rewrite
end)
