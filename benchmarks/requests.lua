-- Requests that are not one request repeated. Arguments:
--   distinct PREFIX   each has a query and a cookie of its own; PREFIX tells runs apart
--   post SIZE         POST with SIZE bytes of content

local kind, argument, count, body

function init(args)
   kind, argument = args[1], args[2]
   count = 0
   if kind == "post" then
      body = string.rep("x", tonumber(argument))
   end
end

function request()
   if kind == "post" then
      return wrk.format("POST", nil, nil, body)
   end
   count = count + 1
   local number = argument .. count
   wrk.headers["Cookie"] = "visitor=" .. number
   return wrk.format("GET", wrk.path .. "?n=" .. number)
end
