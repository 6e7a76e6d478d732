-- SPDX-License-Identifier: MIT
-- Tables, strings, closures, coroutines and both garbage collectors. Lua asks for every block
-- by realloc.
local function work(seed)
  local x, words, list = seed, {}, {}
  for i = 1, 150000 do
    x = (x * 1103515245 + 12345) % 2147483648
    local w = "w" .. (x >> 12) % 7000
    words[w] = (words[w] or 0) + 1
    list[#list + 1] = { w, i, string.rep("y", (x >> 20) % 60) }
    if i % 1000 == 0 then list = {} end
  end
  local keys = {}
  for k in pairs(words) do keys[#keys + 1] = k end
  table.sort(keys)
  local text = table.concat(keys, " ")
  local n = select(2, text:gsub("w(%d+)5", "<%1>"))
  local co = coroutine.wrap(function()
    for i = 1, 5000 do coroutine.yield(("%05d"):format(i):reverse()) end
  end)
  local sum = 0
  for _ = 1, 5000 do sum = sum + tonumber(co()) end
  local crowd = {}
  for i = 1, 5000 do crowd[i] = coroutine.create(function(a) coroutine.yield(a + i) end) end
  for i = 1, 5000 do sum = sum + select(2, coroutine.resume(crowd[i], i)) end
  return #keys, #text, n, sum, words[keys[1]]
end
for seed, mode in ipairs { "incremental", "generational", "incremental" } do
  collectgarbage(mode)
  print(mode, work(seed))
  collectgarbage()
end
local s = ""
for i = 1, 4000 do s = s .. i .. "," end
print(#s, #string.rep(s, 500))
