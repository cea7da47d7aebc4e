-- Posts notifications for wrk. Arguments: the file of one alert and its frame, the first number, alerts in a body, whether
-- each alert is new (1) or always the same (0), and milliseconds between two requests of one connection.
-- The file's lines: what stands before the alerts, one alert, what stands after; `@@` in the alert becomes its number.
local head, parts, tail, number, count, fresh, pause

function init(arguments)
  local file = io.open(arguments[1])
  head, parts, tail = file:read("*l"), {}, nil
  for part in (file:read("*l") .. "@@"):gmatch("(.-)@@") do parts[#parts + 1] = part end
  tail = file:read("*l")
  file:close()
  number, count = tonumber(arguments[2]), tonumber(arguments[3])
  fresh, pause = arguments[4] == "1", tonumber(arguments[5] or "0")
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  local alerts = {}
  for position = 1, count do
    alerts[position] = table.concat(parts, string.format("%016x", number + (fresh and 0 or position)))
    if fresh then number = number + 1 end
  end
  return wrk.format(nil, nil, nil, head .. table.concat(alerts, ",") .. tail)
end

function delay() return pause end
