-- wrk: random ranges of images.  Arguments: seed, bytes of a range, then path, size and token of each image.
-- What was seen is written as one line of JSON at the end.

local range, heads, lasts = 0, {}, {}

function init(args)
  math.randomseed(tonumber(args[1]))
  range = tonumber(args[2])
  local fields = ""  -- wrk has put Host among them
  for name, value in pairs(wrk.headers) do
    fields = fields .. name .. ": " .. value .. "\r\n"
  end
  for i = 3, #args, 3 do
    heads[#heads + 1] = "GET " .. args[i] .. " HTTP/1.1\r\n" .. fields
      .. "X-Auth-Token: " .. args[i + 2] .. "\r\nRange: bytes="
    lasts[#lasts + 1] = tonumber(args[i + 1]) - range
  end
end

function request()
  local image = #heads == 1 and 1 or math.random(#heads)
  local first = math.random(0, lasts[image])
  return string.format("%s%.0f-%.0f\r\n\r\n", heads[image], first, first + range - 1)
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %.0f, "bytes": %.0f, "microseconds": %.0f, "connect": %d, "read": %d, '
      .. '"write": %d, "status": %d, "timeout": %d, "p50": %.0f, "p99": %.0f, "p999": %.0f}\n',
    summary.requests, summary.bytes, summary.duration, e.connect, e.read,
    e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
