-- SPDX-License-Identifier: MIT
-- Lua as a program's script language: tables, closures, strings, and a collector that frees in
-- sweeps. Lua asks realloc for everything and knows no cache of its own. One argument: rounds.
local rounds = tonumber(arg[1])
local seed = 1
local function dice(n)
  seed = (seed * 1103515245 + 12345) & 0x7fffffff
  return (seed >> 8) % n
end

local function tree(depth)
  if depth == 0 then return { value = dice(100) } end
  return { left = tree(depth - 1), right = tree(depth - 1), name = "n" .. dice(1000) }
end

local function sum(t)
  if t.value then return t.value end
  return sum(t.left) + sum(t.right)
end

local cache, total = {}, 0
for n = 1, rounds do
  cache[dice(200)] = tree(6 + dice(4))
  local old = cache[dice(200)]
  if old then total = total + sum(old) end
  local parts, counters = {}, {}
  for i = 1, 60 do
    parts[#parts + 1] = string.format("%s%d", string.rep("x", dice(40)), i)
    local count = 0
    counters[i] = function() count = count + i; return count end
  end
  local text = table.concat(parts, ",")
  for word in text:gmatch("x+(%d+)") do total = total + counters[tonumber(word)]() end
  total = total + #text:gsub("x", "yy")
end
print(total)
