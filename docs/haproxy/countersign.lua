-- Asks Countersign's gate about a request. Goes to /etc/haproxy/countersign.lua.
--
-- It only sets variables of the transaction, which no client can set; what follows from them stands in haproxy.cfg.
-- Should this function fail, nothing is set, and haproxy.cfg refuses the request.

-- What the gate is told of a request; add the one that `header=` in the demand names.
local ASKED = { "cf-access-client-id", "cf-access-client-secret", "authorization", "x-request-id", "x-forwarded-for", "user-agent" }
-- What the gate's answer is used for, each in a variable of that name with underscores: txn.countersign_kind, …
local TOLD = {
  "countersign-kind", "countersign-token-id", "countersign-token-name", "countersign-client-id",
  "countersign-account-id", "countersign-zone-id", "countersign-environment-id", "countersign-reason",
  "www-authenticate", "cf-access-jwt-assertion",
}

-- `gate` is where HAProxy's own way to the gate begins; `demand` is what the gate is asked: /verify?account_id=…
core.register_action("countersign", { "http-req" }, function(txn, gate, demand)
  local sent = txn.http:req_get_headers()
  local headers = { host = { "countersign" } }
  for _, name in ipairs(ASKED) do
    local values = sent[name]
    if values then
      local list = {}
      local index = 0
      while values[index] do
        list[#list + 1] = values[index]
        index = index + 1
      end
      headers[name] = list
    end
  end

  local answer = core.httpclient():get({ url = "http://127.0.0.1" .. demand, dst = gate, headers = headers })
  for _, name in ipairs(TOLD) do
    local values = answer.headers and answer.headers[name]
    if values then
      txn:set_var("txn." .. name:gsub("-", "_"), values[0] or values[1])
    end
  end
  txn:set_var("txn.countersign_status", answer.status)
end, 2)
